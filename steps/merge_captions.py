"""Encoded parts to the caption cache."""

from typing import Annotated

from zenml import step

from materializers.caption_cache import CaptionCacheMaterializer
from materializers.shards import shard_store
from sanaflow.cache.index import CaptionCache
from sanaflow.cache.parts import CaptionWork, EncodedPart
from steps.code_dependencies import code_of
from steps.shard_state import captions_state


@step(
    cache_policy=code_of("sanaflow.cache.caption_cache", state=captions_state),
    output_materializers=CaptionCacheMaterializer,
)
def merge_captions(work: CaptionWork, parts: list[EncodedPart]) -> Annotated[CaptionCache, "caption_cache"]:
    """Index every text's embedding, those that were found and those that were encoded."""
    from sanaflow.cache.caption_cache import merge_captions as merge

    return merge(work, parts, store=shard_store("captions"))
