"""Questions, answered on a terminal or by a file. Every answer is text; the question's own `read` makes sense of it."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol, TypeVar

import click
import yaml

from sanaflow.errors import InputError, nearest

T = TypeVar("T")


class Asker(Protocol):
    """Who answers."""

    def ask(self, key: str, question: str, *, hint: str, default: str | None, read: Callable[[str], T]) -> T:
        """An answer that `read` takes, which raises InputError at others.

        Args:
            key: Its name in a file of answers.
            question: In a few words.
            hint: One line more.
            default: What no answer stands for; None: there has to be one.
            read: Makes a value of the text.
        """
        ...

    def say(self, text: str) -> None:
        """Tell what was found."""
        ...


class Terminal:
    """A person, who is asked again after a wrong answer."""

    def ask(self, key: str, question: str, *, hint: str, default: str | None, read: Callable[[str], T]) -> T:
        """See `Asker`."""
        click.echo(f"\n{hint}")
        while True:
            answer = click.prompt(question, default=default, type=str, prompt_suffix=": ").strip()
            try:
                return read(answer)
            except InputError as error:
                click.echo(f"  {error.message}")

    def say(self, text: str) -> None:
        """See `Asker`."""
        click.echo(f"  {text}")


class AnswersFile:
    """A YAML or JSON file of answers; null takes what would be suggested."""

    def __init__(self, path: Path, *, known: Iterable[str]) -> None:
        """Read it.

        Raises:
            InputError: It is no such file, or has a key that is no question.
        """
        self._path = path
        try:
            answers = yaml.safe_load(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(f"{path}: can't be read ({error.strerror})") from None
        except (UnicodeDecodeError, yaml.YAMLError) as error:
            raise InputError(f"{path}: is neither YAML nor JSON: {' '.join(str(error).split())}") from None
        if not isinstance(answers, dict):
            raise InputError(f"{path}: should be a mapping from questions to answers, such as `pictures: ~/pictures`")
        known = list(known)
        if unknown := [key for key in answers if key not in known]:
            raise InputError("\n".join(f"{path}: no question '{key}': {nearest(str(key), known)}" for key in unknown))
        self._answers = answers
        self._asked: set[str] = set()

    def ask(self, key: str, question: str, *, hint: str, default: str | None, read: Callable[[str], T]) -> T:
        """See `Asker`."""
        self._asked.add(key)
        if key not in self._answers:
            way = f"add it, or `{key}: null` for '{default}'" if default is not None else "add it"
            raise InputError(f"{self._path}: no answer to '{key}' ({question}): {way}")
        answer = self._answers[key]
        if answer is None and default is None:
            raise InputError(f"{self._path}: '{key}' ({question}) needs an answer")
        try:
            return read(default or "" if answer is None else _text(answer))
        except InputError as error:
            raise InputError(f"{self._path}: '{key}': {error.message}") from None

    def say(self, text: str) -> None:
        """See `Asker`."""

    def check_all_were_asked(self) -> None:
        """See that no answer was left over.

        Raises:
            InputError: One belongs to a question that other answers make void.
        """
        for key, answer in self._answers.items():
            if key not in self._asked and answer is not None:
                raise InputError(f"{self._path}: '{key}' isn't asked with these other answers: remove it")


def _text(answer: Any) -> str:
    if answer is False:
        return "none"
    return " | ".join(map(str, answer)) if isinstance(answer, list) else str(answer).strip()
