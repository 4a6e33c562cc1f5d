"""A dataset repository on the hub, pinned to a commit: plain picture files, or Parquet with an image column."""

import hashlib
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.hf_api import RepoFile

from sanaflow.datasets import DatasetSettings
from sanaflow.errors import InputError
from sanaflow.hub import HUB_ERRORS, ask_hub
from sanaflow.images.download import fetch_object, object_path, write_object
from sanaflow.images.metadata import captions_in, texts
from sanaflow.images.sources.listing import Entry, FetchError, Source
from sanaflow.progress import progress_bar

CAPTION_COLUMNS = ("caption", "text", "prompt")


def open_hub(dataset: DatasetSettings, downloads: Path) -> Source:
    """List a repository's pictures at the commit that `revision` stands for now.

    Raises:
        InputError: The hub refuses, or neither pictures nor a fitting Parquet file are there.
    """
    name = dataset.dataset_name or ""
    api = HfApi()

    def look() -> tuple[str | None, list[RepoFile]]:
        commit = api.dataset_info(name, revision=dataset.revision).sha
        tree = api.list_repo_tree(name, repo_type="dataset", revision=commit, recursive=True)
        return commit, [file for file in tree if isinstance(file, RepoFile)]

    revision = f"'revision' ({dataset.revision})"
    commit, files = ask_hub(look, subject=dataset.key, key="'dataset_name'", revision_key=revision)

    def fetch(entry: Entry, target: Path) -> None:
        try:
            kept = hf_hub_download(name, entry.name, repo_type="dataset", revision=commit, cache_dir=downloads / "hub")
            shutil.copyfile(kept, target)
            Path(kept).resolve().unlink(missing_ok=True)  # it is kept under its own content's name instead
        except HUB_ERRORS as error:
            raise FetchError(f"the hub didn't give it ({type(error).__name__})") from None

    entries = [
        Entry(f.path, f.blob_id, checksum=f"sha256:{f.lfs.sha256}" if f.lfs else f"gitsha1:{f.blob_id}")
        for f in sorted(files, key=lambda f: f.path)
        if not any(part.startswith(".") for part in PurePosixPath(f.path).parts)
    ]
    print(f"{dataset.id}: {name} at commit {commit}")
    source = Source(f"hub {name}", entries, fetch)
    tables = [e for e in entries if e.ending == ".parquet" and _is_of_split(e.name, dataset.split)]
    if tables and dataset.caption_strategy != "parquet":  # beside them, pictures are a logo or so
        rows = [row for table in tables for row in _rows_of(source, table, dataset, downloads)]
        return Source(f"hub {name} {dataset.image_column}", rows)
    if not any(e.is_picture for e in entries):
        raise InputError(
            f"{dataset.key} has neither picture files nor Parquet files of the split '{dataset.split}': correct "
            "'split' or name another dataset"
        )
    if dataset.caption_strategy == "huggingface":
        return replace(source, entries=_with_captions(source, dataset, downloads))
    return source


def _with_captions(source: Source, dataset: DatasetSettings, downloads: Path) -> list[Entry]:
    """An imagefolder's captions: its metadata files name the pictures of their own folder in `file_name`."""
    captions: dict[str, list[str]] = {}
    for entry in source.entries:
        path = PurePosixPath(entry.name)
        if path.stem == "metadata" and path.suffix in (".jsonl", ".csv", ".parquet"):
            file = _fetched(source, entry, dataset, downloads)
            key = f"{dataset.key}: its {entry.name}"
            column = dataset.caption_column or "text"
            for name, found in captions_in(file, entry.name, ["file_name", column], key).items():
                captions[str(path.parent / name)] = found
    return [replace(e, captions=tuple(captions.get(e.name, ()))) if e.is_picture else e for e in source.entries]


def _fetched(source: Source, entry: Entry, dataset: DatasetSettings, downloads: Path) -> Path:
    try:
        return fetch_object(source, entry, downloads)
    except FetchError as error:
        raise InputError(f"{dataset.key}: its {entry.name} can't be had: {error}; try again") from None


def _is_of_split(name: str, split: str) -> bool:
    """As hub datasets name their files: data/train-00000-of-00002.parquet, train/0000.parquet, train.parquet."""
    if PurePosixPath(name).stem == "metadata":
        return False
    return re.search(rf"(^|[/_.-]){re.escape(split)}([/_.-]|$)", name) is not None


def _rows_of(source: Source, table: Entry, dataset: DatasetSettings, downloads: Path) -> Iterator[Entry]:
    """A Parquet file's pictures, written out once under their content's names, some at a time.

    What was written is listed in a table of its own, which is complete or not there: it stands for the whole file.
    """
    columns = [dataset.image_column, dataset.caption_column]
    listed = downloads / "tables" / f"{hashlib.sha256(repr((table.token, columns)).encode()).hexdigest()}.parquet"
    rows = pd.read_parquet(listed) if listed.exists() else None
    if rows is None or not all((downloads / name).exists() for name in rows["object"] if name):
        listed.parent.mkdir(parents=True, exist_ok=True)
        local = _fetched(source, table, dataset, downloads)
        rows = pd.DataFrame(
            _written(local, table, dataset, downloads), columns=["name", "object", "captions", "problem"]
        )
        unfinished = listed.with_suffix(".tmp")
        rows.to_parquet(unfinished)
        unfinished.rename(listed)
        local.unlink()
    for row in rows.itertuples():
        path = downloads / row.object if row.object else None
        captions = None if row.captions is None else tuple(row.captions)
        yield Entry(row.name, str(row.object), path=path, known_picture=True, captions=captions, problem=row.problem)


def _written(local: Path, table: Entry, dataset: DatasetSettings, downloads: Path) -> Iterator[tuple]:
    try:
        parquet = pq.ParquetFile(local)
    except pa.ArrowInvalid:
        raise InputError(f"{dataset.key}: its file {table.name} is not Parquet") from None
    names = parquet.schema_arrow.names
    if dataset.image_column not in names:
        raise InputError(
            f"{dataset.key} has no column '{dataset.image_column}': set 'image_column' to one of {', '.join(names)}"
        )
    wanted = dataset.caption_column or next((c for c in CAPTION_COLUMNS if c in names), None)
    if wanted is not None and wanted not in names:
        raise InputError(f"{dataset.key} has no column '{wanted}': set 'caption_column' to one of {', '.join(names)}")
    columns = [dataset.image_column, *([wanted] if wanted else [])]
    number = 0
    bar = progress_bar(
        total=parquet.metadata.num_rows, desc=f"unpacking {PurePosixPath(table.name).name}", unit="picture"
    )
    with bar as progress:
        for batch in parquet.iter_batches(batch_size=64, columns=columns):
            for row in batch.to_pylist():
                cell = row[dataset.image_column]
                data = cell.get("bytes") if isinstance(cell, dict) else cell if isinstance(cell, bytes) else None
                inner = cell.get("path") if isinstance(cell, dict) else None
                name = f"{table.name}/{number:08d}" + (f"/{PurePosixPath(inner).name}" if inner else "")
                captions = texts(row[wanted]) if wanted else None
                if data is None:
                    yield name, "", captions, "its row holds no picture"
                else:
                    target = object_path(downloads, hashlib.sha256(data).hexdigest())
                    write_object(target, data)
                    yield name, str(target.relative_to(downloads)), captions, ""
                number += 1
                progress.update()
