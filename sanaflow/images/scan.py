"""Look at the data sets: which pictures they hold, their captions and masks, and what had to be left out."""

import fcntl
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import pandas as pd

from sanaflow.config import QualitySettings
from sanaflow.datasets import DatasetSettings
from sanaflow.errors import InputError
from sanaflow.images.audit import audit, find_faces
from sanaflow.images.captions import MissingCaptionError, caption_filter, captions_of
from sanaflow.images.index import Index, Look, open_index
from sanaflow.images.looks import look_at_all, read_texts
from sanaflow.images.metadata import read_metadata
from sanaflow.images.sources.folder import open_folder
from sanaflow.images.sources.hub import open_hub
from sanaflow.images.sources.listing import Entry, Source
from sanaflow.images.sources.s3 import open_s3
from sanaflow.images.sources.urls import open_csv
from sanaflow.images.table import PICTURE_COLUMNS, REJECTED_COLUMNS, ImageTable


def scan_datasets(
    datasets: Sequence[DatasetSettings], *, folder: Path, quality: QualitySettings | None = None
) -> ImageTable:
    """One table of all datasets' pictures. Nothing is written but into `folder`.

    Args:
        datasets: The run's.
        folder: For the index and for what is downloaded.
        quality: How pictures are judged; None for not at all.

    Raises:
        InputError: A source can't be listed, or has no usable picture; or a strict set has one that isn't usable.
    """
    rejected: list[dict] = []
    with open_index(folder) as index:
        wanted = [d for d in datasets if not d.disabled and d.role != "none"]
        masks = {d.id: _masks(_scan(d, datasets, folder, index, rejected)) for d in wanted if d.role == "mask"}
        rows = []
        for dataset in wanted:
            if dataset.role == "mask":
                continue
            paired = next((masks[i] for i in dataset.masks), None)
            rows += _with_masks(_scan(dataset, datasets, folder, index, rejected), paired, dataset, rejected)
        pictures = pd.DataFrame(rows, columns=PICTURE_COLUMNS)
        pictures[["face_x", "face_y"]] = pictures[["face_x", "face_y"]].astype(float)
        with_faces = {d.id for d in wanted if d.crop_style == "face"}
        pictures = find_faces(pictures, with_faces, index) if with_faces else pictures
        pictures = audit(pictures, quality or QualitySettings(audit=False), index, rejected)
    for dataset in wanted:
        if dataset.trained and not (pictures["dataset"] == dataset.id).any():
            last = next(row for row in reversed(rejected) if row["dataset"] == dataset.id)
            raise InputError(
                f"{dataset.key}: the look at the quality leaves no picture, for example {last['file']}: "
                f"{last['reason']}; change the limits in 'quality'"
            )
    return ImageTable(pictures, pd.DataFrame(rejected, columns=REJECTED_COLUMNS))


def _scan(
    dataset: DatasetSettings, datasets: Sequence[DatasetSettings], folder: Path, index: Index, rejected: list[dict]
) -> list[dict]:
    """The rows of one dataset; adds to `rejected`."""
    for note in dataset.notes:
        print(f"{dataset.id}: {note}")
    with _alone_in(folder / "lock" if dataset.type != "local" else None):
        source = _open(dataset, folder)
        entries = [entry for entry in source.entries if entry.is_picture and not entry.problem]
        if dataset.max_num_samples and dataset.max_num_samples < len(entries):
            entries = sorted(random.Random(dataset.id).sample(entries, dataset.max_num_samples), key=lambda e: e.name)
        looks = look_at_all(source, entries, folder, index, dataset.id)
        captions = _captioner(dataset, datasets, source, entries, folder, index)

    left_out = [(entry.name, entry.problem) for entry in source.entries if entry.problem]
    doubled = []
    rows: dict[str, dict] = {}
    for entry in entries:
        look, path = looks[entry.name]
        if look.problem:
            left_out.append((entry.name, look.problem))
            continue
        try:
            row = _row(dataset, entry, look, path, captions(entry))
        except MissingCaptionError as error:
            left_out.append((entry.name, str(error)))
            continue
        if dataset.role == "mask":
            rows[entry.name] = row  # one mask may serve many pictures
        elif first := rows.get(look.digest):
            first["captions"] += [c for c in row["captions"] if c not in first["captions"]]
            doubled.append((entry.name, f"same bytes as {first['file']}, which takes over its captions"))
        else:
            rows[look.digest] = row
    strangers = [(e.name, _no_picture(e)) for e in source.entries if not (e.is_picture or e.problem or e.is_beside)]
    _report(dataset, len(rows), left_out, strangers)
    rejected += [{"dataset": dataset.id, "file": n, "reason": why} for n, why in (*left_out, *doubled, *strangers)]
    return list(rows.values())


