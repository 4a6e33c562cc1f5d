"""The work of `train_sana` in this process, be it the step's own or one of several."""

from pathlib import Path

from sanaflow.cache.index import CaptionCache, LatentCache
from sanaflow.config import TrainingSettings, ValidationSettings
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
) -> tuple[SanaModel, TrainingLog]:
    """Train, drawing into `run_folder`."""
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
    )
