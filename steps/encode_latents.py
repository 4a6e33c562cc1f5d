"""Pictures to latents."""

from typing import Annotated

from zenml import step

from materializers.latent_cache import LatentCacheMaterializer
from sanaflow.buckets.plan import BucketPlan
from sanaflow.cache.index import LatentCache
from sanaflow.config import CacheSettings
from sanaflow.images.table import ImageTable
from sanaflow.model.reference import ModelReference
from steps.code_dependencies import code_of
from steps.store_folder import store_folder


@step(cache_policy=code_of("sanaflow.cache.latents"), output_materializers=LatentCacheMaterializer)
def encode_latents(
    table: ImageTable, plan: BucketPlan, model: ModelReference, caches: CacheSettings
) -> Annotated[LatentCache, "latent_cache"]:
    """Encode every crop that the store doesn't hold yet with the model's autoencoder."""
    from sanaflow.cache.latents import encode_latents as encode

    return encode(table, plan, model=model, settings=caches, folder=store_folder("latents"))
