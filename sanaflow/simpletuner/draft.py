"""The run that is being put together: its keys with what is said of each, and what is left out."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, get_args

from pydantic import TypeAdapter, ValidationError

from sanaflow.config import RunSettings
from sanaflow.simpletuner.option import LeftOut


@dataclass(frozen=True)
class Line:
    """A key's value, why it isn't what stood there, and the option it comes from; None: a default of SimpleTuner's."""

    value: Any
    why: str = ""
    option: str | None = None


@dataclass
class Draft:
    """Lines by `section.key`, the datasets' lines by key, and every option that is left out."""

    lines: dict[str, Line] = field(default_factory=dict)
    datasets: list[dict[str, Line]] = field(default_factory=list)
    left_out: dict[str, LeftOut] = field(default_factory=dict)

    def put(self, key: str, value: Any, *, why: str = "", option: str | None = None) -> None:
        """Write a key. Raises ValueError if our settings don't take the value."""
        self.lines[key] = Line(checked(key, value), why, option)

    def has(self, option: str) -> bool:
        """Whether a line comes from an option."""
        lines = [self.lines, *self.datasets]
        return any(line.option == option for group in lines for line in group.values())

    def value(self, key: str) -> Any:
        """A key's value, or our default."""
        return self.lines[key].value if key in self.lines else _field(key).get_default(call_default_factory=True)

    def change(self, key: str, value: Any, why: str) -> None:
        """Give a key another value, for a reason."""
        line = self.lines.get(key, Line(value))
        self.lines[key] = replace(line, value=value, why="; ".join(filter(None, (line.why, why))))

    def remove(self, key: str, kind: Any, why: str) -> None:
        """Take a key out, for a reason."""
        line = self.lines.pop(key, None)
        if line and line.option:
            self.left_out[line.option] = LeftOut(kind, why)

    def written(self) -> Iterator[tuple[str, list[tuple[str, Line]]]]:
        """The sections with their lines, in the order of our settings; `datasets` has none of its own."""
        for section, model_field in RunSettings.model_fields.items():
            known = getattr(model_field.annotation, "model_fields", {})
            lines = [(name, self.lines[f"{section}.{name}"]) for name in known if f"{section}.{name}" in self.lines]
            if lines or section == "datasets":
                yield section, lines

    def parameters(self) -> dict[str, Any]:
        """What the YAML will hold under `parameters`."""
        sections: dict[str, Any] = {name: {key: line.value for key, line in lines} for name, lines in self.written()}
        sections["datasets"] = [{key: line.value for key, line in entry.items()} for entry in self.datasets]
        return sections


def checked(key: str, value: Any) -> Any:
    """A value as our settings' field takes it. Raises ValueError, saying what it should be."""
    model_field = _field(key)
    annotation: Any = model_field.annotation
    kinds = (annotation, *get_args(annotation))
    if any(getattr(kind, "__origin__", None) is dict for kind in kinds):
        return value  # the settings read such a file themselves
    if str in kinds and isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    limited = Annotated[annotation, *model_field.metadata] if model_field.metadata else annotation
    try:
        found: Any = TypeAdapter(limited).validate_python(value)
    except ValidationError as error:
        raise ValueError(f"{error.errors()[0]['msg'].replace('Input should', 'should')} (it is {value!r})") from None
    return list(found) if isinstance(found, tuple) else found


def _field(key: str) -> Any:
    section, _, name = key.partition(".")
    annotation: Any = RunSettings.model_fields[section].annotation
    return annotation.model_fields[name]
