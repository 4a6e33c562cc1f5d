"""Content digests: the identity of everything that is cached."""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def digest_of(value: object) -> str:
    """sha256 of a value's canonical JSON; tuples count as lists."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """sha256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def table_digest(frame: "pd.DataFrame") -> str:
    """sha256 of a table's rows in their order and its columns' names; for millions of rows."""
    text = frame.to_json(orient="values", double_precision=10, force_ascii=False)
    return digest_of([list(frame.columns), hashlib.sha256(text.encode()).hexdigest()])
