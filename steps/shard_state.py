"""What the encoding steps' caching also depends on: that no shard has gone since. ZenML can't see that by itself."""

from materializers.shards import shard_store


def latents_state() -> str:
    """Changes when a shard of latents was found damaged or missing, or was pruned."""
    return shard_store("latents").state()


def captions_state() -> str:
    """The same of embeddings."""
    return shard_store("captions").state()
