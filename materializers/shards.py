"""The shards of an artifact store, for steps and materializers."""

import os
from pathlib import Path
from typing import IO

from zenml.artifact_stores import BaseArtifactStore
from zenml.client import Client
from zenml.config.global_config import GlobalConfiguration

from sanaflow.cache.folder import FolderStore
from sanaflow.cache.remote import RemoteStore
from sanaflow.cache.store import ShardStore
from sanaflow.digests import digest_of
from sanaflow.errors import InputError

LIMIT_GIB = 50.0


def shard_store(name: str, artifact_store: BaseArtifactStore | None = None) -> ShardStore:
    """The shards `name` of this project in an artifact store, by default the active one.

    Copies of what lies elsewhere are kept in SANAFLOW_SHARD_CACHE, at most SANAFLOW_SHARD_CACHE_GIB (50) a `name`.

    Raises:
        InputError: The store or the folder for copies can't be used.
    """
    artifact_store = artifact_store or Client().active_stack.artifact_store
    if "://" not in artifact_store.path:
        return FolderStore(Path(artifact_store.path) / "sanaflow" / name)
    address = f"{artifact_store.path.rstrip('/')}/sanaflow/{name}"
    here = os.environ.get("SANAFLOW_SHARD_CACHE") or str(
        Path(GlobalConfiguration().local_stores_path) / "sanaflow-shards"
    )
    return RemoteStore(
        FreshListing(artifact_store),
        address,
        here=Path(here, digest_of(address)[:16]),
        limit=int(_limit_gib() * 2**30),
    )


def _limit_gib() -> float:
    text = os.environ.get("SANAFLOW_SHARD_CACHE_GIB", str(LIMIT_GIB))
    try:
        limit = float(text)
    except ValueError:
        limit = 0.0
    if not 0 < limit < float("inf"):
        raise InputError(f"SANAFLOW_SHARD_CACHE_GIB is '{text}': set it to a number of GiB above 0")
    return limit


class FreshListing:
    """An artifact store that lists what is there now: fsspec's remember what was there when they looked first."""

    def __init__(self, artifact_store: BaseArtifactStore) -> None:
        self._store = artifact_store

    def listdir(self, path: str) -> list[str]:
        """Names in a folder."""
        self._forget()
        return [str(name) for name in self._store.listdir(path)]

    def exists(self, path: str) -> bool:
        """Whether there is a file."""
        self._forget()
        return self._store.exists(path)

    def open(self, path: str, mode: str = "r") -> IO:
        """Open a file."""
        return self._store.open(path, mode)

    def size(self, path: str) -> int | None:
        """Bytes of a file."""
        return self._store.size(path)

    def rename(self, src: str, dst: str, overwrite: bool = False) -> None:
        """Move a file."""
        self._store.rename(src, dst, overwrite=overwrite)

    def remove(self, path: str) -> None:
        """Delete a file."""
        self._store.remove(path)

    def _forget(self) -> None:
        forget = getattr(getattr(self._store, "filesystem", None), "invalidate_cache", None)
        if forget:
            forget()
