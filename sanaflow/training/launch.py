"""Start a module in several processes of this machine by `accelerate launch`, and hear how it ended."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from sanaflow.config import TrainingSettings
from sanaflow.errors import InputError
from sanaflow.training.stop import StoppedError, end_with_parent

OPTIONS = ("--multi_gpu", "--num_machines", "1", "--dynamo_backend", "no", "--main_process_port", "0")
"""Said one by one, so that a user's own default_config.yaml decides nothing; port 0 is a free one."""
ERROR = "error.json"


def launch(module: str, run_folder: Path, settings: TrainingSettings, *, root: Path) -> None:
    """Run `python -m MODULE RUN_FOLDER` in `settings.num_processes` processes, printing what they print.

    SIGTERM is handed on: it gives them 30 seconds. If this process is killed, they get one, too.

    Args:
        module: Calls `errors_told` around what it does.
        run_folder: Its argument, and where it tells what was wrong.
        settings: How many processes, in which precision.
        root: Where the module is.

    Raises:
        InputError: What a process said was wrong.
        StoppedError: SIGTERM came.
        RuntimeError: A process ended otherwise.
    """
    (run_folder / ERROR).unlink(missing_ok=True)
    command = [sys.executable, "-m", "accelerate.commands.launch", *OPTIONS]
    command += ["--num_processes", str(settings.num_processes), "--mixed_precision", settings.mixed_precision]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])}
    if not torch.cuda.is_available():
        environment["ACCELERATE_USE_CPU"] = "true"
    child = subprocess.Popen(
        [*command, "-m", module, str(run_folder)],
        cwd=root,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=end_with_parent,
    )
    hears = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, lambda *_: child.send_signal(signal.SIGTERM)) if hears else None
    try:
        for line in child.stdout or ():
            print(line, end="", flush=True)
        code = child.wait()
    finally:
        if hears:
            signal.signal(signal.SIGTERM, before)
        child.kill()
    if (run_folder / ERROR).exists():
        said = json.loads((run_folder / ERROR).read_text())
        raise (StoppedError if said["stopped"] else InputError)(said["message"])
    if code:
        raise RuntimeError(f"a training process ended with {code}: see what it printed above")


@contextmanager
def errors_told(run_folder: Path) -> Iterator[None]:
    """Let the process that launched this one know of a user's mistake, or of SIGTERM; then end."""
    end_with_parent()
    try:
        yield
    except (InputError, StoppedError) as error:
        said = {"message": error.message, "stopped": isinstance(error, StoppedError)}
        (run_folder / ERROR).write_text(json.dumps(said))
        sys.exit(1)


def is_first() -> bool:
    """Whether this is the process that writes files."""
    return os.environ.get("RANK", "0") == "0"
