"""What the encoding steps' caching also depends on: that no shard has gone since. ZenML can't see that by itself."""

import uuid

from materializers.shards import shard_store
from sanaflow.errors import InputError


def latents_state() -> str:
    """Changes when a shard of latents was found damaged or missing, or was pruned."""
    return _state("latents")


def captions_state() -> str:
    """The same of embeddings."""
    return _state("captions")


def _state(name: str) -> str:
    try:
        return shard_store(name).state()
    except InputError:  # ZenML would wrap it in a trace: let the step run and say it in one line
        return uuid.uuid4().hex
