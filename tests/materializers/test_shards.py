"""Shards in ZenML's artifact stores: the S3 one on a real S3 server, in place of any that is no folder here."""

import contextlib
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

from materializers.shards import shard_store
from sanaflow.cache.folder import FolderStore
from sanaflow.cache.shard import Location
from sanaflow.errors import InputError
from steps.shard_state import latents_state


@pytest.fixture
def copies(tmp_path, monkeypatch) -> Path:
    """Where copies are kept on this machine."""
    monkeypatch.setenv("SANAFLOW_SHARD_CACHE", str(tmp_path / "copies"))
    return tmp_path / "copies"


def pack(ones):
    return {"latents": torch.stack(ones)}


def add(store, *keys, size=4):
    before = set(store.names())
    store.write({key: torch.full((size,), float(hash(key) % 97)) for key in keys}, pack, model="m")
    [name] = set(store.names()) - before
    return name


def size_of(copies: Path) -> int:
    size = 0
    for path in copies.rglob("*.*"):
        with contextlib.suppress(FileNotFoundError):
            size += path.stat().st_size
    return size


def test_a_local_artifact_store_keeps_shards_beside_the_artifacts():
    store = shard_store("latents")
    assert isinstance(store, FolderStore)
    assert store.folder.parts[-2:] == ("sanaflow", "latents")


def test_what_one_machine_writes_another_finds_and_reads(s3_stack, copies):
    one, other = shard_store("latents"), shard_store("latents")
    assert other.find(["a"]) == {}
    name = add(one, "a", "b")
    assert other.find(["b", "c"]) == {"b": Location(name, 1)}, "its listing is not an old one"
    assert torch.equal(other.read(name)["latents"], one.read(name)["latents"])
    assert other.contents(name).keys == ["a", "b"]
    [(listed, file)] = other.files().items()
    assert (listed, file.size) == (name, other.contents(name).size)
    assert 0 <= time.time() - file.written < 60
    assert shard_store("captions").names() == []


def test_looking_up_fetches_no_shard(s3_stack, copies):
    name = add(shard_store("latents"), "a", size=10_000)
    store = shard_store("latents")
    assert store.find(["a"]) == {"a": Location(name, 0)}
    store.check([name])
    assert size_of(copies) == 0


@pytest.mark.parametrize("damage", ["cut short", "its keys torn", "its keys changed"])
def test_a_torn_shard_is_put_aside_when_it_is_looked_up(s3_stack, copies, damage):
    name = add(shard_store("latents"), "a")
    before = shard_store("latents").state()
    target = name if damage == "cut short" else f"{name}.keys"
    thing = s3_stack.Object(f"sanaflow/latents/{target}")
    data = thing.get()["Body"].read()
    thing.put(Body=data.replace(b'"a"', b'"b"') if damage == "its keys changed" else data[:-5])
    store = shard_store("latents")
    assert store.find(["a", "b"]) == {}
    assert [obj.key.rsplit(".", 1)[1] for obj in s3_stack.objects.filter(Prefix=f"sanaflow/latents/{name[:64]}")] == [
        "damaged"
    ]
    assert store.state() != before


def test_a_bit_that_flipped_is_found_when_the_shard_comes(s3_stack, copies):
    name = add(shard_store("latents"), "a")
    thing = s3_stack.Object(f"sanaflow/latents/{name}")
    data = bytearray(thing.get()["Body"].read())
    data[-1] ^= 1
    thing.put(Body=bytes(data))
    store = shard_store("latents")
    before = store.state()
    with pytest.raises(InputError, match=f"s3://zenml/sanaflow/latents/{name}' is missing or damaged: run again"):
        store.read(name)
    assert store.find(["a"]) == {}
    assert store.state() != before
    assert size_of(copies) == 0
    add(store, "a")
    assert store.read(store.find(["a"])["a"].shard)["latents"].shape == (1, 4)


def test_a_shard_that_is_gone_is_told(s3_stack, copies):
    store = shard_store("latents")
    name = add(store, "a")
    store.remove(name)
    for ask in (lambda: store.check([name]), lambda: store.read(name)):
        with pytest.raises(InputError, match="missing or damaged"):
            ask()


def test_copies_never_take_more_than_their_limit_and_all_is_read(s3_stack, copies, monkeypatch):
    writer = shard_store("latents")
    names = [add(writer, f"key {number}", size=250_000) for number in range(7)]  # 1 MB each
    monkeypatch.setenv("SANAFLOW_SHARD_CACHE_GIB", str(2.5e6 / 2**30))
    store, largest, done = shard_store("latents"), [0], threading.Event()

    def watch():
        while not done.is_set():
            largest[0] = max(largest[0], size_of(copies))
            time.sleep(0.001)

    watcher = threading.Thread(target=watch)
    watcher.start()
    for turn in range(2):
        for position, name in enumerate(names):
            store.expect(names[position:])
            row = store.find([f"key {position}"])[f"key {position}"].row
            assert store.read(name)["latents"][row, 0] == writer.read(name)["latents"][row, 0], turn
    done.set()
    watcher.join()
    assert 2_000_000 < largest[0] <= 2_500_000


