"""A first look at a dataset on the hub: its files' names and, of a Parquet file, the columns. No picture is fetched."""

from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from huggingface_hub import HfApi, HfFileSystem
from huggingface_hub.hf_api import RepoFile

from pipelines.configuring.captions import INSTANCE, Captions, captions_beside, captions_in_a_column
from sanaflow.datasets import DatasetSettings
from sanaflow.errors import InputError
from sanaflow.hub import HUB_ERRORS, ask_hub
from sanaflow.images.sources.hub import _is_of_split
from sanaflow.images.sources.listing import Entry, Source

IMAGE_COLUMNS = ("image", "img", "picture", "photo", "jpg", "png")


def look_at_hub(name: str) -> tuple[dict[str, Any], int | None, list[Captions]]:
    """The entry's keys, how many pictures there are (None if that isn't known), and the ways to captions.

    Raises:
        InputError: There is no such dataset, the hub can't be asked, or it holds no pictures.
    """
    entry: dict[str, Any] = {"type": "huggingface", "dataset_name": name}
    dataset = DatasetSettings(id="mine", **entry)

    def look() -> list[str]:
        tree = HfApi().list_repo_tree(name, repo_type="dataset", recursive=True)
        return [file.path for file in tree if isinstance(file, RepoFile)]

    missing = "is neither a folder here nor a dataset that the hub shows you"
    found = ask_hub(look, subject=f"'{name}'", key="the name", revision_key="the revision", missing=missing)
    entries = [Entry(path, "") for path in sorted(found) if not path.startswith(".")]
    tables = [e.name for e in entries if e.ending == ".parquet" and _is_of_split(e.name, dataset.split)]
    if tables:
        rows, columns = _looked_into(name, tables[0])
        if columns and not (column := next((c for c in IMAGE_COLUMNS if c in columns), None)):
            raise InputError(f"'{name}' has the columns {', '.join(columns)}, and none that is known to hold pictures")
        entry |= {"image_column": column} if columns and column != "image" else {}
        words = captions_in_a_column(columns, strategy="huggingface", key="caption_column", default=None)
        return entry, rows if len(tables) == 1 else None, words if columns else [_of_the_hub(), INSTANCE]
    pictures = [e for e in entries if e.is_picture]
    if not pictures:
        raise InputError(f"'{name}' has neither picture files nor Parquet files of the split '{dataset.split}'")
    has_table = any(PurePosixPath(e.name).name in ("metadata.jsonl", "metadata.csv") for e in entries)
    beside = captions_beside(Source(f"hub {name}", entries), pictures)
    return entry, len(pictures), [_of_the_hub(), *beside] if has_table else beside


def _of_the_hub() -> Captions:
    return Captions("huggingface", "the dataset's own captions")


def _looked_into(name: str, table: str) -> tuple[int | None, list[str]]:
    """Rows and columns by the file's end, or nothing if the hub doesn't give a part of a file."""
    try:
        with HfFileSystem().open(f"datasets/{name}/{table}", block_size=1 << 20) as file:
            parquet = pq.ParquetFile(file)
            return parquet.metadata.num_rows, parquet.schema_arrow.names
    except (*HUB_ERRORS, pa.ArrowInvalid, ValueError):
        return None, []
