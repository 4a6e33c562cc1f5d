"""The scheduler of stacks that have none: starts what is due, each run in a process of its own.

APScheduler says when, of the due times too that passed while the machine slept or was off.
"""

import logging
import os
import signal
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from apscheduler.events import EVENT_JOB_MAX_INSTANCES, EVENT_JOB_MISSED, EVENT_JOB_SUBMITTED
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler

from pipelines.scheduling.file import LocalSchedule, ScheduleFile
from pipelines.scheduling.process import lock_file
from pipelines.scheduling.runs import ScheduledRuns, say
from sanaflow.errors import InputError

POLL_SECONDS = 1.0
STARTS_IN_A_ROW = 3  # of a run that is killed again and again; it then waits for its next due time


class LocalScheduler:
    """Runs the schedules of a folder until SIGTERM or SIGINT; what it cuts short then, the next one starts again."""

    def __init__(self, folder: Path, *, grace: timedelta = timedelta(hours=24), at_once: int = 1) -> None:
        self._file = ScheduleFile(folder)
        self._runs = ScheduledRuns(self._file)
        self._grace = grace
        self._jobs: dict[str, tuple[str, str]] = {}
        self._started_again: dict[str, datetime | None] = {}  # when that ended which was cut short
        self._stopped = False
        self._scheduler = BackgroundScheduler(
            timezone=UTC,
            executors={"default": ThreadPoolExecutor(at_once)},
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": int(grace.total_seconds()) or 1},
        )
        self._scheduler.add_listener(self._note, EVENT_JOB_SUBMITTED | EVENT_JOB_MAX_INSTANCES | EVENT_JOB_MISSED)

    def serve(self) -> None:
        """Run until SIGTERM or SIGINT.

        Raises:
            InputError: Another one runs for this folder.
        """
        if (only := lock_file(self._file.folder / "scheduler.lock")) is None:
            raise InputError(f"{self._file.folder}: a scheduler runs already for these schedules")
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: setattr(self, "_stopped", True))
        logging.getLogger("apscheduler").setLevel(logging.ERROR)  # we say the rest ourselves
        self._scheduler.start()
        say(f"scheduler started: {self._file.folder}")
        try:
            while not self._stopped:
                self._look_at_the_file()
                self._scheduler.wakeup()  # its own wait doesn't notice that the machine slept, or the clock was set
                time.sleep(POLL_SECONDS)
        finally:
            self._scheduler.pause()
            self._runs.stop()
            self._scheduler.shutdown()
            os.close(only)
        say("scheduler stopped")

    def _look_at_the_file(self) -> None:
        schedules = self._file.read()
        active = {name: schedule for name, schedule in schedules.items() if schedule.active}
        for name in self._jobs.keys() - active.keys():
            self._scheduler.remove_job(name)
            del self._jobs[name]
            self._started_again.pop(name, None)
        for name, schedule in active.items():
            if self._jobs.get(name) != (due := (schedule.cron, schedule.timezone)):
                self._add_job(name, schedule)
                self._jobs[name] = due
        for name, schedule in schedules.items():
            self._runs.find_cut_short(name, schedule)
            again = schedule.status == "interrupted" and schedule.attempts < STARTS_IN_A_ROW
            if again and schedule.active and self._started_again.get(name) != schedule.last_ended:
                self._started_again[name] = schedule.last_ended
                self._scheduler.modify_job(name, next_run_time=datetime.now(UTC))

    def _add_job(self, name: str, schedule: LocalSchedule) -> None:
        since = max(schedule.since, datetime.now(UTC) - self._grace)
        first = schedule.trigger().get_next_fire_time(None, since + timedelta(microseconds=1))  # perhaps missed
        how: dict[str, Any] = {"id": name, "next_run_time": first, "replace_existing": True}
        self._scheduler.add_job(self._runs.run, schedule.trigger(), [name], **how)

    def _note(self, event: Any) -> None:
        name = event.job_id
        due = event.scheduled_run_time if event.code == EVENT_JOB_MISSED else event.scheduled_run_times[-1]
        changes = {"last_due": due.astimezone(UTC)}
        if event.code == EVENT_JOB_MAX_INSTANCES and self._runs.under_way.get(name):
            say(f"{name}: is due, but its last run has not ended: left out")
            changes["since"] = due.astimezone(UTC)  # nor is it started later
        elif event.code == EVENT_JOB_MISSED:
            say(f"{name}: was due at {due:%F %T %Z}, too long ago: left out")
        self._file.update(name, **changes)


def scheduler_runs(folder: Path) -> bool:
    """Whether a scheduler runs for this folder."""
    if (lock := lock_file(folder / "scheduler.lock")) is not None:
        os.close(lock)
    return lock is None
