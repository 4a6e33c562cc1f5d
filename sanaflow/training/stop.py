"""SIGTERM, by which a cluster says that it takes the machine away: finish the step, write a checkpoint, end."""

import contextlib
import ctypes
import signal
import threading
from types import FrameType

import click
import torch
from accelerate import Accelerator

PR_SET_PDEATHSIG = 1


class StoppedError(click.ClickException):
    """Training was asked to end before it was done; its checkpoint is written."""

    exit_code = 128 + signal.SIGTERM


def end_with_parent() -> None:
    """Have Linux send SIGTERM to this process when the one that started it is gone, however it ended."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class StopSignal:
    """Remembers that SIGTERM came, as a context; outside the main thread it can't hear it."""

    def __init__(self, accelerator: Accelerator) -> None:
        self._received = False
        self._group: torch.distributed.ProcessGroup | None = None
        if accelerator.num_processes > 1:
            self._group = torch.distributed.new_group(backend="gloo")  # type: ignore[assignment]

    def __enter__(self) -> "StopSignal":
        self._hears = threading.current_thread() is threading.main_thread()
        if self._hears:
            self._before = signal.signal(signal.SIGTERM, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        if self._hears:
            signal.signal(signal.SIGTERM, self._before)

    def received(self) -> bool:
        """Whether it came to any process. Each has to ask as often; they agree through the CPU, no GPU waits."""
        if self._group is None:
            return self._received
        flag = torch.tensor(int(self._received))
        torch.distributed.all_reduce(flag, torch.distributed.ReduceOp.MAX, group=self._group)
        return bool(flag)

    def _receive(self, _signal: int, _frame: FrameType | None) -> None:
        self._received = True
        print("SIGTERM: ending after this step, with a checkpoint", flush=True)
