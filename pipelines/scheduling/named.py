"""Schedules by name, of this machine and of ZenML alike."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from zenml.config.global_config import GlobalConfiguration
from zenml.models import ScheduleResponse

from pipelines.scheduling import orchestrator
from pipelines.scheduling.file import ScheduleFile
from sanaflow.errors import InputError, nearest


def local_file() -> ScheduleFile:
    """Those of this machine, beside ZenML's configuration."""
    return ScheduleFile(Path(GlobalConfiguration().config_directory) / "sanaflow")


def rows() -> list[dict[str, Any]]:
    """What `list` says of all of them."""
    here = {name: one.row() for name, one in local_file().read().items()}
    return [{"name": name} | row for name, row in (orchestrator.rows() | here).items()]


def switch(name: str, *, active: bool) -> None:
    """Pause or resume one. Raises InputError if there is none of that name, or the orchestrator can't."""
    if found := _of_an_orchestrator(name):
        orchestrator.switch(found, active=active)
    else:
        local_file().update(name, active=active, since=datetime.now(UTC))


def remove(name: str) -> None:
    """Remove one. Raises InputError if there is none of that name, or the orchestrator can't."""
    if found := _of_an_orchestrator(name):
        orchestrator.remove(found)
    else:
        with local_file().changed() as schedules:
            del schedules[name]


def _of_an_orchestrator(name: str) -> ScheduleResponse | None:
    """None if it is of this machine."""
    if name in (here := local_file().read()):
        return None
    if name not in (there := orchestrator.schedules()):
        known = here.keys() | there.keys()
        raise InputError(f"{name}: no such schedule: {nearest(name, known) if known else 'there is none'}")
    return there[name]
