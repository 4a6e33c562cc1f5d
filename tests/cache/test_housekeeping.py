import os
import time

import pandas as pd
import pytest
import torch

from sanaflow.cache.folder import FolderStore
from sanaflow.cache.housekeeping import NOBODY, unneeded, usage


@pytest.fixture
def store(tmp_path):
    return FolderStore(tmp_path / "store")


def add(store, keys, model="m"):
    before = set(store.names())
    store.write({key: torch.zeros(100) for key in keys}, lambda ones: {"latents": torch.stack(ones)}, model=model)
    [name] = set(store.names()) - before
    return name


def test_entries_and_bytes_are_told_by_model_and_data_set(store):
    shards = [add(store, ["a", "b", "c"]), add(store, ["d"], model="other")]
    owners = pd.DataFrame({"key": ["a", "a", "b", "d", "a"], "dataset": ["one", "two", "one", "one", "one"]})
    table = usage(store, owners).set_index(["model", "dataset"])
    assert table["entries"].to_dict() == {("m", NOBODY): 1, ("m", "one"): 2, ("m", "two"): 1, ("other", "one"): 1}
    each = store.files()[shards[0]].size // 3
    assert table.loc[("m", "one"), "bytes"] == pytest.approx(2 * each, abs=2)
    assert usage(FolderStore(store.folder / "empty"), owners).empty


def test_only_old_shards_without_an_owner_and_damaged_ones_may_go(store):
    owned, orphan, young = (add(store, [name]) for name in "abc")
    broken = add(store, ["d"])
    (store.folder / broken).write_bytes(b"torn")
    store.put_aside(broken)
    for name in (owned, orphan):
        os.utime(store.folder / name, (time.time() - 7200,) * 2)
    found = unneeded(store, {owned}, min_age_seconds=3600)
    assert set(found) == {orphan, broken.replace(".safetensors", ".damaged")}
    assert young not in found
    assert found[orphan] == (store.folder / orphan).stat().st_size
    assert set(unneeded(store, {owned}, min_age_seconds=0)) == set(found) | {young}


def test_a_torn_shard_is_not_counted(store):
    add(store, ["a"])
    (store.folder / add(store, ["b"])).write_bytes(b"torn")
    assert usage(FolderStore(store.folder), pd.DataFrame({"key": [], "dataset": []}))["entries"].tolist() == [1]
