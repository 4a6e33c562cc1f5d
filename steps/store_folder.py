"""Where the library keeps pictures, checkpoints and weights: beside the artifacts, or on this machine."""

from pathlib import Path

from zenml.client import Client
from zenml.config.global_config import GlobalConfiguration

from materializers.shards import FreshListing
from sanaflow.digests import digest_of
from sanaflow.training.mirror import Mirror


def store_folder(name: str) -> Path:
    """The folder `name` of this project in the active artifact store; if that is no folder here, one of its own here.

    Latents and embeddings are not kept here: see `materializers.shards`.
    """
    store = Client().active_stack.artifact_store
    if "://" in store.path:
        return Path(GlobalConfiguration().local_stores_path) / "sanaflow" / digest_of(store.path)[:16] / name
    return Path(store.path) / "sanaflow" / name


def checkpoint_mirror(run: str) -> Mirror | None:
    """Where a run's checkpoints are copied to if the artifact store is no folder here, for any machine to go on."""
    store = Client().active_stack.artifact_store
    if "://" not in store.path:
        return None
    return Mirror(FreshListing(store), f"{store.path.rstrip('/')}/sanaflow/training/{run}/checkpoints")
