"""Prompts that a user lists, by group."""

import csv
import json
from pathlib import Path
from typing import Any

from sanaflow.paths import expanded

ALL = "prompts"
"""The group of prompts that are in none."""


def prompts_by_group(given: Any) -> Any:
    """Lists of prompts by group, from a list, from lists by group, or from a file with either.

    Raises:
        ValueError: A file that can't be read, no prompt, or a blank one.
    """
    if given is None or given == "validation":
        return given
    groups = _read(expanded(given)) if isinstance(given, str) else given
    if isinstance(groups, list | tuple):
        groups = {ALL: groups}
    if not isinstance(groups, dict):
        return groups  # pydantic says what it should be
    for name, prompts in groups.items():
        several = isinstance(prompts, list | tuple)
        if several and (not prompts or not all(isinstance(p, str) and p.strip() for p in prompts)):
            raise ValueError(
                f"group '{name}' needs at least one prompt and none of them blank; leave the key out to use captions"
            )
    return groups


def _read(path: Path) -> Any:
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ValueError(f"the file '{path}' can't be read ({reason})") from None
    if path.suffix == ".json":
        try:
            return json.loads(text)
        except ValueError as error:
            raise ValueError(f"the file '{path}' is not JSON ({error})") from None
    rows = list(csv.DictReader(text.splitlines(), delimiter="\t"))
    if not rows or "Prompt" not in rows[0]:
        raise ValueError(f"the file '{path}' has no column 'Prompt': its columns should be separated by tabs")
    groups: dict[str, list[str]] = {}
    for row in rows:
        groups.setdefault(row.get("Category") or ALL, []).append(row["Prompt"] or "")
    return groups
