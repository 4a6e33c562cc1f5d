"""A table of captions beside the pictures: Parquet, JSON lines or CSV."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sanaflow.datasets import DatasetSettings
from sanaflow.errors import InputError
from sanaflow.images.download import fetch_object
from sanaflow.images.sources.listing import FetchError, Source
from sanaflow.paths import expanded


def read_metadata(dataset: DatasetSettings, source: Source, downloads: Path) -> dict[str, list[str]]:
    """Captions by the identifier in `filename_column`.

    Raises:
        InputError: There is no such table, it can't be read, or lacks a column.
    """
    settings = dataset.parquet
    assert settings is not None
    key = f"dataset '{dataset.id}': parquet.path '{settings.path}'"
    file = expanded(settings.path)
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
    return captions_in(file, settings.path, columns, key)


def captions_in(file: Path, name: str, columns: list[str], key: str) -> dict[str, list[str]]:
    """Captions by the first of the columns; from the next that has some. Several rows of one name add up.

    Raises:
        InputError: It can't be read, or lacks a column; the text begins with `key`.
    """
    try:
        if name.endswith((".jsonl", ".json")):
            table = pd.read_json(file, lines=True, dtype=False, convert_dates=False)
        elif name.endswith((".csv", ".tsv")):
            table = pd.read_csv(file, sep="\t" if name.endswith(".tsv") else ",", dtype=str, keep_default_na=False)
        else:
            table = pd.read_parquet(file)
    except (OSError, ValueError) as error:
        raise InputError(f"{key} can't be read: {' '.join(str(error).split())[:200]}") from None
    for column in columns:
        if column not in table.columns:
            raise InputError(f"{key} has no column '{column}': name one of {', '.join(map(str, table.columns))}")
    captions: dict[str, list[str]] = {}
    for identifier, *cells in table[columns].itertuples(index=False, name=None):
        captions.setdefault(str(identifier), []).extend(next((found for found in map(texts, cells) if found), []))
    return captions


def texts(value: Any) -> list[str]:
    """A table's cell as captions: a text, a list of texts, or nothing."""
    value = value.tolist() if isinstance(value, np.ndarray) else value
    values = value if isinstance(value, list | tuple) else [] if value is None or value != value else [value]
    return [text for text in (str(v).strip() for v in values if v is not None) if text]
