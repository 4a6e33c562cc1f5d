"""What a run trains: the transformer itself, or an adapter on it."""

import json
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import SanaTransformer2DModel

from sanaflow.config import TrainingSettings
from sanaflow.model.attention import keep_linear_attention_fp32
from sanaflow.model.loading import DTYPES, load_transformer
from sanaflow.model.lycoris import attach_lycoris, load_lycoris, load_lycoris_weights, lycoris_off, save_lycoris
from sanaflow.model.peft import attach_lora, load_lora, load_lora_weights, lora_off, save_lora
from sanaflow.model.quantisation import quantise
from sanaflow.model.reference import ModelReference
from sanaflow.model.scratch import random_transformer
from sanaflow.model.tuned import SanaModel

Weights = dict[str, torch.Tensor]
SHARD_SIZE = "5GB"


@dataclass
class Tunable:
    """A transformer with what is trained of it.

    Attributes:
        transformer: The model, adapter and all.
        save: Writes the weights as they are now into a folder. Given them by name, whole and on the CPU, as the
            model's own may be split over processes.
        load: Reads what `save` wrote.
        without_adapter: A context in which the transformer is what it was before.
        has_adapter: Whether there is one.
    """

    transformer: SanaTransformer2DModel
    save: Callable[[Path, Weights], None]
    load: Callable[[Path], None]
    without_adapter: Callable[[], AbstractContextManager[None]] = nullcontext
    has_adapter: bool = False

    def weights(self) -> dict[str, torch.nn.Parameter]:
        """What is trained, by name."""
        return {name: p for name, p in self.transformer.named_parameters() if p.requires_grad}


def load_tunable(model: ModelReference, settings: TrainingSettings, device: torch.device) -> Tunable:
    """Load the base model, frozen or not, and attach what is trained; on `device` if the base is quantised there.

    Raises:
        InputError: The model can't be loaded, or its modules can't take the adapter.
    """
    torch.manual_seed(settings.seed)  # adapters begin at random
    if settings.from_scratch:
        transformer = random_transformer(model, settings.transformer_config or {})
        transformer.to(DTYPES[settings.base_model_default_dtype])
    else:
        transformer = load_transformer(model, DTYPES[settings.base_model_default_dtype])
    return tunable_of(transformer, settings, device)


def tunable_of(transformer: SanaTransformer2DModel, settings: TrainingSettings, device: torch.device) -> Tunable:
    """A transformer at hand with what is trained of it, as `load_tunable` gives it."""
    if settings.model_type == "full":
        transformer.requires_grad_(True)
        return Tunable(
            transformer,
            save=lambda folder, weights: save_full(transformer, folder, weights),
            load=lambda folder: _load_full(transformer, folder),
        )
    if settings.base_model_precision != "no_change":
        quantise(transformer, settings.base_model_precision, settings.quantize_via, device)
    if settings.lora_type == "standard":
        attach_lora(transformer, settings)
        return Tunable(
            transformer,
            save=lambda folder, _: save_lora(transformer, folder),
            load=lambda folder: load_lora_weights(transformer, folder),
            without_adapter=lambda: lora_off(transformer),
            has_adapter=True,
        )
    network = attach_lycoris(transformer, settings)
    return Tunable(
        transformer,
        save=lambda folder, _: save_lycoris(network, settings.lycoris_config, folder),
        load=lambda folder: load_lycoris_weights(network, folder),
        without_adapter=lambda: lycoris_off(network),
        has_adapter=True,
    )


def load_tuned(tuned: SanaModel, model: ModelReference, version: str = "tuned") -> SanaTransformer2DModel:
    """The tuned transformer with fp32 weights, frozen; an adapter is on the base model's.

    Args:
        tuned: What training made.
        model: What it started from.
        version: One of `tuned.versions()`.

    Raises:
        InputError: Its weights are missing or damaged.
    """
    tuned.verify()
    folder = tuned.versions()[version]
    if tuned.kind == "full":
        transformer = SanaTransformer2DModel.from_pretrained(folder, torch_dtype=torch.float32)
        keep_linear_attention_fp32(transformer)
    else:
        transformer = load_transformer(model)
        (load_lora if tuned.kind == "standard" else load_lycoris)(transformer, folder)
    return transformer.requires_grad_(False).eval()


def _load_full(transformer: SanaTransformer2DModel, folder: Path) -> None:
    transformer.load_state_dict(SanaTransformer2DModel.from_pretrained(folder).state_dict())


def save_full(transformer: SanaTransformer2DModel, folder: Path, weights: Weights) -> None:
    """Write a folder that `SanaTransformer2DModel.from_pretrained` loads, with no path of this machine in it."""
    with torch.device("meta"):
        written = SanaTransformer2DModel.from_config(transformer.config)
    written.load_state_dict(weights, strict=True, assign=True)
    written.save_pretrained(folder, max_shard_size=SHARD_SIZE)
    config = json.loads((folder / "config.json").read_text())
    config.pop("_name_or_path", None)
    (folder / "config.json").write_text(json.dumps(config, indent=2))
