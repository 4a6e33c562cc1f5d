"""Captions and prompts to what is still to be encoded."""

from typing import Annotated

from zenml import step

from materializers.caption_work import CaptionWorkMaterializer
from materializers.shards import shard_store
from sanaflow.cache.parts import CaptionWork
from sanaflow.config import CacheSettings
from sanaflow.images.table import ImageTable
from sanaflow.model.reference import ModelReference
from steps.code_dependencies import code_of
from steps.shard_state import captions_state


@step(
    cache_policy=code_of("sanaflow.cache.caption_cache", state=captions_state),
    output_materializers=CaptionWorkMaterializer,
)
def look_up_captions(
    table: ImageTable, model: ModelReference, caches: CacheSettings, prompts: list[str], negative_prompts: list[str]
) -> Annotated[CaptionWork, "caption_work"]:
    """See which captions and prompts the store holds, and split the others into `encode_workers` parts."""
    from sanaflow.cache.caption_cache import look_up_captions as look_up

    return look_up(
        table,
        prompts=prompts,
        negative_prompts=negative_prompts,
        model=model,
        settings=caches,
        store=shard_store("captions"),
    )
