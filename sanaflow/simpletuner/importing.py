"""From what a SimpleTuner configuration says to the draft of a run."""

from pathlib import Path
from typing import Any

from sanaflow.errors import InputError, nearest
from sanaflow.run_yaml import parse_run_settings
from sanaflow.simpletuner.contradictions import resolve
from sanaflow.simpletuner.draft import Draft
from sanaflow.simpletuner.left_out import AS_IF_ABSENT, LEFT_OUT
from sanaflow.simpletuner.option import Becomes, Given, LeftOut, Taken, asks_for_nothing
from sanaflow.simpletuner.read_config import read_config, read_datasets
from sanaflow.simpletuner.sets import import_datasets
from sanaflow.simpletuner.taken import TAKEN

BESIDE_THE_CONFIG = "multidatabackend.json"


def import_config(path: Path, datasets: Path | None = None) -> tuple[Draft, Path]:
    """The run that a SimpleTuner configuration asks for.

    Args:
        path: Its config.json, config.toml or config.env.
        datasets: Its multidatabackend.json; None: the one that it names, or that lies beside it.

    Returns:
        The draft, which our settings accept, and the file of the datasets.

    Raises:
        InputError: A file can't be read, it is for another model family, or a value is none that SimpleTuner takes.
    """
    options, others = read_config(path)
    given = Given(options, path)
    _check_family(given)
    draft = Draft(left_out=others)
    for name, taken in TAKEN.items():
        _take(name, taken, given, draft)
    for name in given:
        if name in LEFT_OUT:
            draft.left_out[name] = _reason(name, given[name])
    entries = datasets or _find_datasets(given)
    listed = read_datasets(entries)
    try:
        import_datasets(listed, given, draft)
    except InputError as error:
        raise InputError(f"{entries}: {error.message}") from None
    try:
        resolve(draft)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None
    parse_run_settings(draft.parameters(), source=f"{path} and {entries}")
    return draft, entries


def _check_family(given: Given) -> None:
    family = given.get("model_family")
    if family is None:
        name = f"{given.get('model_flavour', '')} {given.get('pretrained_model_name_or_path', '')}".lower()
        if "sana" not in name:
            raise InputError(
                f"{given.source}: names neither 'model_family' nor a model of Sana's: say model_family 'sana'"
            )
    elif str(family).lower() != "sana":
        raise InputError(f"{given.source}: model_family '{family}': Sanaflow trains Sana alone")


def _take(name: str, taken: Taken, given: Given, draft: Draft) -> None:
    """Put one option into the draft, or what SimpleTuner does without it."""
    try:
        value = given.get(name, taken.default(given) if callable(taken.default) else taken.default)
        if value is None:
            return
        found = taken.convert(value, given)
        if isinstance(found, LeftOut):
            if name in given:
                draft.left_out[name] = found
            return
        becomes = found if isinstance(found, Becomes) else Becomes(found)
        if becomes.value is None and not becomes.why:
            return
        option, why = (name, taken.why) if name in given else (None, taken.default_why)
        draft.put(taken.key, becomes.value, option=option, why="; ".join(filter(None, (becomes.why, why))))
        for key, more in becomes.also.items():
            draft.put(key, more, why=f"of '{value}'")
    except ValueError as error:
        raise InputError(f"{given.source}: '{name}' {error}") from None


def _reason(name: str, value: Any) -> LeftOut:
    """Why an option is left out; one that asks for nothing is no loss."""
    reason = LEFT_OUT[name]
    if reason.kind == "missing" and (asks_for_nothing(value) or str(value).lower() == AS_IF_ABSENT.get(name)):
        return LeftOut("not needed", "asks for nothing")
    return reason


def _find_datasets(given: Given) -> Path:
    named = given.get("data_backend_config", BESIDE_THE_CONFIG)
    if found := given.find(str(named)):
        return found
    if "data_backend_config" not in given:
        raise InputError(f"{given.source}: names no 'data_backend_config': say --datasets multidatabackend.json")
    there = [path.name for path in given.source.parent.glob("*.json") if path != given.source]
    hint = f"; beside it lie {', '.join(sorted(there))}" if there else ""
    hint = f" ({nearest(Path(named).name, there)})" if len(there) == 1 else hint
    raise InputError(
        f"{given.source}: data_backend_config '{named}' is neither there from the working directory nor beside the "
        f"configuration{hint}: name it with --datasets"
    )
