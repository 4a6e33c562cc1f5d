"""`train_sana` in several processes: each loads the step's artifacts by their ids; the first writes what came out."""

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from uuid import UUID

from sanaflow.config import CheckpointsOnHub, TrainingSettings, ValidationSettings
from sanaflow.model.tuned import SanaModel
from sanaflow.training.launch import errors_told, is_first, launch
from sanaflow.training.log import TrainingLog
from steps.code_dependencies import ROOT
from steps.train_here import train_here

INPUTS = ("latents", "captions", "model", "start")


def train_in_processes(
    inputs: Mapping[str, UUID],
    training: TrainingSettings,
    validation: ValidationSettings,
    run_folder: Path,
    models_folder: Path,
    checkpoints: CheckpointsOnHub | None = None,
) -> tuple[SanaModel, TrainingLog]:
    """Start the processes and read what they made. Raises what `launch` raises."""
    run_folder.mkdir(parents=True, exist_ok=True)
    ids = {name: str(inputs[name]) for name in INPUTS if name in inputs}
    request = {"inputs": ids, "models_folder": str(models_folder)}
    settings = {"training": training.model_dump(mode="json"), "validation": validation.model_dump(mode="json")}
    on_hub = {"checkpoints": checkpoints and checkpoints.model_dump()}
    (run_folder / "request.json").write_text(json.dumps(request | settings | on_hub))
    launch("steps.train_processes", run_folder, training, root=ROOT)
    tuned = json.loads((run_folder / "tuned.json").read_text())
    return SanaModel(**tuned | {"folder": Path(tuned["folder"])}), TrainingLog.read(run_folder / "log")


def main(run_folder: Path) -> None:
    """One of the processes."""
    from zenml.client import Client

    request = json.loads((run_folder / "request.json").read_text())
    training, validation = TrainingSettings(**request["training"]), ValidationSettings(**request["validation"])
    with errors_told(run_folder):
        found = {name: Client().get_artifact_version(id).load() for name, id in request["inputs"].items()}
        first = found.pop("start").tuned if "start" in found else None
        models_folder = Path(request["models_folder"])
        checkpoints = CheckpointsOnHub(**said) if (said := request["checkpoints"]) else None
        tuned, log = train_here(
            **found,
            training=training,
            validation=validation,
            run_folder=run_folder,
            models_folder=models_folder,
            checkpoints=checkpoints,
            start=first,
        )
    if is_first():
        log.write(run_folder / "log")
        (run_folder / "tuned.json").write_text(json.dumps(asdict(tuned) | {"folder": str(tuned.folder)}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
