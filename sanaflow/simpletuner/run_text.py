"""The YAML of a draft: each key with a comment where its meaning has changed, and at the end what was left out."""

import re
import shlex
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from sanaflow.simpletuner.draft import Draft, Line
from sanaflow.simpletuner.option import LeftOut

WIDTH = 120
IN_DATASET = re.compile(r"datasets\[(.*)\]\.(.*)")
TITLES = {
    "unknown": "None of SimpleTuner's names:",
    "missing": "Nothing here does it, so that the run differs:",
    "secret": "Belongs into the environment:",
    "no effect": "SimpleTuner does nothing with it for Sana:",
    "not needed": "Done in another way here, or asks for nothing:",
}


def run_text(draft: Draft, *, config: Path, datasets: Path, output: Path) -> str:
    """The whole file."""
    run = shlex.quote(str(output))
    lines = [
        *_comment(f"Imported from SimpleTuner's {config} and {datasets}; docs/from-simpletuner.md says what differs."),
        f"# python -m sanaflow check {run}",
        f"# zenml pipeline run pipelines.finetune.finetune -c {run}",
        "parameters:",
    ]
    for section, keys in draft.written():
        lines.append(f"  {section}:")
        if section == "datasets":
            for entry in draft.datasets:
                entry_lines = [text for key, line in entry.items() for text in _key(key, line, indent=6)]
                first = next(i for i, text in enumerate(entry_lines) if not text.lstrip().startswith("#"))
                entry_lines[first] = f"    - {entry_lines[first][6:]}"
                lines += entry_lines
        for key, line in keys:
            lines += _key(key, line, indent=4)
    if draft.left_out:
        lines += ["", "# Not taken over", *left_out_lines(draft.left_out, comment=True)]
    return "\n".join(lines) + "\n"


def left_out_lines(left_out: dict[str, LeftOut], *, comment: bool = False) -> Iterable[str]:
    """What isn't taken over: by kind, one reason after the other with all it holds for."""
    start = "# " if comment else ""
    for kind, title in TITLES.items():
        by_reason: dict[str, list[str]] = {}
        for name, reason in left_out.items():
            if reason.kind == kind:
                by_reason.setdefault(reason.why, []).append(_printable(name))
        if by_reason:
            yield f"{start}{title}"
        for why, names in by_reason.items():
            yield from textwrap.wrap(
                f"{_together(names)}: {why}",
                WIDTH,
                initial_indent=f"{start}  ",
                subsequent_indent=f"{start}    ",
                break_long_words=False,
                break_on_hyphens=False,
            )


def _together(names: list[str]) -> str:
    """Names in a row; one key of several datasets is said once."""
    plain, by_key = [], dict[str, list[str]]()
    for name in names:
        if found := IN_DATASET.fullmatch(name):
            by_key.setdefault(found[2], []).append(found[1])
        else:
            plain.append(name)
    return ", ".join([*plain, *(f"{key} of {', '.join(sets)}" for key, sets in by_key.items())])


def _key(key: str, line: Line, *, indent: int) -> list[str]:
    space, value = " " * indent, _plain(line.value)
    rows = [f"{key}: {_yaml(value, default_flow_style=True, width=10**6)}"]
    if isinstance(value, list | dict) and len(space + rows[0]) > WIDTH:
        rows = _yaml({key: value}, default_flow_style=False, width=WIDTH - indent).split("\n")
    if line.why and len(rows) == 1 and len(f"{space}{rows[0]} # {line.why}") <= WIDTH:
        return [f"{space}{rows[0]} # {_printable(line.why)}"]
    return [space + row for row in (*_comment(line.why, WIDTH - indent), *rows)]


def _yaml(value: Any, **style: Any) -> str:
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, **style).removesuffix("...\n").rstrip("\n")


def _comment(text: str, width: int = WIDTH) -> list[str]:
    return textwrap.wrap(_printable(text), width, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _plain(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_plain(inner) for inner in value]
    return {key: _plain(inner) for key, inner in value.items()} if isinstance(value, dict) else value