def _row(dataset: DatasetSettings, entry: Entry, look: Look, path: Path | None, captions: list[str]) -> dict:
    return {
        **{"dataset": dataset.id, "id": look.digest, "uri": str(path), "file": entry.name, "captions": captions},
        **{"width": look.width, "height": look.height, "repeats": dataset.repeats},
        **{"mask_id": "", "mask_uri": "", "duplicates": -1},
    }


def _open(dataset: DatasetSettings, folder: Path) -> Source:
    if dataset.type == "local":
        return open_folder(dataset)
    if dataset.type == "aws":
        return open_s3(dataset)
    if dataset.type == "huggingface":
        return open_hub(dataset, folder)
    return open_csv(dataset)


def _captioner(
    dataset: DatasetSettings,
    datasets: Sequence[DatasetSettings],
    source: Source,
    entries: list[Entry],
    folder: Path,
    index: Index,
) -> Callable[[Entry], list[str]]:
    """A function that gives a picture's captions; text files and tables are read now."""
    if dataset.role == "mask":
        return lambda entry: [""]
    rewrite = caption_filter(dataset, datasets)
    strategy = "" if dataset.only_instance_prompt else dataset.caption_strategy
    text = read_texts(source, entries, folder, index) if strategy == "textfile" else lambda name: None
    table = read_metadata(dataset, source, folder) if strategy == "parquet" else {}
    return lambda entry: captions_of(entry.name, dataset, text=text, table=table, given=entry.captions, rewrite=rewrite)


def _no_picture(entry: Entry) -> str:
    if entry.ending in (".heic", ".heif"):
        return "HEIC can't be read: convert it to JPEG or PNG"
    return "not a picture, by its name"


def _report(
    dataset: DatasetSettings, pictures: int, left_out: list[tuple[str, str]], strangers: list[tuple[str, str]]
) -> None:
    """Tell what was found; refuse a set without pictures, and a strict one that would be left without some."""
    if not pictures and not left_out:
        hint = f" (its {strangers[0][0]} is {strangers[0][1]})" if strangers else ""
        raise InputError(f"{dataset.key} holds no pictures{hint}: put some in it")
    if left_out and (not pictures or dataset.strict):
        what = "holds no usable picture: all" if not pictures else "'strict: true', and"
        name, reason = left_out[0]
        raise InputError(f"{dataset.key} {what} {len(left_out)} were left out, for example {name}: {reason}")
    others = f", {len(strangers):,} other files" if strangers else ""
    print(f"{dataset.id}: {pictures:,} pictures, {len(left_out):,} files left out{others}")
    for name, reason in left_out[:10]:
        print(f"  {name}: {reason}")


def _masks(rows: list[dict]) -> dict[str, dict]:
    return {str(PurePosixPath(row["file"]).with_suffix("")): row for row in rows}


def _with_masks(
    rows: list[dict], masks: dict[str, dict] | None, dataset: DatasetSettings, rejected: list[dict]
) -> list[dict]:
    """Give each picture the mask of the same path, whatever its ending."""
    if masks is None:
        return rows
    paired = []
    for row in rows:
        mask = masks.get(str(PurePosixPath(row["file"]).with_suffix("")))
        if mask is None:
            rejected.append({"dataset": dataset.id, "file": row["file"], "reason": "it has no mask of its name"})
            continue
        paired.append(row | {"mask_id": mask["id"], "mask_uri": mask["uri"]})
    print(f"{dataset.id}: {len(paired):,} of {len(rows):,} pictures have a mask")
    if not paired:
        raise InputError(f"{dataset.key}: no picture has a mask: masks need the pictures' own names")
    return paired


@contextmanager
def _alone_in(lock: Path | None) -> Iterator[None]:
    """Let no other process download into the same folder meanwhile: it will find all there."""
    if lock is None:
        yield
        return
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
