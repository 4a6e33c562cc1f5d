"""Weights from anywhere as a model that can be scored: a release, a transformer, an adapter; a folder or on the hub."""

import shutil
import uuid
from pathlib import Path

from huggingface_hub import snapshot_download

from sanaflow.config import CandidateSettings
from sanaflow.errors import InputError
from sanaflow.hub import ask_hub
from sanaflow.model.reference import ModelReference
from sanaflow.model.tuned import LORA_FILE, LYCORIS_CONFIG_FILE, SanaModel, weights_digest
from sanaflow.paths import expanded

ADAPTER = (LORA_FILE, LYCORIS_CONFIG_FILE)
TRANSFORMER = ("config.json", "*.safetensors", "*.safetensors.index.json")


def fetch_candidate(settings: CandidateSettings, *, base: ModelReference, models_folder: Path) -> SanaModel:
    """Find the weights, and put a copy into `models_folder`, named by its content.

    Args:
        settings: Where they are; not a model version.
        base: What an adapter is on.
        models_folder: For the copy.

    Raises:
        InputError: There is nothing of the kind, the hub refuses, or the copy can't be written.
    """
    name = settings.name
    place = expanded(name)
    if not place.is_dir():
        if name.count("/") != 1 or name.startswith((".", "/", "~")):
            raise InputError(
                f"candidate.name '{name}' is no folder, no hub id like 'owner/name' and no model version like 'sana@3'"
            )
        wanted = [*ADAPTER, *TRANSFORMER, "model_index.json", *(f"transformer/{pattern}" for pattern in TRANSFORMER)]
        place = Path(
            ask_hub(
                lambda: snapshot_download(name, revision=settings.revision, allow_patterns=wanted),
                subject=f"candidate '{name}'",
                key="candidate.name",
                revision_key="candidate.revision",
                missing="is neither a folder here nor a repository that the hub shows you",
            )
        )
    kind, files = _weights_in(place, name)
    hidden = models_folder / f".{uuid.uuid4().hex}.tmp"
    try:
        hidden.mkdir(parents=True)
        for file in files:
            shutil.copyfile(file, hidden / file.name)
        target = models_folder / weights_digest(hidden)
        if weights_digest(target) == target.name:
            shutil.rmtree(hidden)
        else:
            shutil.rmtree(target, ignore_errors=True)  # damaged
            hidden.rename(target)
    except OSError as error:
        shutil.rmtree(hidden, ignore_errors=True)
        raise InputError(f"candidate.name '{name}' can't be copied to '{models_folder}' ({error.strerror})") from None
    pinned = base.name if base.commit is None else f"{base.name}@{base.commit}"
    return SanaModel(target, 0, pinned, base.digest(), {}, {}, kind=kind)


def _weights_in(place: Path, name: str) -> tuple[str, list[Path]]:
    """What kind of weights a folder holds, and their files."""
    if (place / LORA_FILE).is_file():
        lycoris = (place / LYCORIS_CONFIG_FILE).is_file()
        return ("lycoris" if lycoris else "standard"), [place / file for file in ADAPTER if (place / file).is_file()]
    folder = place / "transformer" if (place / "model_index.json").is_file() else place
    files = sorted({file for pattern in TRANSFORMER for file in folder.glob(pattern)})
    if not (folder / "config.json").is_file() or not any(file.suffix == ".safetensors" for file in files):
        raise InputError(
            f"candidate.name '{name}' holds neither a pipeline or transformer in safetensors nor '{LORA_FILE}'"
        )
    return "full", files
