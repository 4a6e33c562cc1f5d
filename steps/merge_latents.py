"""Encoded parts to the latent cache."""

from typing import Annotated

from zenml import step

from materializers.latent_cache import LatentCacheMaterializer
from materializers.shards import shard_store
from sanaflow.cache.index import LatentCache
from sanaflow.cache.parts import EncodedPart, LatentWork
from steps.code_dependencies import code_of
from steps.shard_state import latents_state


@step(
    cache_policy=code_of("sanaflow.cache.latent_cache", state=latents_state),
    output_materializers=LatentCacheMaterializer,
)
def merge_latents(work: LatentWork, parts: list[EncodedPart]) -> Annotated[LatentCache, "latent_cache"]:
    """Index every crop's latents, those that were found and those that were encoded."""
    from sanaflow.cache.latent_cache import merge_latents as merge

    return merge(work, parts, store=shard_store("latents"))
