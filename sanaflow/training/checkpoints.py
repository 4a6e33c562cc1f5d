"""Checkpoints on disk: a folder each, complete or not there at all, checksummed, limited in number.

A checkpoint is written into a hidden folder and renamed; its state.json carries every file's sha256. Nothing is
pickled: tensors are safetensors, the rest JSON. Where the artifact store is elsewhere, each is copied there as well.
"""

import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from sanaflow.digests import file_digest
from sanaflow.errors import InputError
from sanaflow.training.mirror import Mirror

NAME = re.compile(r"step-\d{8}")
Tensors = dict[str, dict[str, torch.Tensor]]
"""What a checkpoint holds: by file ('model', 'optimizer', 'ema') and name."""


class Checkpoints:
    """The checkpoints of one run."""

    def __init__(self, folder: Path, *, keep: int, mirror: Mirror | None = None) -> None:
        """`keep` is how many stay, in the folder and in its mirror."""
        self.folder, self._keep, self._mirror = folder, keep, mirror

    def save(self, step: int, tensors: Tensors, plain: Mapping[str, Any]) -> None:
        """Write the state after `step` optimizer steps and delete all but the newest.

        Raises:
            InputError: The disk is full or can't be written, or the mirror can't; earlier checkpoints stay.
        """
        target, hidden = self.folder / f"step-{step:08d}", self.folder / f".step-{step:08d}.tmp"
        shutil.rmtree(hidden, ignore_errors=True)
        try:
            hidden.mkdir(parents=True)
            for name, content in tensors.items():
                save_file(content, hidden / f"{name}.safetensors")
            files = {path.name: file_digest(path) for path in sorted(hidden.iterdir())}
            (hidden / "state.json").write_text(json.dumps({**plain, "step": step, "files": files}))
            for path in hidden.iterdir():
                with path.open("rb+") as file:
                    os.fsync(file.fileno())
            shutil.rmtree(target, ignore_errors=True)
            hidden.rename(target)
        except (OSError, SafetensorError) as error:
            shutil.rmtree(hidden, ignore_errors=True)
            raise InputError(f"can't write a checkpoint to '{self.folder}' ({error}): free some space") from None
        for old in [path for path in newest_first(self.folder) if path != target][max(0, self._keep - 1) :]:
            shutil.rmtree(old)
        if self._mirror:
            self._mirror.push(target, keep=self._keep)

    def load(self) -> tuple[Tensors, dict[str, Any]] | None:
        """The newest whole checkpoint, here or in the mirror; None if there is none.

        A damaged one is put aside, which is said, as its number may be written again.
        """
        elsewhere = self._mirror.names() if self._mirror else []
        here = [path.name for path in newest_first(self.folder)]
        for name in sorted({*here, *elsewhere}, reverse=True):
            for fetch in (False, True):
                if fetch and (self._mirror is None or not self._mirror.fetch(name, self.folder)):
                    continue
                if not (self.folder / name).exists():
                    continue
                try:
                    return read_checkpoint(self.folder / name)
                except InputError as error:
                    print(f"{error.message}: it is put aside")
                    aside = self.folder / f"damaged-{name}"
                    shutil.rmtree(aside, ignore_errors=True)
                    (self.folder / name).rename(aside)
        return None

    def any(self) -> bool:
        """Whether this run has a checkpoint, here or in the mirror."""
        return bool(newest_first(self.folder)) or bool(self._mirror and self._mirror.names())

    def finish(self) -> None:
        """Wait for what is still being copied to the mirror."""
        if self._mirror:
            self._mirror.wait()

    def remove(self) -> None:
        """Delete all of them."""
        self.finish()
        shutil.rmtree(self.folder, ignore_errors=True)
        if self._mirror:
            self._mirror.remove_all()


def newest_first(folder: Path) -> list[Path]:
    """The checkpoints in a folder."""
    return sorted((path for path in folder.glob("step-*") if NAME.fullmatch(path.name)), reverse=True)


def read_checkpoint(checkpoint: Path) -> tuple[Tensors, dict[str, Any]]:
    """A checkpoint's tensors, on the CPU, and the rest of it.

    Raises:
        InputError: It is damaged.
    """
    try:
        state = json.loads((checkpoint / "state.json").read_text())
        for name, digest in state["files"].items():
            if file_digest(checkpoint / name) != digest:
                raise ValueError(f"the checksum of {name} doesn't match")
        return {name.removesuffix(".safetensors"): load_file(checkpoint / name) for name in state["files"]}, state
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise InputError(f"checkpoint {checkpoint.name} is damaged ({error})") from None
