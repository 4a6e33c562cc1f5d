"""Curves for TensorBoard and Weights & Biases, through accelerate."""

import os
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator
from accelerate.tracking import TensorBoardTracker, WandBTracker
from PIL import Image

from sanaflow.config import TrainingSettings, ValidationSettings
from sanaflow.errors import InputError

TRACKERS = {"none": [], "tensorboard": ["tensorboard"], "wandb": ["wandb"], "all": ["tensorboard", "wandb"]}
SERIES = ("loss", "learning_rate", "grad_norm", "seconds_per_step", "peak_memory_bytes")


def start_trackers(
    accelerator: Accelerator, settings: TrainingSettings, validation: ValidationSettings, run_folder: Path
) -> None:
    """Begin, or go on with, this run's curves; a run that goes on after a kill writes into the same ones.

    Raises:
        InputError: W&B isn't installed, or doesn't know who this is.
    """
    if validation.report_to == "none":
        return
    name = validation.tracker_run_name or run_folder.name[:16]
    config = {key: value for key, value in settings.model_dump().items() if isinstance(value, int | float | str)}
    wandb = {"name": name, "id": run_folder.name[:16], "resume": "allow", "dir": str(run_folder)}
    if "wandb" in TRACKERS[validation.report_to] and "WANDB_MODE" not in os.environ:
        check_wandb_knows_us()
    try:
        accelerator.init_trackers(validation.tracker_project_name, config, {"wandb": wandb})
    except Exception as error:  # W&B's own errors, of many kinds; none is worth a stack trace
        raise InputError(
            f"validation.report_to '{validation.report_to}' can't be started ({type(error).__name__}: {error}): "
            "set WANDB_MODE=offline to keep the curves here, or report_to 'none'"
        ) from None


def check_wandb_knows_us() -> None:
    """See that W&B can be told.

    Raises:
        InputError: It isn't installed, or has no key.
    """
    try:
        import wandb
    except ImportError:
        raise InputError("validation.report_to 'wandb' needs the package: pip install 'sanaflow[tracking]'") from None
    if not wandb.api.api_key:
        raise InputError(
            "validation.report_to is 'wandb', but there is no key: set WANDB_API_KEY or run `wandb login`, "
            "or set WANDB_MODE=offline to keep the curves here"
        )


def track_steps(accelerator: Accelerator, rows: list[dict[str, float]]) -> None:
    """Curves of optimizer steps."""
    for row in rows:
        accelerator.log({f"train/{name}": row[name] for name in SERIES}, step=int(row["step"]))


def track_evaluation(accelerator: Accelerator, losses: dict[str, float], step: int) -> None:
    """The loss on held-out pictures, by 'set/weights'."""
    accelerator.log({f"evaluation/{name}": loss for name, loss in losses.items()}, step=step)


def track_pictures(accelerator: Accelerator, pictures: dict[str, Image.Image], step: int) -> None:
    """Validation pictures, by name."""
    arrays: dict[str, Any] = {name: np.asarray(picture)[None] for name, picture in pictures.items()}
    for tracker in accelerator.trackers:
        if isinstance(tracker, TensorBoardTracker):
            tracker.log_images(arrays, step=step, dataformats="NHWC")
        elif isinstance(tracker, WandBTracker):
            tracker.log_images({name: list(array) for name, array in arrays.items()}, step=step)
