"""The runs that a scheduler has under way: started, waited for, stopped, written down."""

import os
import signal
import threading
import time
from datetime import UTC, datetime
from subprocess import Popen, TimeoutExpired
from typing import Any

from pipelines.scheduling.file import LocalSchedule, ScheduleFile
from pipelines.scheduling.process import STOP_SECONDS, end, kill, lock_file, start


class ScheduledRuns:
    """Never two of one schedule. A run that was cut short is `interrupted`: started again, it goes on where it was."""

    def __init__(self, file: ScheduleFile) -> None:
        self.under_way: dict[str, Popen[bytes] | None] = {}
        self.stopping = False
        self._file = file
        self._began = time.monotonic()
        self._starting = threading.Lock()

    def run(self, name: str) -> None:
        """Start it and wait for its end."""
        self.under_way[name] = None
        try:
            if (lock := self._lock(name)) is None:
                return say(f"{name}: is due, but a run that an earlier scheduler started has not ended: left out")
            try:
                self._run_alone(name, lock)
            finally:
                os.close(lock)
        finally:
            del self.under_way[name]

    def find_cut_short(self, name: str, schedule: LocalSchedule) -> None:
        """Write down that an earlier scheduler's run has ended with it. If it doesn't end, it is killed."""
        if schedule.status != "running" or name in self.under_way:
            return
        if (lock := self._lock(name)) is not None:
            self._file.update(name, only_if="running", status="interrupted", last_ended=datetime.now(UTC), pid=None)
            os.close(lock)
        elif schedule.pid and time.monotonic() > self._began + STOP_SECONDS:
            kill(schedule.pid)  # it is no other process by now: this one holds the lock

    def stop(self) -> None:
        """SIGTERM for all of them, and wait."""
        self.stopping = True
        with self._starting:  # from here on none is started
            children = [child for child in self.under_way.values() if child]
        say(f"scheduler stops; runs under way: {len(children)}")
        threads = [threading.Thread(target=end, args=(child,)) for child in children]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _lock(self, name: str) -> int | None:
        return lock_file(self._file.folder / f"{name}.run.lock")

    def _run_alone(self, name: str, lock: int) -> None:
        with self._starting:
            schedule = self._file.read().get(name)
            if self.stopping or schedule is None or not schedule.active:
                return
            now = datetime.now(UTC)
            log = self._file.folder / "logs" / name / f"{now:%Y%m%dT%H%M%S.%f}.log"
            attempts = schedule.attempts + 1 if schedule.status == "interrupted" else 1
            self._file.update(  # first of all: this process may be killed at any moment
                name,
                status="running",
                attempts=attempts,
                since=now,
                last_started=now,
                last_ended=None,
                exit_code=None,
                log=str(log),
            )
            try:
                child = self.under_way[name] = start(schedule, log, lock=lock)
            except OSError as error:
                self._file.update(name, status="failed", last_ended=datetime.now(UTC))
                return say(f"{name}: can't be started: {error}")
        self._file.update(name, pid=child.pid)
        say(f"{name}: started, attempt {attempts}: {log}")
        status = self._wait(child, hours=schedule.time_limit_hours)
        ended: dict[str, Any] = {"last_ended": datetime.now(UTC), "exit_code": child.returncode, "pid": None}
        if self.stopping:
            ended["attempts"] = 0  # it isn't the run's fault
        self._file.update(name, status=status, **ended)
        say(f"{name}: {status}, exit code {child.returncode}")

    def _wait(self, child: Popen[bytes], *, hours: float) -> str:
        try:
            code = child.wait(hours * 3600)
        except TimeoutExpired:
            end(child)
            return "timed out"
        if code and (self.stopping or code < 0 or code == 128 + signal.SIGTERM):
            return "interrupted"
        return "failed" if code else "completed"


def say(text: str) -> None:
    """A line of the scheduler's log."""
    print(f"{datetime.now():%F %T} {text}", flush=True)
