"""The forms in which weights are published: a whole pipeline, an adapter, one file in Sana's own layout."""

from pathlib import Path

from sanaflow.config import PublishingSettings
from sanaflow.model.reference import ModelReference
from sanaflow.model.tuned import SanaModel

ORIGINAL_FILE = "original/sana.safetensors"
WEIGHTS = (".safetensors", ".safetensors.index.json")


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
    sources: dict[str, Path] = {}
    if is_pipeline(tuned, settings):
        base = model.folder()
        sources = {path: base / path for path in model.files if not path.startswith("transformer/")}
    for version, folder in tuned.versions().items():
        place = place_of(tuned, version)
        sources |= {(Path(place) / path.name).as_posix(): path for path in folder.iterdir() if path.is_file()}
    if settings.release_dtype or settings.release_merged or settings.release_original:
        # Here, for it imports PyTorch and more, which a release of the weights as they are has no use for.
        from sanaflow.publishing.conversions import convert

        convert(tuned, model, settings, scratch)
        converted = {path.relative_to(scratch).as_posix(): path for path in scratch.rglob("*") if path.is_file()}
        parts = {path.rpartition("/")[0] for path in converted}  # shards of another precision are others
        ours = {path for path in sources if path.rpartition("/")[0] in parts - {""} and path.endswith(WEIGHTS)}
        sources = {path: source for path, source in sources.items() if path not in ours} | converted
    return sources
