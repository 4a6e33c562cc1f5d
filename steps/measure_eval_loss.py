"""The loss on held-out pictures."""

from typing import Annotated

from zenml import step

from materializers.held_out_loss import HeldOutLossMaterializer
from sanaflow.cache.index import CaptionCache, LatentCache
from sanaflow.config import ValidationSettings
from sanaflow.evaluation.losses import HeldOutLoss
from sanaflow.model.champion import Champion
from sanaflow.model.reference import ModelReference
from sanaflow.model.tuned import SanaModel
from steps.code_dependencies import code_of


@step(
    cache_policy=code_of("sanaflow.evaluation.held_out_loss"),
    output_materializers={"held_out_loss": HeldOutLossMaterializer},
)
def measure_eval_loss(
    latents: LatentCache,
    captions: CaptionCache,
    model: ModelReference,
    tuned: SanaModel,
    champion: Champion,
    validation: ValidationSettings,
    batch: int,
) -> Annotated[HeldOutLoss, "held_out_loss"]:
    """Base, tuned model, its moving average and the champion at the same noise."""
    from sanaflow.evaluation.held_out_loss import measure_held_out_loss

    return measure_held_out_loss(
        latents,
        captions,
        model=model,
        tuned=tuned,
        champion=champion.tuned,
        validation=validation,
        batch_size=batch,
    )
