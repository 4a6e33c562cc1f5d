"""A scheduled run as a process of its own: alone, logged, and gone when the scheduler is gone."""

import contextlib
import ctypes
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path
from subprocess import Popen

from pipelines.scheduling.file import LocalSchedule

LOGS_KEPT = 20
STOP_SECONDS = 60.0
PR_SET_PDEATHSIG = 1
PRCTL = getattr(ctypes.CDLL(None), "prctl", None)  # found before any fork, after which loading isn't safe; Linux only


def lock_file(path: Path) -> int | None:
    """Take the lock, which lasts until every process that holds this file has closed it; None if it is taken."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def start(schedule: LocalSchedule, log: Path, *, lock: int) -> Popen[bytes]:
    """Start the pipeline's own command line, in the folder and on the stack that the schedule was added in.

    The process holds `lock`, too: should it outlive the scheduler, no other run of its schedule starts meanwhile. Its
    session is its own, so that Ctrl-C reaches it through the scheduler only.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    for old in sorted(log.parent.glob("*.log"))[: -LOGS_KEPT + 1]:
        old.unlink()
    parent = os.getpid()

    def end_with_scheduler() -> None:
        if PRCTL:
            PRCTL(PR_SET_PDEATHSIG, signal.SIGTERM)
            if os.getppid() != parent:  # it went before that
                os._exit(128 + signal.SIGTERM)

    with log.open("wb") as output:
        return Popen(
            [sys.executable, "-m", schedule.pipeline.rpartition(".")[0], "-c", schedule.config],
            cwd=schedule.folder,
            env=os.environ | ({"ZENML_ACTIVE_STACK_ID": schedule.stack} if schedule.stack else {}),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=[lock],
            start_new_session=True,
            preexec_fn=end_with_scheduler,
        )


def end(child: Popen[bytes]) -> None:
    """SIGTERM; a minute later, SIGKILL for it and all that it started."""
    child.terminate()
    try:
        child.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        kill(child.pid)
        child.wait()


def kill(pid: int) -> None:
    """SIGKILL for a run and all that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
