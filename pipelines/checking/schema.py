"""Every mistake in the YAML."""

from pathlib import Path
from typing import Any

from pipelines.checking.finding import Finding, Look, refused
from pipelines.run_file import check_run_file
from sanaflow.config import RunSettings
from sanaflow.errors import InputError
from sanaflow.run_yaml import parse_run_settings, read_yaml


def look_at_yaml(path: Path, *, zenml_answers: bool = True) -> Look[tuple[dict[str, Any], RunSettings] | None]:
    """Both of its halves: ZenML's keys, and `parameters`, which a run looks at only if the first is right."""
    where = str(path)
    try:
        content = read_yaml(path)
    except InputError as error:
        yield from refused(where, error)
        return None
    mistakes: dict[str, Finding] = {}
    run = None
    halves = [lambda: parse_run_settings(content["parameters"], source=path)]
    if zenml_answers:  # which knows the active stack's settings
        halves.insert(0, lambda: check_run_file(str(path)))
    for look in halves:
        try:
            run = look()
        except InputError as error:
            mistakes |= {found.text: found for found in refused(where, error)}
    yield from mistakes.values()
    if mistakes or run is None:
        return None
    yield Finding("ok", where, "every key is known, and no two contradict each other")
    return content, run
