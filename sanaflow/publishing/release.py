"""A release: a pipeline that `SanaPipeline.from_pretrained` loads, or an adapter, with card, samples and manifest."""

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
from sanaflow.paths import expanded
from sanaflow.progress import progress_bar
from sanaflow.publishing.forms import weight_files
from sanaflow.publishing.hub import push
from sanaflow.publishing.manifest import HubRelease
from sanaflow.publishing.model_card import SAMPLES, license_of, model_card, shown_pictures

MANIFEST = "manifest.json"


def publish(
    tuned: SanaModel,
    *,
    model: ModelReference,
    scores: ClipScores,
    gallery: Gallery,
    settings: PublishingSettings,
    default_folder: Path,
    made_by: Mapping[str, str] | None = None,
    trained_on: str = "",
    model_version: str | None = None,
) -> HubRelease:
    """Write the release folder, and push it if a repository is named. Doing it again changes nothing.

    Args:
        tuned: The weights.
        model: What they are on.
        scores: For the card, and beside it.
        gallery: For the card: the pictures that were scored.
        settings: Where to.
        default_folder: For the release where the settings name none.
        made_by: What made the weights, by what it is ('run', 'torch', ...): for the card.
        trained_on: What they learned from, in words: for the card.
        model_version: The tag of a commit.

    Raises:
        InputError: The folder can't be written or holds something else; the hub refuses.
    """
    tuned.verify()
    with tempfile.TemporaryDirectory() as scratch:
        sources = weight_files(tuned, model, settings, Path(scratch) / "weights")
        license = settings.license or license_of(model)
        card = model_card(
            tuned,
            scores,
            gallery,
            settings,
            model=model,
            license=license,
            made_by=made_by or {},
            trained_on=trained_on,
        )
        sources |= _written(Path(scratch) / "about", card, scores, gallery)
        files = {path: file_digest(source) for path, source in sorted(sources.items())}
        folder = expanded(settings.release_dir).resolve() if settings.release_dir else default_folder
        write_folder(folder, sources, files)
    print(f"release: {folder}")
    repo = settings.pushed_to()
    if repo is None:
        return HubRelease(files, folder)
    commit, url = push(folder, files, repo=repo, private=settings.hub_private, tag=model_version)
    return HubRelease(files, folder, repo, commit, url)


def _written(folder: Path, card: str, scores: ClipScores, gallery: Gallery) -> dict[str, Path]:
    """The files that are made for the release."""
    folder.mkdir()
    (folder / "README.md").write_text(card)
    scores.scores.to_csv(folder / "clip_scores.csv", index=False)
    gallery_sheet(gallery).save(folder / "samples.png")
    for number, (_, picture) in enumerate(shown_pictures(gallery)):
        (folder / SAMPLES).mkdir(exist_ok=True)
        picture.save(folder / SAMPLES / f"{number}.png")
    return {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}


def write_folder(folder: Path, sources: Mapping[str, Path], files: Mapping[str, str]) -> None:
    """Copy the files into a new folder and rename it into place. Nothing but an earlier release is replaced.

    Raises:
        InputError: `folder` holds something that is not a release of ours, or can't be written.
    """
    old = released_files(folder)
    if old == dict(files) and all((folder / p).is_file() and file_digest(folder / p) == d for p, d in files.items()):
        return
    mark = uuid.uuid4().hex
    hidden, aside = folder.with_name(f".{folder.name}.{mark}.tmp"), folder.with_name(f".{folder.name}.{mark}.old")
    try:
        for path, source in progress_bar(sources.items(), desc="writing the release", unit="file", leave=False):
            (hidden / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, hidden / path)
        (hidden / MANIFEST).write_text(json.dumps({"made_by": "sanaflow", "files": dict(files)}, indent=2))
        if folder.exists():
            folder.rename(aside)
        hidden.rename(folder)
    except OSError as error:
        shutil.rmtree(hidden, ignore_errors=True)
        raise InputError(
            f"publishing.release_dir '{folder}' can't be written ({error.strerror}): name another folder"
        ) from None
    shutil.rmtree(aside, ignore_errors=True)


def released_files(folder: Path) -> dict[str, str]:
    """What the manifest of a release in `folder` lists; nothing where there is no such folder, or an empty one.

    Raises:
        InputError: Something else is there that would be lost.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return {}
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        released = manifest["files"] if manifest["made_by"] == "sanaflow" else None
    except (OSError, ValueError, KeyError, TypeError):
        released = None
    if released is None:
        raise InputError(f"publishing.release_dir '{folder}' is or holds something else: name another folder")
    there = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir()}
    if foreign := sorted(there - set(released) - {MANIFEST}):
        raise InputError(
            f"publishing.release_dir '{folder}' holds a file that is not of the release there, '{foreign[0]}': "
            "move it away or name another folder"
        )
    return released
