"""How the pictures could get their words: what lies beside them, in a table, or in their names."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from sanaflow.images.sources.listing import Entry, Source

NAME_COLUMNS = ("file_name", "filename", "file", "name", "image", "path", "id")
CAPTION_COLUMNS = ("caption", "text", "prompt", "description")
TABLES = (".parquet", ".jsonl", ".csv")
WORDS = re.compile(r"[^\W\d_]{3,}")
OF_A_CAMERA = re.compile(r"(img|dsc|dscn?f?|pxl|image|photo|picture|screenshot|untitled|file|p)[\W_]*\d", re.I)
ENOUGH = 0.5
"""Such a share of the pictures has to have words in its name, for that to be suggested."""


@dataclass(frozen=True)
class Captions:
    """One way: a `caption_strategy`, why it would do, and the entry's keys that come with it."""

    strategy: str
    why: str
    keys: dict[str, Any] = field(default_factory=dict)


INSTANCE = Captions("instanceprompt", "the same words for each picture, asked for next")


def captions_beside(source: Source, pictures: Sequence[Entry]) -> list[Captions]:
    """The ways that a folder's or a bucket's files allow, the best first."""
    files = {entry.name for entry in source.entries}
    with_text = sum(str(PurePosixPath(e.name).with_suffix(".txt")) in files for e in pictures)
    named = sum(_has_words(e.name) for e in pictures)
    ways = []
    if with_text:
        ways.append(Captions("textfile", f"{with_text:,} of {len(pictures):,} have a .txt of their name beside them"))
    ways += filter(None, (_table(entry) for entry in source.entries if entry.ending in TABLES))
    names = Captions("filename", f"{named:,} of {len(pictures):,} have words in their names")
    by_name = [names, INSTANCE] if named >= ENOUGH * len(pictures) else [INSTANCE, names]
    return [*ways, *by_name]


def captions_in_a_column(columns: Sequence[str], *, strategy: str, key: str, default: str | None) -> list[Captions]:
    """The ways where the source itself is a table."""
    column = next((name for name in CAPTION_COLUMNS if name in columns), None)
    if column is None:
        return [INSTANCE]
    keys = {key: column} if column != default else {}
    return [Captions(strategy, f"its column '{column}'", keys), INSTANCE]


def example_captions(way: Captions, pictures: Sequence[Entry], wanted: int = 2) -> list[str]:
    """Some captions, without a download."""
    found = []
    for picture in pictures:
        if way.strategy == "filename" and _has_words(picture.name):
            found.append(PurePosixPath(picture.name).stem.replace("_", " ").strip())
        if way.strategy == "textfile" and picture.path:
            found += _first_line(picture.path.with_suffix(".txt"))
        if way.strategy == "csv":
            found += (picture.captions or ())[:1]
        if len(found) >= wanted:
            break
    return list(dict.fromkeys(found))[:wanted]


def _has_words(name: str) -> bool:
    stem = PurePosixPath(name).stem
    return WORDS.search(stem) is not None and not OF_A_CAMERA.match(stem)


def _first_line(file: Path) -> list[str]:
    try:
        return [line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines() if line.strip()][:1]
    except (OSError, UnicodeDecodeError):
        return []


def _table(entry: Entry) -> Captions | None:
    """A table beside the pictures, if it has a column of names and one of captions."""
    if entry.path is None or "/" in entry.name:
        return None
    import pandas as pd
    import pyarrow.parquet as pq

    try:
        if entry.ending == ".parquet":
            columns = pq.read_schema(entry.path).names
        elif entry.ending == ".jsonl":
            columns = list(pd.read_json(entry.path, lines=True, nrows=1).columns)
        else:
            columns = list(pd.read_csv(entry.path, nrows=0).columns)
    except (OSError, ValueError):
        return None
    name, caption = (next((c for c in known if c in columns), None) for known in (NAME_COLUMNS, CAPTION_COLUMNS))
    if name is None or caption is None:
        return None
    table: dict[str, Any] = {"path": entry.name, "filename_column": name, "caption_column": caption}
    table["identifier_includes_extension"] = name in ("file_name", "filename", "file", "path", "image")
    return Captions("parquet", f"the table {entry.name} beside them", {"parquet": table})
