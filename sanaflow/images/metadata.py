"""A table of captions beside the pictures: Parquet, JSON lines or CSV."""

from pathlib import Path

import pandas as pd

from sanaflow.datasets import DatasetSettings
from sanaflow.errors import InputError
from sanaflow.images.download import fetch_object
from sanaflow.images.sources.hub import texts
from sanaflow.images.sources.listing import FetchError, Source


def read_metadata(dataset: DatasetSettings, source: Source, downloads: Path) -> dict[str, list[str]]:
    """Captions by the identifier in `filename_column`.

    Raises:
        InputError: There is no such table, it can't be read, or lacks a column.
    """
    settings = dataset.parquet
    assert settings is not None
    key = f"dataset '{dataset.id}': parquet.path '{settings.path}'"
    file = Path(settings.path).expanduser()
    if not file.is_file():
        entry = next((e for e in source.entries if e.name == settings.path and not e.problem), None)
        if entry is None:
            raise InputError(f"{key} is neither a file here nor in the dataset: correct it")
        try:
            file = entry.path or fetch_object(source, entry, downloads)
        except FetchError as error:
            raise InputError(f"{key} can't be had: {error}") from None
    columns = [settings.filename_column, settings.caption_column]
    columns += [settings.fallback_caption_column] if settings.fallback_caption_column else []
    try:
        if settings.path.endswith((".jsonl", ".json")):
            table = pd.read_json(file, lines=True, dtype={settings.filename_column: str})
        elif settings.path.endswith((".csv", ".tsv")):
            table = pd.read_csv(file, sep="\t" if settings.path.endswith(".tsv") else ",", dtype=str)
        else:
            table = pd.read_parquet(file)
    except (OSError, ValueError) as error:
        raise InputError(f"{key} can't be read: {' '.join(str(error).split())[:200]}") from None
    for column in columns:
        if column not in table.columns:
            raise InputError(f"{key} has no column '{column}': name one of {', '.join(map(str, table.columns))}")
    captions: dict[str, list[str]] = {}
    for identifier, *cells in table[columns].itertuples(index=False, name=None):
        captions[str(identifier)] = next((found for found in map(texts, cells) if found), [])
    return captions
