"""The plan to what is still to be encoded."""

from typing import Annotated

from zenml import step

from materializers.latent_work import LatentWorkMaterializer
from materializers.shards import shard_store
from sanaflow.buckets.plan import BucketPlan
from sanaflow.cache.parts import LatentWork
from sanaflow.config import CacheSettings
from sanaflow.images.table import ImageTable
from sanaflow.model.reference import ModelReference
from steps.code_dependencies import code_of
from steps.shard_state import latents_state


@step(
    cache_policy=code_of("sanaflow.cache.latent_cache", state=latents_state),
    output_materializers=LatentWorkMaterializer,
)
def look_up_latents(
    table: ImageTable, plan: BucketPlan, model: ModelReference, caches: CacheSettings
) -> Annotated[LatentWork, "latent_work"]:
    """See which crops the store holds, and split the others into `encode_workers` parts of about the same cost."""
    from sanaflow.cache.latent_cache import look_up_latents as look_up

    return look_up(table, plan, model=model, settings=caches, store=shard_store("latents"))
