"""The data sets: are they there, and do their pictures have captions.

Files of this machine are looked at as the run does, into the same index: what is read here is not read again. Of what
lies elsewhere nothing is fetched but lists.
"""

import io
from collections import Counter
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path

import pandas as pd

from pipelines.checking.far import look_at_far_set
from pipelines.checking.finding import Finding, Look, counted, refused
from sanaflow.config import RunSettings
from sanaflow.datasets import DatasetSettings
from sanaflow.errors import InputError
from sanaflow.images.scan import scan_datasets
from sanaflow.images.sources.folder import open_folder
from sanaflow.images.sources.urls import open_csv
from sanaflow.images.table import PICTURE_COLUMNS

SHOWN = 3
HARMLESS = ("double", "other file")


def look_at_data(run: RunSettings, folder: Path, *, hub_answers: bool, here: bool) -> Look[pd.DataFrame | None]:
    """Every set; gives the pictures of all of them, or None if some couldn't be looked at one by one."""
    tables, whole = [], True
    usable: list[DatasetSettings] = [d for d in run.datasets if d.dataset_type == "text_embeds"]
    wanted = [d for d in run.datasets if not d.disabled and d.role != "none"]
    for dataset in sorted(wanted, key=lambda d: d.role != "mask"):  # which the others' pictures are paired with
        where = f"datasets.{dataset.id}"
        yield from (Finding("warning", where, note) for note in dataset.notes)
        try:
            if not is_near(dataset):
                yield from look_at_far_set(dataset, hub_answers=hub_answers)
            elif dataset.role == "mask":
                yield from look_at_masks(dataset, folder)
                usable.append(dataset)
                continue
            else:
                tables.append((yield from look_at_near_set(dataset, usable, folder)))
                continue
        except InputError as error:
            yield from refused(where, with_counts(dataset, error), "error" if here else "warning")
        whole = False
    return pd.concat(tables, ignore_index=True) if tables and whole else None


def is_near(dataset: DatasetSettings) -> bool:
    """Whether all of its files are on this machine.

    Raises:
        InputError: Its table can't be read.
    """
    return dataset.type == "local" or (
        dataset.type == "csv" and all(entry.path or entry.problem for entry in open_csv(dataset).entries)
    )


def look_at_masks(dataset: DatasetSettings, folder: Path) -> Look[None]:
    """A set of masks by itself."""
    with redirect_stdout(io.StringIO()):
        scan_datasets([dataset], folder=folder)
    yield Finding("ok", f"datasets.{dataset.id}", "holds masks")


def look_at_near_set(dataset: DatasetSettings, usable: Sequence[DatasetSettings], folder: Path) -> Look[pd.DataFrame]:
    """Its pictures, with their captions and, where those are `usable`, masks."""
    where = f"datasets.{dataset.id}"
    if not set(dataset.masks) <= {d.id for d in usable}:
        dataset = dataset.model_copy(update={"conditioning_data": None})
    with redirect_stdout(io.StringIO()):
        table = scan_datasets([dataset, *usable], folder=folder)
    pictures = table.pictures.reindex(columns=PICTURE_COLUMNS)
    left_out = table.rejected[table.rejected["dataset"] == dataset.id]
    kinds = {str(kind): rows for kind, rows in left_out.groupby(left_out["reason"].map(_kind))}
    captions = counted(sum(map(len, pictures["captions"])), "caption")
    others = "".join(f", {counted(len(kinds[kind]), kind)}" for kind in HARMLESS if kind in kinds)
    yield Finding("ok", where, f"{counted(len(pictures), 'picture')} with {captions}{others}")
    if len(pictures) == 1 and dataset.trained:
        yield Finding("warning", where, "holds one picture only, which will be learned by heart: add more")
    for kind in kinds.keys() - set(HARMLESS):
        some = "; ".join(f"{row.file}: {row.reason}" for row in kinds[kind].head(SHOWN).itertuples())
        of = f"{len(kinds[kind]):,} of {len(pictures) + len(left_out):,} files {kind} and are left out"
        yield Finding("warning", where, f"{of}, for example {some}")
    return pictures


def _kind(reason: str) -> str:
    """What a reason of the scan's is about."""
    if reason.startswith("same bytes"):
        return "double"
    if "not a picture, by its name" in reason:
        return "other file"
    return "have no caption" if "caption" in reason or "has no row" in reason else "can't be used"


def with_counts(dataset: DatasetSettings, error: InputError) -> InputError:
    """What a folder holds instead, if it holds no pictures."""
    if dataset.type != "local" or "holds no pictures" not in error.message:
        return error
    endings = Counter(entry.ending or "files without ending" for entry in open_folder(dataset).entries)
    held = ", ".join(f"{count:,} {ending}" for ending, count in endings.most_common(5)) or "nothing at all"
    return InputError(f"{error.message}; it holds {held}")
