"""Pictures to caches: everything that can be done, and looked at, before a GPU is rented for training.

zenml pipeline run pipelines.prepare.prepare -c configs/demo.yaml
python -m pipelines.prepare -c configs/demo.yaml
"""

from typing import Any

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
from steps.assign_buckets import assign_buckets
from steps.download_dataset import download_dataset
from steps.encode_captions import encode_captions
from steps.encode_latents import encode_latents
from steps.look_up_captions import look_up_captions
from steps.look_up_latents import look_up_latents
from steps.merge_captions import merge_captions
from steps.merge_latents import merge_latents
from steps.resolve_model import resolve_model


@strict_pipeline()
def prepare(
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
    """Encode pictures, captions and prompts. Takes the YAML of `finetune`, whose other sections wait there."""
    encode(model, datasets, quality, caches, training, validation, evaluation)


def encode(
    model: ModelSettings,
    datasets: tuple[DatasetSettings, ...],
    quality: QualitySettings,
    caches: CacheSettings,
    training: TrainingSettings,
    validation: ValidationSettings,
    evaluation: EvaluationSettings,
) -> tuple[Any, Any, Any]:
    """The steps up to the caches: base model, latent cache, caption cache."""
    base = resolve_model(model)
    table = download_dataset(datasets, quality)
    plan = assign_buckets(
        table,
        base,
        datasets,
        seed=training.seed,
        batch=training.total_batch(),
        oversubscribe=training.allow_dataset_oversubscription,
    )
    work = look_up_latents(table, plan, base, caches)
    workers = range(caches.encode_workers)
    latents = merge_latents(work, [encode_latents(work, table, base, caches, worker) for worker in workers])
    prompts = [*validation.prompts().values(), *evaluation.listed_prompts()]
    texts = look_up_captions(table, base, caches, prompts, [validation.validation_negative_prompt])
    captions = merge_captions(texts, [encode_captions(texts, base, caches, worker) for worker in workers])
    return base, latents, captions


if __name__ == "__main__":
    main("pipelines.prepare", "prepare")
