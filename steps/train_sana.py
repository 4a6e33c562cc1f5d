"""Latents and embeddings to a tuned model."""

from typing import Annotated

from zenml import get_step_context, log_metadata, step

from materializers.gallery import GalleryMaterializer
from materializers.sana_model import SanaModelMaterializer
from materializers.training_log import TrainingLogMaterializer
from sanaflow.cache.index import CaptionCache, LatentCache
from sanaflow.config import CheckpointsOnHub, TrainingSettings, ValidationSettings
from sanaflow.digests import digest_of
from sanaflow.evaluation.gallery import Gallery
from sanaflow.model.champion import Champion
from sanaflow.model.reference import ModelReference
from sanaflow.model.tuned import SanaModel
from sanaflow.training.log import TrainingLog
from steps.code_dependencies import code_digest, code_of
from steps.store_folder import store_folder

CODE = ("sanaflow.training.run", "sanaflow.evaluation.sampling")


@step(
    cache_policy=code_of(*CODE),
    output_materializers={
        "tuned_model": SanaModelMaterializer,
        "training_log": TrainingLogMaterializer,
        "validation_gallery": GalleryMaterializer,
    },
)
def train_sana(
    latents: LatentCache,
    captions: CaptionCache,
    model: ModelReference,
    training: TrainingSettings,
    validation: ValidationSettings,
    checkpoints: CheckpointsOnHub | None = None,
    start: Champion | None = None,
) -> tuple[
    Annotated[SanaModel, "tuned_model"],
    Annotated[TrainingLog, "training_log"],
    Annotated[Gallery, "validation_gallery"],
]:
    """Tune on the caches alone, in this process or several. Run again after a kill, it goes on from its checkpoint."""
    from sanaflow.evaluation.sampling import validation_drawer
    from steps.train_here import train_here
    from steps.train_processes import train_in_processes

    settings = [training.model_dump(), validation.model_dump()]
    first = start.tuned if start else None
    begun = first.digest() if first else "base"
    same_run = digest_of([latents.digest(), captions.digest(), model.digest(), settings, begun, code_digest(*CODE)])
    run_folder, models_folder = store_folder("training") / same_run, store_folder("models")
    if training.num_processes == 1:
        tuned, log = train_here(
            latents, captions, model, training, validation, run_folder, models_folder, checkpoints, first
        )
    else:
        inputs = {name: artifacts[0].id for name, artifacts in get_step_context().inputs.items()}
        tuned, log = train_in_processes(inputs, training, validation, run_folder, models_folder, checkpoints)
    log_metadata({"steps": tuned.steps, "loss": float(log.steps["loss"].iloc[-1]), "skipped": len(log.skipped)})
    _, gather = validation_drawer(model, captions, validation, run_folder / "validation")
    return tuned, log, gather()
