"""Train again if anything changed: for schedules, or whenever new pictures have come.

zenml pipeline run pipelines.retrain.retrain -c configs/retrain.yaml
python -m pipelines.retrain -c configs/retrain.yaml
"""

from zenml import Model

from pipelines.finetune import finetune
from pipelines.strict import main, strict_pipeline
from sanaflow.config import (
    CacheSettings,
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


@strict_pipeline(model=Model(name="sana"))
def retrain(
    model: ModelSettings,
    datasets: tuple[DatasetSettings, ...],
    quality: QualitySettings = QualitySettings(),
    caches: CacheSettings = CacheSettings(),
    training: TrainingSettings = TrainingSettings(),
    validation: ValidationSettings = ValidationSettings(),
    evaluation: EvaluationSettings = EvaluationSettings(),
    promotion: PromotionSettings = PromotionSettings(),
    publishing: PublishingSettings = PublishingSettings(),
    notifications: NotificationSettings = NotificationSettings(),
) -> None:
    """`finetune` under a name of its own: it looks for changes, and makes only what they touch.

    Nothing changed: nothing is encoded or trained, no model version is left behind, and nobody is told. Else what is
    new is encoded, a model trained from the base or on from the champion, scored against that, and published.
    """
    finetune.entrypoint(
        model, datasets, quality, caches, training, validation, evaluation, promotion, publishing, notifications
    )


if __name__ == "__main__":
    main("pipelines.retrain", "retrain")
