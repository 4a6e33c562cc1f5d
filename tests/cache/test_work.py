import numpy as np
import pandas as pd
import pytest
import torch

from sanaflow.cache.folder import FolderStore
from sanaflow.cache.work import encode_claimed, shards_of, share_out


def rows(count, batch=4, shape="64x64"):
    return pd.DataFrame(
        {
            "key": [f"{number:064x}" for number in range(count)],
            "shape": shape,
            "batch": [number // batch for number in range(count)],
        }
    )


@pytest.mark.parametrize("workers", [1, 3, 7])
def test_workers_get_neighbouring_batches_of_about_the_same_cost(workers):
    costs = np.random.default_rng(0).uniform(1, 9, 200)
    shared = share_out(rows(200, batch=3), costs, workers)
    assert (shared["worker"].diff().dropna() >= 0).all()
    assert (shared.groupby("batch")["worker"].nunique() == 1).all()
    loads = [costs[shared["worker"] == worker].sum() for worker in range(workers)]
    assert max(loads) - min(loads) < 2 * 3 * costs.max()


def test_more_workers_than_batches_leave_some_without_work():
    assert share_out(rows(8), np.ones(8), 8)["worker"].nunique() == 2
    assert share_out(rows(0), np.ones(0), 8).empty


def test_a_shard_has_one_shape_whole_batches_and_at_most_so_many_bytes():
    missing = pd.concat([rows(10), rows(3, shape="64x128")])
    shards = shards_of(missing, size_of=lambda row: 10, limit=85)
    keys = [[len(batch) for batch in shard.batches] for shard in shards]
    assert keys == [[4, 4], [2], [3]]
    assert {row.shape for row in shards[-1].batches[0]} == {"64x128"}


def test_a_batch_larger_than_a_shard_is_a_shard():
    assert len(shards_of(rows(8), size_of=lambda row: 100, limit=50)) == 2


@pytest.fixture
def store(tmp_path):
    return FolderStore(tmp_path)


def pack(ones):
    return {"latents": torch.stack(ones)}


def test_what_another_process_is_making_is_left_to_it_and_made_if_it_dies(store, monkeypatch):
    shards = shards_of(rows(8), size_of=lambda row: 100, limit=400)
    asked = []

    def claims():
        def claim(key, wait):
            asked.append((key, wait))
            return wait or key != shards[0].key()  # the first shard is another's

        class Block:
            def __enter__(self):
                return claim

            def __exit__(self, *error):
                pass

        return Block()

    monkeypatch.setattr(store, "claims", claims)
    order = []

    def encode(some):
        for shard in some:
            order.append(shard.key())
            store.write({row.key: torch.zeros(1) for batch in shard.batches for row in batch}, pack, model="m")

    encode_claimed(shards, store, encode)
    assert order == [shards[1].key(), shards[0].key()]
    assert asked == [(shards[0].key(), False), (shards[1].key(), False), (shards[0].key(), True)]
    order.clear()
    encode_claimed(shards, store, encode)
    assert order == [], "all of it is there"


def test_of_a_shard_that_is_partly_there_only_the_rest_is_encoded(store):
    [shard] = shards_of(rows(8), size_of=lambda row: 1, limit=400)
    there = [row.key for row in shard.batches[0]]
    store.write({key: torch.zeros(1) for key in there}, pack, model="m")
    encoded = []
    encode_claimed([shard], store, lambda some: encoded.extend(row.key for s in some for b in s.batches for row in b))
    assert encoded == [row.key for row in shard.batches[1]]
