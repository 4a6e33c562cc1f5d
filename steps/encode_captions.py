"""Captions and prompts to embeddings."""

from typing import Annotated

from zenml import step

from materializers.encoded_part import EncodedPartMaterializer
from materializers.shards import shard_store
from sanaflow.cache.parts import CaptionWork, EncodedPart
from sanaflow.config import CacheSettings
from sanaflow.model.reference import ModelReference
from steps.code_dependencies import code_of
from steps.shard_state import captions_state


@step(
    cache_policy=code_of("sanaflow.cache.caption_cache", state=captions_state),
    output_materializers=EncodedPartMaterializer,
)
def encode_captions(
    work: CaptionWork, model: ModelReference, caches: CacheSettings, worker: int
) -> Annotated[EncodedPart, "encoded_captions"]:
    """Encode one worker's part of the missing texts with the model's text encoder, into the store."""
    from sanaflow.cache.caption_cache import encode_captions as encode

    return encode(work, worker=worker, model=model, settings=caches, store=shard_store("captions"))
