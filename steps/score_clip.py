"""Base, tuned model and champion side by side."""

from typing import Annotated

from zenml import step

from materializers.clip_scores import ClipScoresMaterializer
from materializers.gallery import GalleryMaterializer
from sanaflow.cache.index import CaptionCache, LatentCache
from sanaflow.config import EvaluationSettings, ValidationSettings
from sanaflow.evaluation.gallery import Gallery
from sanaflow.evaluation.scores import ClipScores
from sanaflow.model.champion import Champion
from sanaflow.model.reference import ModelReference
from sanaflow.model.tuned import SanaModel
from steps.code_dependencies import code_of


@step(
    cache_policy=code_of("sanaflow.evaluation.judge", and_files=("assets/clip/lite0_minilm_projections.safetensors",)),
    output_materializers={"clip_scores": ClipScoresMaterializer, "clip_gallery": GalleryMaterializer},
)
def score_clip(
    latents: LatentCache,
    captions: CaptionCache,
    model: ModelReference,
    tuned: SanaModel,
    champion: Champion,
    evaluation: EvaluationSettings,
    validation: ValidationSettings,
) -> tuple[Annotated[ClipScores, "clip_scores"], Annotated[Gallery, "clip_gallery"]]:
    """Draw the same prompts, sizes, seeds and noise with each model, and score the pictures with CLIP."""
    from sanaflow.evaluation.judge import score_clip as score

    scores, gallery = score(
        latents,
        captions,
        model=model,
        tuned=tuned,
        champion=champion.tuned,
        settings=evaluation,
        validation=validation,
    )
    return scores, gallery  # ZenML counts a step's outputs by its return statement
