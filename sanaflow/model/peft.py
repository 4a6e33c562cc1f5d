"""Standard LoRA and DoRA by PEFT, in the file that `SanaPipeline.load_lora_weights` reads."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from diffusers import SanaPipeline, SanaTransformer2DModel
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from sanaflow.config import TrainingSettings
from sanaflow.errors import InputError
from sanaflow.model.tuned import LORA_FILE

METADATA = "lora_adapter_metadata"
TARGETS = ["to_q", "to_k", "to_v", "to_out.0", "conv_inverted", "conv_point"]
"""Attention and both 1x1 convolutions of the feed-forward. Not the depthwise one: its rank would have to be a multiple
of its thousands of groups."""


def attach_lora(transformer: SanaTransformer2DModel, settings: TrainingSettings) -> None:
    """Add an adapter to the frozen transformer; until it is trained it changes nothing."""
    transformer.requires_grad_(False)
    config = LoraConfig(
        r=settings.lora_rank,
        lora_alpha=settings.lora_alpha or settings.lora_rank,
        lora_dropout=settings.lora_dropout,
        use_dora=settings.use_dora,
        target_modules=list(settings.lora_target_modules or TARGETS),
    )
    try:
        transformer.add_adapter(config)
    except ValueError as error:
        raise InputError(f"training.lora_target_modules doesn't fit a Sana transformer: {error}") from None
    to_fp32(parameter for parameter in transformer.parameters() if parameter.requires_grad)


def to_fp32(parameters: Iterable[torch.nn.Parameter]) -> None:
    """What is trained is in fp32, whatever the base is in. `module.float()` can't do it to tensors without memory."""
    for parameter in parameters:
        parameter.data = parameter.data.float()


@contextmanager
def lora_off(transformer: SanaTransformer2DModel) -> Iterator[None]:
    """The frozen base."""
    transformer.disable_adapters()
    try:
        yield
    finally:
        transformer.enable_adapters()


def save_lora(transformer: SanaTransformer2DModel, folder: Path) -> None:
    """Write the adapter; alpha is in the file's metadata, without which loaders take it for the rank."""
    config = transformer.peft_config["default"].to_dict()
    ordered = {key: sorted(value) if isinstance(value, set) else value for key, value in config.items()}
    SanaPipeline.save_lora_weights(
        folder,
        transformer_lora_layers=get_peft_model_state_dict(transformer),
        transformer_lora_adapter_metadata=ordered,
    )
    # safetensors writes several entries of metadata in a random order, and equal weights should be equal files.
    with safe_open(folder / LORA_FILE, "pt") as file:
        metadata = {METADATA: file.metadata()[METADATA]}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dict
    save_file(tensors, folder / LORA_FILE, metadata=metadata)


def load_lora(transformer: SanaTransformer2DModel, folder: Path) -> None:
    """Add the adapter that `save_lora` wrote."""
    transformer.load_lora_adapter(folder, prefix="transformer", weight_name=LORA_FILE)


def load_lora_weights(transformer: SanaTransformer2DModel, folder: Path) -> None:
    """Read the weights that `save_lora` wrote into the adapter that is there.

    Raises:
        InputError: They are of another one.
    """
    held = {name.removeprefix("transformer."): value for name, value in load_file(folder / LORA_FILE).items()}
    wanted = get_peft_model_state_dict(transformer)
    if {n: v.shape for n, v in held.items()} != {n: v.shape for n, v in wanted.items()}:
        raise InputError(f"training.start_from: the LoRA in '{folder}' is on other layers or of another rank")
    set_peft_model_state_dict(transformer, held)
