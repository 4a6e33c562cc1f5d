import os
import signal
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file

from sanaflow.cache.store import Location, ShardStore
from sanaflow.errors import InputError


@pytest.fixture
def store(tmp_path):
    return ShardStore(tmp_path / "store")


def shard_of(store, *keys, seed=0):
    numbers = torch.randn(len(keys), 4, generator=torch.Generator().manual_seed(seed))
    return store.write(keys, {"latents": numbers}), numbers


def test_what_was_written_is_found_and_read_back(store):
    name, numbers = shard_of(store, "a", "b")
    assert store.find(["b", "a", "c"]) == {"a": Location(name, 0), "b": Location(name, 1)}
    assert torch.equal(store.read(name, "latents")[0], numbers)


def test_a_shard_is_named_by_its_content(store):
    first, _ = shard_of(store, "a")
    again, _ = shard_of(store, "a")
    other, _ = shard_of(store, "a", seed=1)
    assert first == again != other


@pytest.mark.parametrize("damage", ["flip a bit", "cut short", "empty"])
def test_a_damaged_shard_is_put_aside_and_its_entries_are_missing_again(store, damage):
    name, _ = shard_of(store, "a")
    kept, _ = shard_of(store, "b")
    data = bytearray((store.folder / name).read_bytes())
    data[-1] ^= 1
    (store.folder / name).write_bytes({"flip a bit": data, "cut short": data[:-8], "empty": b""}[damage])
    assert store.find(["a", "b"]) == {"b": Location(kept, 0)}
    assert [p.suffix for p in store.folder.iterdir() if p.stem == name.split(".")[0]] == [".damaged"]
    with pytest.raises(InputError, match="missing or damaged"):
        store.verify([name])


def test_a_missing_shard_says_how_to_make_it_anew(store):
    with pytest.raises(InputError, match=r"encode_latents and encode_captions.*makes it anew"):
        store.read("gone.safetensors", "latents")


def test_a_writer_that_is_killed_leaves_whole_shards_only(tmp_path):
    script = f"""
import torch
from pathlib import Path
from sanaflow.cache.store import ShardStore
store = ShardStore(Path({str(tmp_path / "store")!r}))
for number in range(10**6):
    store.write([str(number)], {{"latents": torch.full((1, 250_000), float(number))}})
    print(number, flush=True)
"""
    writer = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    done = [int(writer.stdout.readline()) for _ in range(20)]
    os.kill(writer.pid, signal.SIGKILL)
    writer.wait()
    store = ShardStore(tmp_path / "store")
    found = store.find(map(str, range(1000)))
    assert set(map(str, done)) <= set(found)
    for key, place in found.items():
        assert store.read(place.shard, "latents")[0][place.row, 0] == float(key)
    assert not list(store.folder.glob("*.damaged"))


def test_a_folder_that_can_not_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=f"can't make the folder '{tmp_path}/file/store'"):
        ShardStore(tmp_path / "file" / "store")


def test_a_shard_that_can_not_be_read_for_a_moment_is_not_thrown_away(store):
    name, _ = shard_of(store, "a")
    (store.folder / name).rename(store.folder / "kept")
    (store.folder / name).symlink_to(store.folder)  # reading it is an OSError, not damage
    with pytest.raises(InputError, match="can't read the cache file"):
        store.find(["a"])
    assert (store.folder / name).is_symlink()


def test_a_safetensors_file_of_someone_else_is_left_alone(store):
    save_file({"x": torch.zeros(1)}, store.folder / "other.safetensors")
    assert store.find(["a"]) == {}
    assert (store.folder / "other.safetensors").is_file()
