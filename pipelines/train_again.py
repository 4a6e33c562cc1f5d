"""Pictures to weights, no further, and never from ZenML's cache: what `python -m sanaflow rebuild` runs."""

from zenml.client import Client

from pipelines.prepare import encode
from pipelines.strict import strict_pipeline
from sanaflow.config import (
    CacheSettings,
    EvaluationSettings,
    ModelSettings,
    QualitySettings,
    TrainingSettings,
    ValidationSettings,
)
from sanaflow.datasets import DatasetSettings
from steps.train_sana import train_sana

SECTIONS = ("model", "datasets", "quality", "caches", "training", "validation", "evaluation")


@strict_pipeline()
def train_again(
    model: ModelSettings,
    datasets: tuple[DatasetSettings, ...],
    quality: QualitySettings = QualitySettings(),
    caches: CacheSettings = CacheSettings(),
    training: TrainingSettings = TrainingSettings(),
    validation: ValidationSettings = ValidationSettings(),
    evaluation: EvaluationSettings = EvaluationSettings(),
    start: str | None = None,
) -> None:
    """Encode and train. `start` is the artifact that says which weights training began with."""
    base, latents, captions = encode(model, datasets, quality, caches, training, validation, evaluation)
    begin = Client().get_artifact_version(start) if start else None
    train_sana.with_options(enable_cache=False)(latents, captions, base, training, validation, None, begin)
