"""Checkpoints: weights, optimizer and log of one step, complete or not there at all.

A checkpoint is written into a hidden folder and renamed; its state.json carries every file's sha256. Nothing is
pickled: tensors are safetensors, the rest JSON. Random numbers need no saving, they are functions of the step.
"""

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from sanaflow.digests import file_digest
from sanaflow.errors import InputError


def save_checkpoint(
    folder: Path,
    *,
    step: int,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    scheduler: torch.optim.lr_scheduler.LRScheduler,
    log: list[dict[str, float]],
    keep: int,
) -> None:
    """Write the state after `step` optimizer steps and delete all but the last `keep`.

    Raises:
        InputError: The disk is full or can't be written; earlier checkpoints stay.
    """
    target = folder / f"step-{step:08d}"
    hidden = folder / f".step-{step:08d}.tmp"
    shutil.rmtree(hidden, ignore_errors=True)
    try:
        hidden.mkdir(parents=True)
        tensors, groups = _flatten(optimizer.state_dict())
        save_file({k: v.contiguous() for k, v in model.state_dict().items()}, hidden / "model.safetensors")
        save_file(tensors, hidden / "optimizer.safetensors")
        files = {p.name: file_digest(p) for p in sorted(hidden.iterdir())}
        state = {"step": step, "groups": groups, "scheduler": scheduler.state_dict(), "log": log, "files": files}
        (hidden / "state.json").write_text(json.dumps(state))
        for path in hidden.iterdir():
            with path.open("rb+") as file:
                os.fsync(file.fileno())
        shutil.rmtree(target, ignore_errors=True)
        hidden.rename(target)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(hidden, ignore_errors=True)
        raise InputError(f"can't write a checkpoint to '{folder}' ({error}): free some space") from None
    for old in _checkpoints(folder)[keep:]:
        shutil.rmtree(old)


def load_checkpoint(
    folder: Path,
    *,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    scheduler: torch.optim.lr_scheduler.LRScheduler,
) -> tuple[int, list[dict[str, float]]]:
    """Restore the newest whole checkpoint, passing over damaged ones; its step and log, or (0, []) if none."""
    for checkpoint in _checkpoints(folder):
        try:
            state = json.loads((checkpoint / "state.json").read_text())
            if any(file_digest(checkpoint / name) != digest for name, digest in state["files"].items()):
                raise ValueError("a checksum doesn't match")
        except (OSError, ValueError, KeyError) as error:
            print(f"checkpoint {checkpoint.name} is damaged ({error}): going back to the one before")
            continue
        model.load_state_dict(load_file(checkpoint / "model.safetensors"))
        optimizer.load_state_dict(_unflatten(load_file(checkpoint / "optimizer.safetensors"), state["groups"]))
        scheduler.load_state_dict(state["scheduler"])
        print(f"resuming after step {state['step']:,}")
        return state["step"], state["log"]
    return 0, []


def _checkpoints(folder: Path) -> list[Path]:
    """Newest first."""
    return sorted((p for p in folder.glob("step-*") if re.fullmatch(r"step-\d{8}", p.name)), reverse=True)


def _flatten(state: dict[str, Any]) -> tuple[dict[str, torch.Tensor], list[dict[str, Any]]]:
    """An optimizer's state as flat tensors named 'PARAMETER/NAME', and its parameter groups as plain data."""
    tensors = {
        f"{parameter}/{name}": torch.as_tensor(value).contiguous()
        for parameter, values in state["state"].items()
        for name, value in values.items()
    }
    return tensors, state["param_groups"]


def _unflatten(tensors: dict[str, torch.Tensor], groups: list[dict[str, Any]]) -> dict[str, Any]:
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        parameter, name = key.split("/", 1)
        state.setdefault(int(parameter), {})[name] = tensor
    return {"state": state, "param_groups": groups}
