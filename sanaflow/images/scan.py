"""Look at a dataset's folder: which pictures it holds, their sizes and captions, and what had to be left out."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd

from sanaflow.config import DatasetSettings
from sanaflow.errors import InputError
from sanaflow.images.captions import MissingCaptionError, captions_of
from sanaflow.images.decode import ENDINGS, UnreadablePictureError, read_upright
from sanaflow.images.table import PICTURE_COLUMNS, REJECTED_COLUMNS, ImageTable
from sanaflow.progress import progress_bar


def scan_datasets(datasets: Sequence[DatasetSettings]) -> ImageTable:
    """One table of all datasets' pictures. Reads every picture once and writes nothing.

    Raises:
        InputError: A folder is missing or unreadable, or has no usable picture.
    """
    scanned = [_scan_folder(dataset) for dataset in datasets]
    return ImageTable(
        pictures=pd.DataFrame([row for pictures, _ in scanned for row in pictures], columns=PICTURE_COLUMNS),
        rejected=pd.DataFrame([row for _, rejected in scanned for row in rejected], columns=REJECTED_COLUMNS),
    )


def _scan_folder(dataset: DatasetSettings) -> tuple[list[dict], list[dict]]:
    folder = Path(dataset.instance_data_dir).expanduser()
    key = f"dataset '{dataset.id}': instance_data_dir"
    if not folder.is_dir():
        raise InputError(f"{key} '{folder}' is not a folder: set it to the folder of your pictures")
    try:
        files = sorted(_pictures_below(folder))
    except PermissionError as error:
        raise InputError(f"{key} '{folder}': no right to read '{error.filename}'; change its permissions") from None
    if not files:
        raise InputError(f"{key} '{folder}' holds no pictures: put some in it ({', '.join(sorted(ENDINGS))})")

    pictures: dict[str, dict] = {}
    rejected: list[dict] = []
    with ThreadPoolExecutor() as pool:
        looks = pool.map(lambda file: _look_at(file, folder, dataset), files)
        for row in progress_bar(looks, total=len(files), desc=f"reading {dataset.id}", unit="picture"):
            if "reason" in row:
                rejected.append(row)
            elif first := pictures.get(row["id"]):
                first["captions"] += [c for c in row["captions"] if c not in first["captions"]]
                reason = f"same bytes as {first['file']}, which takes over its captions"
                rejected.append({"dataset": dataset.id, "file": row["file"], "reason": reason})
            else:
                pictures[row["id"]] = row
    if not pictures:
        example = rejected[0]
        raise InputError(
            f"{key} '{folder}' holds no usable picture: all {len(files)} were left out, "
            f"for example {example['file']}: {example['reason']}"
        )
    print(f"{dataset.id}: {len(pictures):,} pictures, {len(rejected):,} files left out")
    for row in rejected[:10]:
        print(f"  {row['file']}: {row['reason']}")
    return list(pictures.values()), rejected


def _pictures_below(folder: Path) -> Iterator[Path]:
    """Files with a picture's ending. Hidden folders are passed over; links are followed, each folder once."""
    entered = set()

    def refused(error: OSError) -> None:
        raise error

    for parent, folders, names in os.walk(folder, followlinks=True, onerror=refused):
        if (real := os.path.realpath(parent)) in entered:
            folders.clear()
            continue
        entered.add(real)
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(parent, n) for n in names if Path(n).suffix.lower() in ENDINGS and not n.startswith("."))


def _look_at(file: Path, folder: Path, dataset: DatasetSettings) -> dict:
    """A row of the table, or of the rejected files if it has a reason."""
    name = os.fsencode(file.relative_to(folder)).decode(errors="replace")
    try:
        str(file).encode()
        data = file.read_bytes()
        width, height = read_upright(data).size
        captions = captions_of(file, dataset)
    except (UnreadablePictureError, MissingCaptionError) as error:
        return {"dataset": dataset.id, "file": name, "reason": str(error)}
    except UnicodeEncodeError:
        return {"dataset": dataset.id, "file": name, "reason": "its name is not UTF-8: rename it"}
    except OSError as error:
        return {"dataset": dataset.id, "file": name, "reason": f"can't be read: {error.strerror}"}
    return {
        "dataset": dataset.id,
        "id": hashlib.sha256(data).hexdigest(),
        "uri": str(file.resolve()),
        "file": name,
        "width": width,
        "height": height,
        "captions": captions,
        "repeats": dataset.repeats,
    }
