"""How an option of SimpleTuner's is understood: taken over under a key of ours, or left out with the reason."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from sanaflow.paths import expanded

Kind = Literal["unknown", "missing", "secret", "no effect", "not needed"]
"""Why an option isn't taken over: it is none of SimpleTuner's; nothing here does it: the run differs; it belongs
into the environment; SimpleTuner itself doesn't act on it for Sana; it is done in another way, or asks for nothing."""


@dataclass(frozen=True)
class LeftOut:
    """An option that is not taken over."""

    kind: Kind
    why: str


@dataclass(frozen=True)
class Becomes:
    """A value in our words, with what has changed about it and the keys that go with it."""

    value: Any
    why: str = ""
    also: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Given(Mapping[str, Any]):
    """What a configuration says, by SimpleTuner's names of release 4.10.1; empty values are not in it."""

    options: Mapping[str, Any]
    source: Path
    """The file."""

    def __getitem__(self, name: str) -> Any:
        return self.options[name]

    def __iter__(self) -> Any:
        return iter(self.options)

    def __len__(self) -> int:
        return len(self.options)

    def text(self, name: str, default: str = "") -> str:
        """An option as lower-case text."""
        return str(self.get(name, default)).lower()

    def amount(self, name: str, default: float = 0) -> float:
        """An option as a number. Raises ValueError."""
        return number(self.get(name, default))

    def is_on(self, name: str) -> bool:
        """Whether a flag is set. Raises ValueError."""
        return truth(self.get(name, False))

    def find(self, path: str) -> Path | None:
        """A file that the configuration names: from the working directory, as SimpleTuner looks, or beside it."""
        named, folder = expanded(path), self.source.parent
        places = (named, folder / named, folder / named.name)
        return next((place for place in places if place.is_file()), None)


@dataclass(frozen=True)
class Taken:
    """An option that is taken over.

    Attributes:
        key: Ours, `section.name`.
        convert: From (value, everything given) to our value, to `Becomes` or to `LeftOut`; raises ValueError.
        why: What differs, where the conversion doesn't say it.
        default: SimpleTuner's, where a run without the option would do something else here; or a function of
            everything given. None: nothing is written.
        default_why: What is to be said of it.
    """

    key: str
    convert: Callable[[Any, Given], Any] = lambda value, given: value
    why: str = ""
    default: Any = None
    default_why: str = "SimpleTuner's default"


def truth(value: Any) -> bool:
    """A flag, also as text. Raises ValueError."""
    if isinstance(value, bool):
        return value
    if (text := str(value).strip().lower()) in ("true", "1", "yes", "on"):
        return True
    if text in ("false", "0", "no", "off", "none", ""):
        return False
    raise ValueError("should be true or false")


def number(value: Any) -> float:
    """A number, also as text; whole ones as int. Raises ValueError."""
    try:
        found = float(value)
        return int(found) if found == int(found) else found
    except (TypeError, ValueError, OverflowError):
        raise ValueError("should be a number") from None


def asks_for_nothing(value: Any) -> bool:
    """Whether a value only says that something is off."""
    return value in (None, False, 0, [], {}) or str(value).strip().lower() in ("false", "0", "0.0", "none", "no", "")
