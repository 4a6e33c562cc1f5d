"""Pictures to a scored, judged and published model: the main job.

zenml pipeline run pipelines.finetune.finetune -c configs/demo.yaml
python -m pipelines.finetune -c configs/demo.yaml
"""

from zenml import Model

from pipelines.prepare import encode
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
from steps.check_hub_access import check_hub_access
from steps.decide_promotion import decide_promotion
from steps.draw_lineage import draw_lineage
from steps.end_run import end_run
from steps.find_champion import find_champion
from steps.find_start import find_start
from steps.measure_eval_loss import measure_eval_loss
from steps.push_to_hub import push_to_hub
from steps.score_clip import score_clip
from steps.train_sana import train_sana


@strict_pipeline(model=Model(name="sana"))
def finetune(
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
    """Encode, train, score against the base model and the champion, decide, publish."""
    check_hub_access(publishing)
    base, latents, captions = encode(model, datasets, quality, caches, training, validation, evaluation)
    start = find_start(latents, captions, base, training, promotion) if training.start_from == "champion" else None
    tuned, _, _ = train_sana(latents, captions, base, training, validation, publishing.checkpoints(), start)
    champion = find_champion(tuned, promotion)
    scores, gallery = score_clip(latents, captions, base, tuned, champion, evaluation, validation)
    losses = measure_eval_loss(latents, captions, base, tuned, champion, validation, batch=training.train_batch_size)
    decision = decide_promotion(tuned, scores, losses, champion, promotion)
    release = push_to_hub(latents, captions, tuned, base, scores, gallery, publishing)
    page = draw_lineage(after=[decision, release])
    end_run(tuned, decision, release, notifications, after=page)


if __name__ == "__main__":
    main("pipelines.finetune", "finetune")
