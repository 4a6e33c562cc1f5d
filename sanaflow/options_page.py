"""The page of all options, docs/options.md, from the settings' own types, defaults and docstrings.

python -m sanaflow.options_page
"""

import json
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic.fields import FieldInfo

from sanaflow.config import RunSettings
from sanaflow.section import Section
from sanaflow.simpletuner.left_out import LEFT_OUT
from sanaflow.simpletuner.taken import TAKEN

PAGE = Path(__file__).resolve().parent.parent / "docs" / "options.md"
INTRODUCTION = """<!-- Made by `python -m sanaflow.options_page` from the settings' docstrings: change those. -->
# Options

Every key of a run's `parameters:`, by section, and of an entry of `datasets:`. A key that isn't known is refused with
the nearest one that is. Beside `parameters:` a run's YAML may have whatever ZenML takes: `steps`, `settings`, `model`,
`enable_cache`, ...

The column *SimpleTuner* has ✓ where a key is SimpleTuner's, or SimpleTuner's name for it. Where the meaning differs,
[datasets.md](datasets.md#from-simpletuner) says how.
"""
OURS = {"strict", "buckets", "random_crops"}
"""Keys of a data set that SimpleTuner hasn't."""
INTERNAL = {"without_effect"}
WORDS: dict[Any, str] = {
    **{bool: "`true`, `false`", int: "whole number", float: "number", str: "text", Any: "anything"},
    **{type(None): "null", dict: "mapping"},
}


def options_page() -> str:
    """The page as Markdown."""
    sections = dict(_sections("", RunSettings))
    listed = "\n".join(f"- [`{name}`](#{_anchor(name)}): {_about(kind)}" for name, kind in sections.items())
    parts = [INTRODUCTION, listed, *(_section(name, kind) for name, kind in sections.items())]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _sections(inside: str, kind: type[Section]) -> Iterator[tuple[str, type[Section]]]:
    """Every section by its place, 'datasets[].parquet', those it holds after it."""
    for key, field in kind.model_fields.items():
        for part, is_list in _models(field.annotation):
            name = f"{inside}.{key}".strip(".") + ("[]" if is_list else "")
            yield name, part
            yield from _sections(name, part)


def _models(annotation: Any, is_list: bool = False) -> Iterator[tuple[type[Section], bool]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        yield annotation, is_list
    for part in get_args(annotation):
        yield from _models(part, is_list or get_origin(annotation) is tuple)


def _section(name: str, kind: type[Section]) -> str:
    rows = [
        "| key | values | default | SimpleTuner | |",
        "|---|---|---|---|---|",
        *(_row(name, key, field) for key, field in kind.model_fields.items() if key not in INTERNAL),
    ]
    return f"## {name}\n\n{_about(kind)}\n\n" + "\n".join(rows)


def _about(kind: type[Section]) -> str:
    return " ".join((kind.__doc__ or "").split())


def _anchor(heading: str) -> str:
    """GitHub's, of a heading of letters, dots and brackets."""
    return "".join(c for c in heading.lower() if c.isalnum() or c in "_-")


def _row(section: str, key: str, field: FieldInfo) -> str:
    limits = [part for part in field.metadata if not isinstance(part, str)]
    cells = [
        f"`{key}`",
        _values(Annotated[field.annotation, *limits] if limits else field.annotation),
        "**required**" if field.is_required() else f"`{_default(field)}`",
        _simpletuners(section, key),
        " ".join((field.description or "").split()),
    ]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if isinstance(value, float) and 0 < value < 1e-3:
        return f"{value:.0e}".replace("e-0", "e-")
    if isinstance(value, str) and value:
        return value
    return json.dumps(value if not isinstance(value, Section) else value.model_dump(), ensure_ascii=False)


def _values(annotation: Any) -> str:
    """What may be written, in words."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        limits = [said for part in parts[1:] for said in _limits(part)]
        return ", ".join([_values(parts[0]), *limits])
    if origin is Literal:
        return ", ".join(f"`{part}`" for part in parts)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(_values(part) for part in parts if part is not type(None)))
    if origin is tuple:
        return f"list: {_values(parts[0])}"
    if origin is dict:
        return "mapping" if parts[1] is Any else f"mapping from names to: {_values(parts[1])}"
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return "mapping, [below](#" + _anchor(next(n for n, k in _sections("", RunSettings) if k is annotation)) + ")"
    return WORDS[annotation]


def _limits(limit: Any) -> list[str]:
    """`Field(gt=0)` and the like, in signs; pydantic keeps several in one."""
    signs: list[tuple[type, str, str]] = [(Gt, "gt", ">"), (Ge, "ge", "≥"), (Lt, "lt", "<"), (Le, "le", "≤")]
    for kind, name, sign in [*signs, (MinLen, "min_length", "length ≥")]:
        if isinstance(limit, kind):
            return [f"{sign} {getattr(limit, name):g}"]
    return [said for part in getattr(limit, "metadata", ()) for said in _limits(part)]


def _simpletuners(section: str, key: str) -> str:
    if section.startswith("datasets[]"):
        return "" if key in OURS else "✓"
    names = [name for name, taken in TAKEN.items() if taken.key == f"{section}.{key}"]
    return "✓" if key in names or key in LEFT_OUT else ", ".join(f"`{name}`" for name in names)


def main() -> None:
    """Write the page."""
    PAGE.write_text(options_page(), encoding="utf-8")
    print(f"{PAGE} is written")


if __name__ == "__main__":
    main()
