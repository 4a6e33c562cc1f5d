"""The loss on held-out pictures of all models side by side: same noise, same noise levels."""

import pandas as pd

from sanaflow.cache.index import CaptionCache, LatentCache
from sanaflow.config import ValidationSettings
from sanaflow.evaluation.contenders import contenders
from sanaflow.evaluation.losses import HeldOutLoss
from sanaflow.model.loading import default_device
from sanaflow.model.reference import ModelReference
from sanaflow.model.tuned import SanaModel
from sanaflow.training.evaluation_loss import EvaluationLoss


def measure_held_out_loss(
    latents: LatentCache,
    captions: CaptionCache,
    *,
    model: ModelReference,
    tuned: SanaModel,
    validation: ValidationSettings,
    batch_size: int,
    champion: SanaModel | None = None,
) -> HeldOutLoss:
    """Measure each model.

    Raises:
        InputError: A model can't be loaded, or a shard is missing or damaged.
    """
    evaluation = EvaluationLoss(latents, captions, validation, batch_size=batch_size)
    if not evaluation.datasets:
        return HeldOutLoss(pd.DataFrame(columns=["dataset", "sigma"]))
    frames = []
    for label, load in contenders(model, tuned, champion).items():
        device = default_device()
        rows = pd.DataFrame(evaluation.measure(load().to(device), device))
        frames.append(rows.set_index(["dataset", "sigma"])["loss"].rename(label))
    return HeldOutLoss(pd.concat(frames, axis=1).reset_index())
