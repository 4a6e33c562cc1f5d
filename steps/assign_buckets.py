"""Plan every picture's resize and crop."""

from dataclasses import replace
from typing import Annotated

from zenml import step

from materializers.bucket_plan import BucketPlanMaterializer
from sanaflow.buckets.plan import BucketPlan, plan_crops
from sanaflow.datasets import DatasetSettings
from sanaflow.images.crop_sheet import crop_sheet
from sanaflow.images.table import ImageTable
from sanaflow.model.reference import ModelReference
from steps.code_dependencies import code_of


@step(
    cache_policy=code_of("sanaflow.buckets.plan", "sanaflow.images.crop_sheet", "sanaflow.model.loading"),
    output_materializers=BucketPlanMaterializer,
)
def assign_buckets(
    table: ImageTable,
    model: ModelReference,
    datasets: tuple[DatasetSettings, ...],
    seed: int,
    batch: int,
    oversubscribe: bool,
) -> Annotated[BucketPlan, "bucket_plan"]:
    """Assign each picture to a bucket, with its resize and crop, and see that every bucket can fill a batch."""
    from sanaflow.model.loading import pixels_per_token

    plan = plan_crops(
        table.pictures,
        datasets,
        alignment=pixels_per_token(model),
        seed=seed,
        batch=batch,
        oversubscribe=oversubscribe,
    )
    return replace(plan, preview=crop_sheet(plan.crops, table.uri_of()))
