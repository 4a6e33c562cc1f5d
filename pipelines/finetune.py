"""Pictures to a scored and published model: the main job.

zenml pipeline run pipelines.finetune.finetune -c configs/demo.yaml
python -m pipelines.finetune -c configs/demo.yaml
"""

from pipelines.prepare import encode
from pipelines.strict import main, strict_pipeline
from sanaflow.config import (
    CacheSettings,
    EvaluationSettings,
    ModelSettings,
    PublishingSettings,
    QualitySettings,
    TrainingSettings,
    ValidationSettings,
)
from sanaflow.datasets import DatasetSettings
from steps.push_to_hub import push_to_hub
from steps.score_clip import score_clip
from steps.train_sana import train_sana


@strict_pipeline
def finetune(
    model: ModelSettings,
    datasets: tuple[DatasetSettings, ...],
    quality: QualitySettings = QualitySettings(),
    caches: CacheSettings = CacheSettings(),
    training: TrainingSettings = TrainingSettings(),
    validation: ValidationSettings = ValidationSettings(),
    evaluation: EvaluationSettings = EvaluationSettings(),
    publishing: PublishingSettings = PublishingSettings(),
) -> None:
    """Encode, train, score against the base model, publish."""
    base, latents, captions = encode(model, datasets, quality, caches, training, validation, evaluation)
    tuned, _, _ = train_sana(latents, captions, base, training, validation)
    scores, gallery = score_clip(captions, base, tuned, evaluation, validation)
    push_to_hub(tuned, base, scores, gallery, publishing)


if __name__ == "__main__":
    main("pipelines.finetune", "finetune")
