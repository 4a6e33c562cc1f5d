"""Plan every picture's resize and crop."""

from typing import Annotated

from zenml import step

from materializers.bucket_plan import BucketPlanMaterializer
from sanaflow.buckets.plan import BucketPlan, plan_crops
from sanaflow.config import DatasetSettings
from sanaflow.images.table import ImageTable
from sanaflow.model.reference import ModelReference
from steps.code_dependencies import code_of


@step(
    cache_policy=code_of("sanaflow.buckets.plan", "sanaflow.model.loading"), output_materializers=BucketPlanMaterializer
)
def assign_buckets(
    table: ImageTable, model: ModelReference, datasets: tuple[DatasetSettings, ...]
) -> Annotated[BucketPlan, "bucket_plan"]:
    """Assign each picture to the aspect bucket nearest to its shape, with its resize and crop. Reads no pixels."""
    from sanaflow.model.loading import pixels_per_token

    return plan_crops(table.pictures, datasets, alignment=pixels_per_token(model))
