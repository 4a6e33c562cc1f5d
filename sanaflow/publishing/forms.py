"""The forms in which weights are published: a whole pipeline, an adapter, one file in Sana's own layout."""

from collections.abc import Iterator
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
from sanaflow.publishing.original_layout import save_original

ORIGINAL_FILE = "original/sana.safetensors"


def is_pipeline(tuned: SanaModel, settings: PublishingSettings) -> bool:
    """Whether the release is loaded by itself, not on its base."""
    return tuned.kind == "full" or settings.release_merged


def place_of(tuned: SanaModel, version: str) -> str:
    """The folder in a release of one of `tuned.versions()`; '' for the release's own."""
    if tuned.kind == "full":
        return {"tuned": "transformer", "raw": "transformer_raw"}[version]
    return {"tuned": "", "raw": "raw"}[version]


def weight_files(
    tuned: SanaModel, model: ModelReference, settings: PublishingSettings, scratch: Path
) -> dict[str, Path]:
    """The weights by their path in the release.

    Args:
        tuned: What is released.
        model: What it is on; the other parts of a pipeline are its.
        settings: Which forms, in which precision.
        scratch: A folder for what has to be written anew.

    Raises:
        InputError: Weights are missing or damaged, or a form can't hold them.
    """
    dtype = DTYPES[settings.release_dtype] if settings.release_dtype else None
    sources: dict[str, Path] = {}
    if is_pipeline(tuned, settings):
        base = model.folder()
        sources = {path: base / path for path in model.files if not path.startswith("transformer/")}
    for version, folder in tuned.versions().items():
        place = place_of(tuned, version)
        if dtype is None:
            made = folder
        elif tuned.kind == "full":
            made = scratch / place
            transformer = SanaTransformer2DModel.from_pretrained(folder, torch_dtype=dtype)
            save_full(transformer, made, dict(transformer.state_dict()))
        else:
            made = scratch / "adapter" / version
            _cast_adapter(folder, made, dtype)
        sources |= {(Path(place) / file.name).as_posix(): file for file in _files(made)}
    if tuned.kind != "full" and settings.release_merged:
        transformer = load_merged(tuned, model).to(dtype or torch.float32)
        save_full(transformer, scratch / "transformer", dict(transformer.state_dict()))
        sources |= {f"transformer/{file.name}": file for file in _files(scratch / "transformer")}
    if settings.release_original:
        whole = load_tuned(tuned, model) if tuned.kind == "full" else load_merged(tuned, model)
        save_original(whole, scratch / ORIGINAL_FILE, dtype or torch.float32)
        sources[ORIGINAL_FILE] = scratch / ORIGINAL_FILE
    return sources


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.iterdir()) if path.is_file())


def _cast_adapter(folder: Path, made: Path, dtype: torch.dtype) -> None:
    """Copy an adapter, its tensors in another precision; what is in the file's metadata stays."""
    made.mkdir(parents=True)
    for file in _files(folder):
        if file.suffix != ".safetensors":
            (made / file.name).write_bytes(file.read_bytes())
            continue
        with safe_open(file, "pt") as held:
            tensors = {name: held.get_tensor(name).to(dtype) for name in held.keys()}  # noqa: SIM118 - it is no dict
            save_file(tensors, made / file.name, metadata=held.metadata())
