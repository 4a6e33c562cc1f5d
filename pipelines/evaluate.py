"""Score any model beside its base: a model version, a folder, a hub id. Nothing is trained.

zenml pipeline run pipelines.evaluate.evaluate -c configs/evaluate.yaml
python -m pipelines.evaluate -c configs/evaluate.yaml
"""

from pipelines.prepare import encode
from pipelines.strict import main, strict_pipeline
from sanaflow.config import (
    CacheSettings,
    CandidateSettings,
    EvaluationSettings,
    ModelSettings,
    NotificationSettings,
    PromotionSettings,
    PublishingSettings,
    QualitySettings,
    TrainingSettings,
    ValidationSettings,
)
from sanaflow.datasets import DatasetSettings
from steps.find_candidate import find_candidate
from steps.find_champion import find_champion
from steps.measure_eval_loss import measure_eval_loss
from steps.score_clip import score_clip


@strict_pipeline()
def evaluate(
    model: ModelSettings,
    datasets: tuple[DatasetSettings, ...],
    candidate: CandidateSettings,
    quality: QualitySettings = QualitySettings(),
    caches: CacheSettings = CacheSettings(),
    training: TrainingSettings = TrainingSettings(),
    validation: ValidationSettings = ValidationSettings(),
    evaluation: EvaluationSettings = EvaluationSettings(),
    promotion: PromotionSettings = PromotionSettings(),
    publishing: PublishingSettings = PublishingSettings(),
    notifications: NotificationSettings = NotificationSettings(),
) -> None:
    """Score the candidate beside the base. Takes the YAML of `finetune`, with a `candidate`."""
    base, latents, captions = encode(model, datasets, quality, caches, training, validation, evaluation)
    tuned = find_candidate(base, candidate)
    champion = find_champion(tuned, promotion)
    score_clip(latents, captions, base, tuned, champion, evaluation, validation)
    measure_eval_loss(latents, captions, base, tuned, champion, validation, batch=training.train_batch_size)


if __name__ == "__main__":
    main("pipelines.evaluate", "evaluate")
