"""Two model versions side by side: settings, data, scores."""

import json
import re
from collections.abc import Mapping
from typing import Any

import click

from pipelines.lineage.picture_changes import differing_data
from sanaflow.lineage.records import Record
from sanaflow.lineage.text import SHORT, measured
from steps.lineage.reader import read_record

NOT_SET = "(not set)"


@click.command
@click.argument("first")
@click.argument("second")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def compare(first: str, second: str, as_json: bool) -> None:
    """Two model versions side by side: settings, data, scores.

    FIRST and SECOND are names such as 'sana@1' and 'sana@production'.
    """
    one, two = read_record(first), read_record(second)
    settings, data = differing_settings(one.settings, two.settings), differing_data(one, two)
    if as_json:
        both = {record.name: about(record) for record in (one, two)}
        print(json.dumps({"settings": settings, "data": data, "versions": both}, indent=2))
        return
    rows = {"": (one.name, two.name), **{name: tuple(map(_short, values)) for name, values in settings.items()}}
    said = [{name: value for name, value in about(record).items() if name != "decision"} for record in (one, two)]
    names = dict.fromkeys([*said[0], *said[1]])
    rows |= {name: (_short(said[0].get(name)), _short(said[1].get(name))) for name in names}
    left, middle = max(map(len, rows)), max(len(a) for a, _ in rows.values())
    for name, (a, b) in rows.items():
        print(f"{name:<{left}}  {a:<{middle}}  {b}".rstrip())
    print(f"\n{_in_words(data, one, two)}")
    for record in (one, two):
        print(f"{record.name}: {record.verdict()}")


def about(record: Record) -> dict[str, Any]:
    """What a version is, but for its settings."""
    return {
        **{"stage": record.stage, "code": record.commit, **record.packages, "base model": record.base_model},
        **{"steps": record.steps, "pictures": record.pictures, **record.data, "weights": record.weights},
        **{f"score, {name}": measured(score) for name, score in record.scores.items()},
        **{f"held-out loss, {name}": round(loss, 4) for name, loss in record.losses.items()},
        "decision": record.verdict(),
    }


def differing_settings(one: Mapping[str, Any], two: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Both values of each setting that differs, by its name, as 'training.learning_rate'."""
    first, second = dict(_flat(one)), dict(_flat(two))
    names = [*first, *(name for name in second if name not in first)]
    both = {name: [first.get(name, NOT_SET), second.get(name, NOT_SET)] for name in names}
    return {name: values for name, values in both.items() if values[0] != values[1]}


def _flat(value: Any, name: str = "") -> list[tuple[str, Any]]:
    """Settings by their full names; of a list of data sets, by their ids."""
    if isinstance(value, Mapping):
        return [pair for key, inner in value.items() for pair in _flat(inner, f"{name}.{key}".strip("."))]
    if isinstance(value, list | tuple) and value and all(isinstance(v, Mapping) and "id" in v for v in value):
        return [pair for inner in value for pair in _flat(inner, f"{name}.{inner['id']}")]
    return [(name, value)]


def _short(value: Any) -> str:
    text = "" if value is None else str(value)
    if re.fullmatch("[0-9a-f]{40,64}(-dirty)?", text):
        return text[:SHORT] + ("-dirty" if text.endswith("-dirty") else "")
    return text if len(text) <= 60 else f"{text[:59]}…"


def _in_words(data: Mapping[str, int] | None, one: Record, two: Record) -> str:
    if data is None:
        return "which pictures differ can't be told: an image table can't be read from the active stack"
    return (
        f"{data['kept']:,} pictures in both, {data['other_captions']:,} of them with other captions; "
        f"{data['removed']:,} only in {one.name}, {data['added']:,} only in {two.name}"
    )
