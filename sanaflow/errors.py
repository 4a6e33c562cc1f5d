"""The one error that a user's mistake ends in."""

import difflib
from collections.abc import Iterable

import click


class InputError(click.ClickException):
    """A wrong input. Its text names the file or key, the cause and the way out.

    Being click's, it ends `zenml pipeline run` and our own commands with that one line and exit code 1, without a
    stack trace.
    """


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint for a misspelt `name`: the known name most like it, else all of them."""
    names = sorted(known)
    if like := difflib.get_close_matches(name, names, n=1, cutoff=0.5):
        return f"did you mean '{like[0]}'?"
    return f"known are: {', '.join(names)}"
