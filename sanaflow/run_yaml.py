"""A run's YAML: read and checked, with one line for each mistake in it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from sanaflow.config import RunSettings
from sanaflow.errors import InputError, nearest
from sanaflow.section import Section


def read_yaml(path: Path | str) -> dict[str, Any]:
    """A run's YAML as plain data.

    Raises:
        InputError: It can't be read, is no YAML, says a key twice, or has no section `parameters`.
    """
    try:
        content = yaml.load(Path(path).read_text(), Loader=_NoKeyTwice)  # noqa: S506 - a SafeLoader
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: is not UTF-8 text") from None
    except yaml.YAMLError as error:
        raise InputError(f"{path}: is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict) or not isinstance(content.get("parameters"), dict):
        raise InputError(f"{path}: has no section 'parameters'; see configs/demo.yaml for one")
    return content


class _NoKeyTwice(yaml.SafeLoader):
    """YAML lets the second of two equal keys win in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        if twice := [key for key in keys if keys.count(key) > 1]:
            raise yaml.YAMLError(f"the key '{twice[0]}' is there twice{node.start_mark}")
        return super().construct_mapping(node, deep)


def parse_run_settings(parameters: Mapping[str, Any], *, source: Path | str) -> RunSettings:
    """Check a run's `parameters:`.

    Args:
        parameters: The sections as plain data.
        source: The file they came from, named in the error.

    Raises:
        InputError: One line a mistake; an unknown key comes with the nearest known one.
    """
    try:
        return RunSettings.model_validate(parameters)
    except ValidationError as error:
        raise InputError("\n".join(f"{source}: {_explain(mistake)}" for mistake in error.errors())) from None


def _explain(mistake: Any) -> str:
    where = ".".join(str(part) for part in mistake["loc"])
    if mistake["type"] == "extra_forbidden":
        *parents, key = mistake["loc"]
        known = getattr(_section_at(parents), "model_fields", {})
        inside = ".".join(["parameters", *map(str, parents)])
        return f"unknown key '{key}' in '{inside}': {nearest(str(key), known)}"
    if mistake["type"] == "missing":
        return f"'parameters.{where}' is missing: add it"
    message = mistake["msg"].removeprefix("Value error, ").replace("Input should be", "should be")
    given = "" if isinstance(mistake["input"], dict | list | BaseModel) else f" (it is {mistake['input']!r})"
    return f"'parameters.{where}': {message}{given}"


def _section_at(path: list[Any]) -> type[Section]:
    """The section class that a path of keys and list positions leads to."""
    section: Any = RunSettings
    for part in path:
        if isinstance(part, int) or part not in getattr(section, "model_fields", {}):
            continue  # a place in a list, or the kind of a union's member
        annotation = section.model_fields[part].annotation
        section = next(iter(get_args(annotation)), annotation)  # tuple[DatasetSettings, ...] -> DatasetSettings
    return section
