"""An adapter worked into the weights of its base: a transformer like any other."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers import SanaTransformer2DModel
from lycoris.modules.loha import LohaModule
from lycoris.modules.lokr import LokrModule
from safetensors.torch import load_file

from sanaflow.model.loading import load_transformer
from sanaflow.model.lycoris import build_network
from sanaflow.model.peft import load_lora
from sanaflow.model.reference import ModelReference
from sanaflow.model.tuned import LORA_FILE, LYCORIS_CONFIG_FILE, SanaModel

SCALED_TWICE = (LohaModule, LokrModule)
"""LyCORIS scales what these add once when they run, and twice when it merges them (lycoris-lora 4.1.3)."""


def load_merged(tuned: SanaModel, model: ModelReference) -> SanaTransformer2DModel:
    """The base model's transformer with the adapter in its weights, fp32, on the CPU.

    An adapter that was trained over a base in few bits is merged into the whole weights, as it is loaded elsewhere too.

    Args:
        tuned: An adapter, not a full model.
        model: What it is on.

    Raises:
        InputError: Weights are missing or damaged.
    """
    tuned.verify()
    transformer, folder = load_transformer(model), tuned.versions()["tuned"]
    if tuned.kind == "standard":
        load_lora(transformer, folder)
        transformer.fuse_lora()
        transformer.unload_lora()
    else:
        _merge_lycoris(transformer, folder)
    return transformer.requires_grad_(False).eval()


def _merge_lycoris(transformer: SanaTransformer2DModel, folder: Path) -> None:
    network = build_network(transformer, json.loads((folder / LYCORIS_CONFIG_FILE).read_text()))
    network.apply_to()  # only then are its parts known to PyTorch
    network.load_state_dict(load_file(folder / LORA_FILE))
    network.restore()
    for adapter in network.loras:
        if isinstance(adapter, SCALED_TWICE):
            adapter.get_diff_weight = partial(_difference, adapter)
    network.merge_to(1.0)


def _difference(
    adapter: Any, multiplier: float = 1, shape: Any = None, device: Any = None
) -> tuple[torch.Tensor, None]:
    return (adapter.get_weight(shape) * adapter.scalar * multiplier).to(device), None
