"""The schedules of this machine: a JSON file that the commands change while the scheduler runs."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from apscheduler.triggers.base import BaseTrigger
from pydantic import AwareDatetime, BaseModel, TypeAdapter, ValidationError

from pipelines.scheduling.cron import cron_trigger
from sanaflow.errors import InputError


class LocalSchedule(BaseModel, extra="forbid"):
    """What to run and when, and how its last run went; times are UTC.

    Attributes:
        since: Due times after it that no run followed were missed.
        attempts: Starts for the last due time; more than one if runs were cut short.
        status: `running`, `completed`, `failed`, `interrupted` (cut short, to be run again) or `timed out`.
    """

    pipeline: str
    config: str
    folder: str
    stack: str | None = None
    cron: str
    timezone: str
    time_limit_hours: float = 168.0
    active: bool = True
    since: AwareDatetime
    last_due: AwareDatetime | None = None
    last_started: AwareDatetime | None = None
    last_ended: AwareDatetime | None = None
    exit_code: int | None = None
    attempts: int = 0
    status: str | None = None
    pid: int | None = None
    log: str | None = None

    def trigger(self) -> BaseTrigger:
        """Its due times."""
        return cron_trigger(self.cron, self.timezone)

    def row(self) -> dict[str, Any]:
        """Plain data for `list`, with its next due time."""
        due = self.trigger().get_next_fire_time(None, datetime.now(UTC)) if self.active else None
        return {"on": "this machine", **self.model_dump(mode="json"), "next_due": due and due.isoformat()}


SCHEDULES = TypeAdapter(dict[str, LocalSchedule])


class ScheduleFile:
    """`schedules.json` in a folder, by name. JSON and not APScheduler's own stores, which pickle."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path = folder / "schedules.json"

    def read(self) -> dict[str, LocalSchedule]:
        """All of them. Raises InputError if the file is damaged."""
        try:
            return SCHEDULES.validate_json(self._path.read_bytes())
        except FileNotFoundError:
            return {}
        except ValidationError as error:
            raise InputError(f"{self._path}: is damaged ({error.errors()[0]['msg']}): repair or remove it") from None

    @contextmanager
    def changed(self) -> Iterator[dict[str, LocalSchedule]]:
        """All of them, to be changed by nobody else meanwhile; written whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            schedules = self.read()
            yield schedules
            new = self._path.with_suffix(".new")
            new.write_bytes(SCHEDULES.dump_json(schedules, indent=2))
            with new.open("rb") as written:
                os.fsync(written.fileno())
            new.replace(self._path)

    def add(self, name: str, **values: Any) -> None:
        """Add one, or change one but for how its last run went."""
        values |= {"active": True, "since": datetime.now(UTC)}
        with self.changed() as schedules:
            old = schedules[name].model_dump() if name in schedules else {}
            schedules[name] = LocalSchedule.model_validate(old | values)

    def update(self, name: str, *, only_if: str | None = None, **values: Any) -> None:
        """Change one, unless it was removed meanwhile, or its status is another than `only_if`."""
        with self.changed() as schedules:
            if name in schedules and only_if in (None, schedules[name].status):
                schedules[name] = schedules[name].model_copy(update=values)
