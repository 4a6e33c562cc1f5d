"""Paths that a user writes into the settings, or wants a file at."""

import json
import os
import uuid
from pathlib import Path
from typing import Any

from sanaflow.errors import InputError


def expanded(path: str) -> Path:
    """A path whose `~` is the home folder, if there is such a one; else the path as it stands."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def json_or_path(given: Any) -> Any:
    """Plain data as it stands or, if a path is given, what its JSON file holds: so settings never depend on a file.

    Raises:
        ValueError: The file can't be read, or is not JSON.
    """
    if not isinstance(given, str):
        return given
    try:
        return json.loads(expanded(given).read_text())
    except OSError as error:
        raise ValueError(f"the file '{given}' can't be read ({error.strerror})") from None
    except ValueError as error:
        raise ValueError(f"the file '{given}' is not JSON ({error})") from None


def write_whole(path: Path, text: str) -> None:
    """Write a file as a whole or not at all.

    Raises:
        InputError: It can't be written.
    """
    hidden = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with hidden.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        hidden.replace(path)
    except OSError as error:
        raise InputError(f"{path}: can't be written ({error.strerror}): name another file") from None
    finally:
        hidden.unlink(missing_ok=True)
