"""A SimpleTuner configuration, whatever it is written in, as options by the names of release 4.10.1."""

import difflib
import json
import re
import shlex
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from string import Template
from typing import Any

from sanaflow.errors import InputError, nearest
from sanaflow.simpletuner.left_out import LEFT_OUT
from sanaflow.simpletuner.names import EARLIER, FLAGS, SECRET, VARIABLES
from sanaflow.simpletuner.option import LeftOut
from sanaflow.simpletuner.sets import FALLBACKS
from sanaflow.simpletuner.taken import TAKEN

KNOWN = frozenset((*TAKEN, *LEFT_OUT, *FALLBACKS))
"""Every option, and those of earlier releases that are understood."""
IN_SHELL = (".env", ".sh", ".bash")


def read_config(path: Path) -> tuple[dict[str, Any], dict[str, LeftOut]]:
    """What a JSON, TOML or env file says: the options, and the keys in it that are none.

    Empty values are dropped, as SimpleTuner drops them.

    Raises:
        InputError: It can't be read, is none of these, or says two things under one name.
    """
    text = _text(path)
    if path.suffix == ".toml":
        pairs = list(_toml(text, path).items())
    elif path.suffix in IN_SHELL or not text.lstrip().startswith(("{", "[")):
        pairs = list(_shell(text, path))
    else:
        pairs = _object(text, path)
    options: dict[str, Any] = {}
    others: dict[str, LeftOut] = {}
    for written, value in pairs:
        name = written.strip().lstrip("-").replace("-", "_")
        name = EARLIER.get(name, name)
        if value is None or value == "":
            continue
        if name not in KNOWN:
            others[written] = _explained(written, name, path)
        elif name in options and options[name] != value:
            raise InputError(f"{path}: '{written}' says another thing than the same option before: keep one of them")
        else:
            options[name] = value
    return options, others


def read_datasets(path: Path) -> list[Any]:
    """The entries of a multidatabackend.json.

    Raises:
        InputError: It can't be read, or holds no list.
    """
    entries = _json(_text(path), path)
    if not isinstance(entries, list):
        raise InputError(f"{path}: should be a list of datasets, as SimpleTuner's multidatabackend.json is")
    return entries


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: is not UTF-8 text") from None


def _json(text: str, path: Path, **options: Any) -> Any:
    without_comments = re.sub(r"^\s*(//|#).*$", "", text, flags=re.MULTILINE)
    without_last_commas = re.sub(r",(?=\s*[}\]])", "", without_comments)
    for version in (text, without_comments, without_last_commas):
        try:
            return json.loads(version, **options)
        except ValueError as error:
            problem = error
        except RecursionError:
            raise InputError(f"{path}: is nested too deeply to be a configuration") from None
    raise InputError(f"{path}: is not JSON ({problem}): correct it there") from None


def _object(text: str, path: Path) -> list[tuple[str, Any]]:
    content = _json(text, path, object_pairs_hook=_Pairs)
    if not isinstance(content, _Pairs):
        raise InputError(
            f"{path}: should be an object of options, as SimpleTuner's config.json is; a list of datasets goes to "
            "--datasets"
        )
    return [(key, _plain(value)) for key, value in content]


class _Pairs(list):
    """An object's keys and values, none of two equal keys lost."""


def _plain(value: Any) -> Any:
    if isinstance(value, _Pairs):
        return {key: _plain(inner) for key, inner in value}
    return [_plain(inner) for inner in value] if isinstance(value, list) else value


def _toml(text: str, path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except ValueError as error:
        raise InputError(f"{path}: is not TOML ({error})") from None


def _shell(text: str, path: Path) -> Iterator[tuple[str, Any]]:
    """NAME=value, with or without `export`; '$NAME' stands for one before; command lines are taken apart."""
    variables: dict[str, str] = {}
    try:
        words = shlex.split(text.replace("\\\n", " "), comments=True)
        for word in words:
            name, equals, value = word.partition("=")
            if equals and name.isidentifier():
                variables[name] = Template(value).safe_substitute(variables)
        if not variables:
            raise ValueError("no 'NAME=value' in it")
        for name, value in variables.items():
            if name in FLAGS:
                yield from _flags(shlex.split(value))
            else:
                yield VARIABLES.get(name, name.lower() if name.lower() in KNOWN else name), value
    except ValueError as error:
        raise InputError(f"{path}: is neither JSON, TOML nor a file of variables ({error})") from None


def _flags(words: list[str]) -> Iterator[tuple[str, Any]]:
    """`--name=value`, `--name value` and `--name`."""
    waiting = None
    for word in [*words, "--"]:
        if not word.startswith("--"):
            if waiting:
                yield waiting, word
            waiting = None
            continue
        if waiting:
            yield waiting, True
        name, equals, value = word.partition("=")
        if equals:
            yield name, value
        waiting = None if equals or word == "--" else name


def _explained(written: str, name: str, path: Path) -> LeftOut:
    """Why a key is no option."""
    if SECRET.search(name.lower()):
        return LeftOut("secret", "put it into the environment, never into a YAML")
    known: Iterable[str] = KNOWN
    if name.isupper():
        known = [*VARIABLES, *(option.upper() for option in KNOWN)]
        if not difflib.get_close_matches(name, known, n=1, cutoff=0.8):
            return LeftOut("not needed", "a variable of the shell that is no option")
    if difflib.get_close_matches(name, known, n=1, cutoff=0.5):
        return LeftOut("unknown", nearest(name, known))
    return LeftOut("unknown", "no option is like it")
