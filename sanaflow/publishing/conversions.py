"""Weights written anew for a release: in another precision, merged, in Sana's own layout."""

from pathlib import Path

import torch
from diffusers import SanaTransformer2DModel
from safetensors import safe_open
from safetensors.torch import save_file

from sanaflow.config import PublishingSettings
from sanaflow.model.loading import DTYPES
from sanaflow.model.merging import load_merged
from sanaflow.model.reference import ModelReference
from sanaflow.model.tunable import load_tuned, save_full
from sanaflow.model.tuned import SanaModel
from sanaflow.publishing.forms import ORIGINAL_FILE, place_of
from sanaflow.publishing.original_layout import save_original


def convert(tuned: SanaModel, model: ModelReference, settings: PublishingSettings, folder: Path) -> None:
    """Write what is not released as it was trained into `folder`, by its path in the release.

    Raises:
        InputError: Weights are missing or damaged, or a form can't hold them.
    """
    if settings.release_dtype:
        dtype = DTYPES[settings.release_dtype]
        for version, trained in tuned.versions().items():
            target = folder / place_of(tuned, version)
            if tuned.kind == "full":
                transformer = SanaTransformer2DModel.from_pretrained(trained, torch_dtype=dtype)
                save_full(transformer, target, dict(transformer.state_dict()))
            else:
                _cast_adapter(trained, target, dtype)
    if not (settings.release_merged or settings.release_original):
        return
    whole = load_tuned(tuned, model) if tuned.kind == "full" else load_merged(tuned, model)
    whole.to(DTYPES[settings.release_dtype or "fp32"])
    if settings.release_merged:
        save_full(whole, folder / "transformer", dict(whole.state_dict()))
    if settings.release_original:
        save_original(whole, folder / ORIGINAL_FILE)


def _cast_adapter(folder: Path, made: Path, dtype: torch.dtype) -> None:
    """Write an adapter's tensors in another precision; what is in the file's metadata stays."""
    made.mkdir(parents=True, exist_ok=True)
    for file in folder.glob("*.safetensors"):
        with safe_open(file, "pt") as held:
            tensors = {name: held.get_tensor(name).to(dtype) for name in held.keys()}  # noqa: SIM118 - it is no dict
            save_file(tensors, made / file.name, metadata=held.metadata())
