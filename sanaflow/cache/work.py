"""What is to be encoded, split into parts that steps of their own can do, and how a part is done."""

from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd

from sanaflow.cache.shard import Location
from sanaflow.cache.store import LISTING_SECONDS, ShardStore
from sanaflow.digests import digest_of
from sanaflow.errors import InputError

Batch = list[Any]
"""Rows that are encoded together: the same ones whatever the number of workers, so that they give the same bytes."""


@dataclass(frozen=True)
class PlannedShard:
    """Batches that will make one shard."""

    batches: list[Batch]

    def key(self) -> str:
        """The same for every process that has this very shard to make."""
        return digest_of([row.key for batch in self.batches for row in batch])


def share_out(missing: pd.DataFrame, costs: np.ndarray, workers: int) -> pd.DataFrame:
    """Add the column `worker`: whole batches, neighbours to the same worker, about the same cost to each.

    Args:
        missing: Rows in their order, with `shape` and `batch`.
        costs: Of each row.
        workers: How many.
    """
    numbers = missing.groupby(["shape", "batch"], sort=False).ngroup().to_numpy()
    batches = np.bincount(numbers, weights=costs)
    middle = np.cumsum(batches) - batches / 2
    worker = np.minimum(middle / max(batches.sum(), 1e-9) * workers, workers - 1).astype(int)
    return missing.assign(worker=worker[numbers]).reset_index(drop=True)


def shards_of(missing: pd.DataFrame, *, size_of: Callable[[Any], int], limit: int) -> list[PlannedShard]:
    """A worker's rows as shards of at most `limit` bytes, or one batch.

    Args:
        missing: Rows in their order, with `shape`, what may share a shard, and `batch`, what is encoded together.
        size_of: Bytes that a row's tensor will have.
        limit: Bytes.
    """
    shards = []
    for _, rows in groupby(missing.itertuples(), key=lambda row: row.shape):
        batches: list[Batch] = []
        size = 0
        for _, batch in groupby(rows, key=lambda row: row.batch):
            listed = list(batch)
            more = sum(map(size_of, listed))
            if batches and size + more > limit:
                shards.append(PlannedShard(batches))
                batches, size = [], 0
            batches.append(listed)
            size += more
        shards.append(PlannedShard(batches))
    return shards


def left_to_do(missing: pd.DataFrame, worker: int, store: ShardStore) -> pd.DataFrame:
    """A worker's rows, without those that are in the store by now: it may have been killed in the midst of its part."""
    part = missing[missing["worker"] == worker]
    return part[~part["key"].isin(store.find(part["key"]))]


def locate(keys: Iterable[str], store: ShardStore, *, failed: Container[str] = ()) -> dict[str, Location]:
    """Where all keys lie, but for those that failed.

    Raises:
        InputError: One is neither in the store nor failed.
    """
    keys = list(keys)
    found = store.find(keys)
    if absent := {key for key in keys if key not in found and key not in failed}:
        store.renew_state()
        raise InputError(f"{len(absent):,} entries are no longer in '{store.place}': run again, to encode them anew")
    return found


def encode_claimed(
    shards: list[PlannedShard], store: ShardStore, encode: Callable[[Iterator[PlannedShard]], None]
) -> None:
    """Let `encode` write shards that no other process is making now; then see to those that one was making.

    Args:
        shards: All.
        store: Where they go. Nothing that is there meanwhile is encoded once more.
        encode: Encodes and writes the shards it is given before it returns.
    """
    elsewhere = []

    def ours(claim: Callable[[str, bool], bool]) -> Iterator[PlannedShard]:
        for shard in shards:
            if claim(shard.key(), False):
                yield from _unfound(shard, store)
            else:
                elsewhere.append(shard)

    with store.claims() as claim:
        encode(ours(claim))
    for shard in elsewhere:  # whoever waits holds no claim, so that nobody waits for ever
        with store.claims() as claim:
            claim(shard.key(), True)
            encode(_unfound(shard, store))


def _unfound(shard: PlannedShard, store: ShardStore) -> Iterator[PlannedShard]:
    found = store.find((row.key for batch in shard.batches for row in batch), age=LISTING_SECONDS)
    left = [[row for row in batch if row.key not in found] for batch in shard.batches]
    if any(left):
        yield PlannedShard([batch for batch in left if batch])
