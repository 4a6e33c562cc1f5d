"""The work of `train_sana` in this process, be it the step's own or one of several."""

from functools import partial
from pathlib import Path

from sanaflow.cache.index import CaptionCache, LatentCache
from sanaflow.config import CheckpointsOnHub, TrainingSettings, ValidationSettings
from sanaflow.errors import InputError
from sanaflow.model.reference import ModelReference
from sanaflow.model.tuned import SanaModel
from sanaflow.training.log import TrainingLog
from steps.store_folder import checkpoint_mirror


def train_here(
    latents: LatentCache,
    captions: CaptionCache,
    model: ModelReference,
    training: TrainingSettings,
    validation: ValidationSettings,
    run_folder: Path,
    models_folder: Path,
    checkpoints: CheckpointsOnHub | None = None,
    start: SanaModel | None = None,
) -> tuple[SanaModel, TrainingLog]:
    """Train, drawing into `run_folder`; weights go to the hub on the way if there is a repository for them."""
    from sanaflow.evaluation.sampling import validation_drawer
    from sanaflow.training.run import train_sana

    draw, _ = validation_drawer(model, captions, validation, run_folder / "validation")
    return train_sana(
        latents,
        captions,
        model=model,
        settings=training,
        run_folder=run_folder,
        models_folder=models_folder,
        validation=validation,
        draw=draw if validation.prompts() else None,
        mirror=checkpoint_mirror(run_folder.name),
        start=start,
        publish=partial(_push, checkpoints) if checkpoints else None,
    )


def _push(checkpoints: CheckpointsOnHub, folder: Path, step: int) -> None:
    """Push a checkpoint. A hub that doesn't take it is no reason to stop training."""
    from sanaflow.publishing.hub import push_checkpoint

    try:
        commit = push_checkpoint(folder, step=step, repo=checkpoints.hub_model_id, private=checkpoints.hub_private)
        print(f"checkpoint of step {step:,}: commit {commit[:10]} of '{checkpoints.hub_model_id}'")
    except InputError as error:
        print(f"the checkpoint of step {step:,} is not on the hub: {error.message}; training goes on")
