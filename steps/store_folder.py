"""Where the library keeps shards, checkpoints and weights: beside the artifacts, in the active artifact store."""

from pathlib import Path

from zenml.client import Client

from sanaflow.errors import InputError


def store_folder(name: str) -> Path:
    """The folder `name` of this project in the active artifact store.

    Raises:
        InputError: The store is not a folder on this machine.
    """
    store = Client().active_stack.artifact_store
    if "://" in store.path:
        raise InputError(
            f"the artifact store '{store.path}' is not a local or mounted folder: use a stack whose store is one"
        )
    return Path(store.path) / "sanaflow" / name
