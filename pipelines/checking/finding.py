"""What a look found: a line each."""

from collections.abc import Callable, Generator
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeVar

import click

from pipelines.checking.redaction import why
from sanaflow.errors import InputError

Level = Literal["ok", "warning", "error"]
COLOURS = {"ok": "green", "warning": "yellow", "error": "red"}
T = TypeVar("T")
Look = Generator["Finding", None, T]
"""A look: it yields what it finds, and returns what later looks need."""


@dataclass(frozen=True)
class Finding:
    """One thing found.

    Attributes:
        level: error: the run would fail. warning: it would run, but perhaps not as wanted. ok: all is well.
        where: The key or place it is about.
        text: What was found and, unless all is well, the way out.
    """

    level: Level
    where: str
    text: str

    def line(self) -> str:
        """As it is printed."""
        names_it = self.text.startswith((self.where, "dataset '"))  # as what the run itself says does
        said = self.text if names_it else f"{self.where}: {self.text}"
        return f"{click.style(f'{self.level:<8}', fg=COLOURS[self.level])} {said}"

    def as_dict(self) -> dict[str, Any]:
        """For programs."""
        return asdict(self)


def refused(where: str, error: InputError, level: Level = "error") -> list[Finding]:
    """What the run itself would say, a finding a line."""
    return [Finding(level, where, line) for line in error.message.splitlines()]


def attempt(where: str, look: Callable[[], Look[T]], *, level: Level = "error") -> Look[T | None]:
    """Take a look to its end. A refusal ends it as findings of `level`; any other error as a warning."""
    try:
        return (yield from look())
    except InputError as error:
        yield from refused(where, error, level)
    except Exception as error:  # one look that breaks must not hide what the others find
        yield Finding("warning", where, f"couldn't be looked at ({why(error)})")
    return None


def ask(where: str, question: Callable[[], object], *, level: Level = "error") -> Look[None]:
    """Call what raises an `InputError` if something is wrong, and gives nothing that is needed."""

    def look() -> Look[None]:
        question()
        yield from ()

    yield from attempt(where, look, level=level)


def counted(number: int, what: str) -> str:
    """'1 picture', '2,000 pictures'."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def in_bytes(size: float) -> str:
    """'3.2 MiB', '1.50 GiB'."""
    return f"{size / 2**20:.1f} MiB" if size < 2**30 else f"{size / 2**30:.2f} GiB"
