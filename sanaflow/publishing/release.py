"""A release: a pipeline that `SanaPipeline.from_pretrained` loads, with its card, samples and manifest."""

import json
import shutil
import tempfile
import uuid
from collections.abc import Mapping
from pathlib import Path

from sanaflow.config import PublishingSettings
from sanaflow.digests import file_digest
from sanaflow.errors import InputError
from sanaflow.evaluation.gallery import Gallery, gallery_sheet
from sanaflow.evaluation.scores import ClipScores
from sanaflow.model.reference import ModelReference
from sanaflow.model.tuned import SanaModel
from sanaflow.publishing.hub import push
from sanaflow.publishing.manifest import HubRelease
from sanaflow.publishing.model_card import model_card

MANIFEST = "manifest.json"


def publish(
    tuned: SanaModel,
    *,
    model: ModelReference,
    scores: ClipScores,
    gallery: Gallery,
    settings: PublishingSettings,
    default_folder: Path,
) -> HubRelease:
    """Write the release folder, and push it if a repository is named. Doing it again changes nothing.

    Raises:
        InputError: The folder can't be written or holds something else; the hub refuses.
    """
    tuned.verify()
    base = model.folder()
    with tempfile.TemporaryDirectory() as scratch:
        sources = {path: base / path for path in model.files if not path.startswith("transformer/")}
        sources |= {f"transformer/{p.name}": p for p in sorted(tuned.folder.iterdir()) if p.is_file()}
        sources |= _written(Path(scratch), tuned, scores, gallery, settings)
        files = {path: file_digest(source) for path, source in sorted(sources.items())}
        folder = Path(settings.release_dir).expanduser().resolve() if settings.release_dir else default_folder
        write_folder(folder, sources, files)
    print(f"release: {folder}")
    if settings.hub_model_id is None:
        return HubRelease(files, folder)
    commit, url = push(folder, list(files), repo=settings.hub_model_id, private=settings.hub_private)
    return HubRelease(files, folder, settings.hub_model_id, commit, url)


def _written(
    folder: Path, tuned: SanaModel, scores: ClipScores, gallery: Gallery, settings: PublishingSettings
) -> dict[str, Path]:
    """The files that are made for the release."""
    (folder / "README.md").write_text(model_card(tuned, scores, settings))
    scores.scores.to_csv(folder / "clip_scores.csv", index=False)
    gallery_sheet(gallery).save(folder / "samples.png")
    return {path.name: path for path in folder.iterdir()}


def write_folder(folder: Path, sources: Mapping[str, Path], files: Mapping[str, str]) -> None:
    """Copy the files into a new folder and rename it into place; a release that is there already is replaced,
    nothing else.

    Raises:
        InputError: `folder` holds something that is not a release, or can't be written.
    """
    if folder.exists() and any(folder.iterdir()):
        if not (folder / MANIFEST).is_file():
            raise InputError(
                f"publishing.release_dir '{folder}' holds something that is not a release: name another folder"
            )
        if _is_whole(folder, files):
            return
    hidden = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.tmp")
    try:
        for path, source in sources.items():
            (hidden / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, hidden / path)
        (hidden / MANIFEST).write_text(json.dumps({"files": dict(files)}, indent=2))
        if folder.exists():
            shutil.rmtree(folder)
        hidden.rename(folder)
    except OSError as error:
        shutil.rmtree(hidden, ignore_errors=True)
        raise InputError(
            f"publishing.release_dir '{folder}' can't be written ({error.strerror}): name another folder"
        ) from None


def _is_whole(folder: Path, files: Mapping[str, str]) -> bool:
    return all((folder / path).is_file() and file_digest(folder / path) == digest for path, digest in files.items())
