"""Keys and values as lines of YAML, each with its comment."""

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

WIDTH = 120
Keys = Mapping[str, tuple[Any, str]]
"""By key, the value and why it is that; '' for no comment."""


def lines_of(keys: Keys, indent: int) -> Iterator[str]:
    """A mapping; a comment that finds no room beside its key stands above it."""
    space = " " * indent
    for key, (value, why) in keys.items():
        if isinstance(value, dict):
            yield f"{space}{key}:"
            yield from lines_of({name: (inner, "") for name, inner in value.items()}, indent + 2)
            continue
        line = f"{space}{key}: {as_yaml(value)}"
        beside = f"{line} # {why}"
        if not why or len(beside) <= WIDTH:
            yield beside if why else line
        else:
            yield from (f"{space}# {why}", line)


def as_yaml(value: Any) -> str:
    """A value in one line."""
    if isinstance(value, float):
        mantissa, _, exponent = f"{value:.1e}".partition("e")
        return f"{mantissa}e{int(exponent)}"
    options: dict[str, Any] = {"default_flow_style": True, "allow_unicode": True, "width": 10**6}
    dumped = yaml.safe_dump(value, **options).removesuffix("...\n").rstrip("\n")
    if "\n" in dumped:  # of a text with line breaks, which are escapes within quotes
        dumped = yaml.safe_dump(value, default_style='"', **options).rstrip("\n")
    return dumped
