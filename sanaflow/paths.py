"""Paths that a user writes into the settings."""

import json
from pathlib import Path
from typing import Any


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