def test_what_is_expected_comes_before_it_is_read(s3_stack, copies):
    names = [add(shard_store("latents"), f"key {number}", size=1000) for number in range(3)]
    store = shard_store("latents")
    store.expect(names)
    until = time.monotonic() + 20
    while len(list(copies.rglob("*.safetensors"))) < 3 and time.monotonic() < until:
        time.sleep(0.01)
    assert sorted(path.name for path in copies.rglob("*.safetensors")) == sorted(names)
    for name in names:
        s3_stack.Object(f"sanaflow/latents/{name}").delete()
        assert store.read(name)["latents"].shape == (1, 1000)


@pytest.mark.parametrize("damage", [b"torn", None])
def test_a_copy_that_was_damaged_here_is_fetched_again(s3_stack, copies, damage):
    name = add(shard_store("latents"), "a", size=1000)
    expected = shard_store("latents").read(name)["latents"].clone()
    [copy] = copies.rglob("*.safetensors")
    flipped = copy.read_bytes()[:-1] + bytes([copy.read_bytes()[-1] ^ 1])
    copy.write_bytes(flipped if damage is None else damage)
    assert torch.equal(shard_store("latents").read(name)["latents"], expected)


def test_a_read_that_finds_no_room_waits_for_what_is_on_its_way(s3_stack, copies, monkeypatch):
    names = [add(shard_store("latents"), f"key {number}", size=250_000) for number in range(3)]
    monkeypatch.setenv("SANAFLOW_SHARD_CACHE_GIB", str(2.5e6 / 2**30))
    store = shard_store("latents")
    fetch = store._copies._fetch
    monkeypatch.setattr(store._copies, "_fetch", lambda *args: (time.sleep(0.3), fetch(*args))[1])
    store.expect(names[:2])
    assert store.read(names[2])["latents"].shape == (1, 250_000)


def test_processes_that_share_the_folder_of_copies_read_all_of_it(s3_stack, copies, s3_url):
    names = [add(shard_store("latents"), f"key {number}", size=250_000) for number in range(6)]
    script = f"""
import random, s3fs
from pathlib import Path
from sanaflow.cache.remote import RemoteStore
class Files(s3fs.S3FileSystem):
    remove = s3fs.S3FileSystem.rm_file
    def listdir(self, path):
        return [entry["name"].rsplit("/", 1)[1] for entry in self.ls(path, detail=True)]
files = Files(endpoint_url={s3_url!r})
store = RemoteStore(files, "s3://zenml/sanaflow/latents", here=Path({str(copies / "shared")!r}), limit=3_500_000)
for _ in range(60):
    assert store.read(random.choice({names!r}))["latents"].shape == (1, 250_000)
print("READ")
"""
    readers = [
        subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    for reader in readers:
        output, errors = reader.communicate(timeout=120)
        assert output == "READ\n", errors


def test_a_store_that_can_not_tell_sizes_is_used_all_the_same(s3_stack, copies, monkeypatch):
    name = add(shard_store("latents"), "a")
    store = shard_store("latents")
    monkeypatch.setattr(type(store._files), "size", lambda self, path: None)
    assert store.find(["a"]) == {"a": Location(name, 0)}
    assert store.read(name)["latents"].shape == (1, 4)


def test_a_limit_below_one_shard_says_which_number_to_raise(s3_stack, copies, monkeypatch):
    name = add(shard_store("latents"), "a", size=1000)
    monkeypatch.setenv("SANAFLOW_SHARD_CACHE_GIB", "1e-9")
    with pytest.raises(InputError, match="raise SANAFLOW_SHARD_CACHE_GIB"):
        shard_store("latents").read(name)
    monkeypatch.setenv("SANAFLOW_SHARD_CACHE_GIB", "much")
    with pytest.raises(InputError, match="'much': set it to a number of GiB above 0"):
        shard_store("latents")
    assert latents_state() != latents_state(), "ZenML runs the step, which says it in one line"


def test_a_server_that_can_not_be_reached_is_one_line(s3_stack, copies, monkeypatch):
    store = shard_store("latents")

    def refuse(*args, **kwargs):
        raise ConnectionError("connection refused")

    monkeypatch.setattr(type(store._files), "listdir", refuse)
    with pytest.raises(InputError, match=r"can't use 's3://zenml/sanaflow/latents' \(connection refused\)"):
        store.find(["a"])
