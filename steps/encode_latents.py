"""Pictures to latents."""

from typing import Annotated

from zenml import step

from materializers.encoded_part import EncodedPartMaterializer
from materializers.shards import shard_store
from sanaflow.cache.parts import EncodedPart, LatentWork
from sanaflow.config import CacheSettings
from sanaflow.images.table import ImageTable
from sanaflow.model.reference import ModelReference
from steps.code_dependencies import code_of
from steps.shard_state import latents_state


@step(
    cache_policy=code_of("sanaflow.cache.latent_cache", state=latents_state),
    output_materializers=EncodedPartMaterializer,
)
def encode_latents(
    work: LatentWork, table: ImageTable, model: ModelReference, caches: CacheSettings, worker: int
) -> Annotated[EncodedPart, "encoded_latents"]:
    """Encode one worker's part of the missing crops with the model's autoencoder, into the store."""
    from sanaflow.cache.latent_cache import encode_latents as encode

    return encode(work, table, worker=worker, model=model, settings=caches, store=shard_store("latents"))
