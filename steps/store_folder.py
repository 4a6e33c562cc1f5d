"""Where the library keeps pictures, checkpoints and weights: beside the artifacts, or on this machine."""

from pathlib import Path

from zenml.client import Client
from zenml.config.global_config import GlobalConfiguration

from sanaflow.digests import digest_of


def store_folder(name: str) -> Path:
    """The folder `name` of this project in the active artifact store; if that is no folder here, one of its own here.

    Latents and embeddings are not kept here: see `materializers.shards`.
    """
    store = Client().active_stack.artifact_store
    if "://" in store.path:
        return Path(GlobalConfiguration().local_stores_path) / "sanaflow" / digest_of(store.path)[:16] / name
    return Path(store.path) / "sanaflow" / name
