"""Captions and prompts to embeddings."""

from typing import Annotated

from zenml import step

from materializers.caption_cache import CaptionCacheMaterializer
from sanaflow.cache.index import CaptionCache
from sanaflow.config import CacheSettings
from sanaflow.images.table import ImageTable
from sanaflow.model.reference import ModelReference
from steps.code_dependencies import code_of
from steps.store_folder import store_folder


@step(cache_policy=code_of("sanaflow.cache.captions"), output_materializers=CaptionCacheMaterializer)
def encode_captions(
    table: ImageTable, model: ModelReference, caches: CacheSettings, prompts: list[str], negative_prompts: list[str]
) -> Annotated[CaptionCache, "caption_cache"]:
    """Encode every caption and prompt that the store doesn't hold yet with the model's text encoder."""
    from sanaflow.cache.captions import encode_captions as encode

    return encode(
        table,
        prompts=prompts,
        negative_prompts=negative_prompts,
        model=model,
        settings=caches,
        folder=store_folder("captions"),
    )
