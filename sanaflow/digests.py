"""Content digests: the identity of everything that is cached."""

import hashlib
import json
from pathlib import Path


def digest_of(value: object) -> str:
    """sha256 of a value's canonical JSON; tuples count as lists."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """sha256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
