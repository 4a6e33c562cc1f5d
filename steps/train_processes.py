"""Training in several processes of one machine: `accelerate launch` starts this file as often as there are GPUs.

Each process loads the step's artifacts by their ids and calls the library; the first writes down what came out.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any
from uuid import UUID

import torch

from sanaflow.config import TrainingSettings, ValidationSettings
from sanaflow.errors import InputError
from sanaflow.model.tuned import SanaModel
from sanaflow.training.log import TrainingLog
from sanaflow.training.stop import StoppedError, end_with_parent
from steps.code_dependencies import ROOT

LAUNCH = ("--multi_gpu", "--num_machines", "1", "--dynamo_backend", "no", "--main_process_port", "0")


def train_in_processes(
    inputs: Mapping[str, UUID],
    training: TrainingSettings,
    validation: ValidationSettings,
    run_folder: Path,
    models_folder: Path,
) -> tuple[SanaModel, TrainingLog]:
    """Start the processes, hand on SIGTERM, and read what they made.

    Args:
        inputs: Ids of the artifacts 'latents', 'captions' and 'model'.
        training: How.
        validation: What to draw and to measure.
        run_folder: For checkpoints, and to talk to the processes.
        models_folder: For the result.

    Raises:
        InputError: What a process said was wrong.
        StoppedError: SIGTERM came.
    """
    run_folder.mkdir(parents=True, exist_ok=True)
    for name in ("result.json", "error.json"):
        (run_folder / name).unlink(missing_ok=True)
    request = {"inputs": {name: str(uuid) for name, uuid in inputs.items()}, "models_folder": str(models_folder)}
    settings = {"training": training.model_dump(mode="json"), "validation": validation.model_dump(mode="json")}
    (run_folder / "request.json").write_text(json.dumps(request | settings))
    launcher = [sys.executable, "-m", "accelerate.commands.launch", *LAUNCH]
    command = [*launcher, "--num_processes", str(training.num_processes)]
    command += ["--mixed_precision", training.mixed_precision, "-m", "steps.train_processes", str(run_folder)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    if not torch.cuda.is_available():
        environment["ACCELERATE_USE_CPU"] = "true"
    child = subprocess.Popen(
        command,
        **{"cwd": ROOT, "env": environment, "text": True},
        **{"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "preexec_fn": end_with_parent},
    )
    before = signal.signal(signal.SIGTERM, lambda *_: child.send_signal(signal.SIGTERM))
    try:
        for line in child.stdout or ():
            print(line, end="", flush=True)
        code = child.wait()
    finally:
        signal.signal(signal.SIGTERM, before)
        child.kill()
    return _read_result(run_folder, code)


def _read_result(run_folder: Path, code: int) -> tuple[SanaModel, TrainingLog]:
    error, result = run_folder / "error.json", run_folder / "result.json"
    if error.exists():
        said = json.loads(error.read_text())
        raise (StoppedError if said["stopped"] else InputError)(said["message"])
    if code or not result.exists():
        raise RuntimeError(f"a training process ended with {code}: see what it printed above")
    stored = json.loads(result.read_text())
    tuned = SanaModel(**stored["tuned"] | {"folder": Path(stored["tuned"]["folder"])})
    return tuned, TrainingLog.read(run_folder / "log")


def main(run_folder: Path) -> None:
    """One of the processes."""
    end_with_parent()
    from zenml.client import Client

    from sanaflow.evaluation.sampling import validation_drawer
    from sanaflow.training.run import train_sana
    from steps.store_folder import checkpoint_mirror

    request: dict[str, Any] = json.loads((run_folder / "request.json").read_text())
    training, validation = TrainingSettings(**request["training"]), ValidationSettings(**request["validation"])
    latents, captions, model = (
        Client().get_artifact_version(request["inputs"][name]).load() for name in ("latents", "captions", "model")
    )
    draw, _ = validation_drawer(model, captions, validation, run_folder / "validation")
    first = os.environ.get("RANK", "0") == "0"
    try:
        tuned, log = train_sana(
            latents,
            captions,
            model=model,
            settings=training,
            run_folder=run_folder,
            models_folder=Path(request["models_folder"]),
            validation=validation,
            draw=draw if validation.prompts() else None,
            mirror=checkpoint_mirror(run_folder.name),
        )
    except (InputError, StoppedError) as error:
        if first or isinstance(error, InputError):
            said = {"message": error.message, "stopped": isinstance(error, StoppedError)}
            (run_folder / "error.json").write_text(json.dumps(said))
        sys.exit(1)
    if first:
        log.write(run_folder / "log")
        (run_folder / "result.json").write_text(json.dumps({"tuned": asdict(tuned) | {"folder": str(tuned.folder)}}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
