import os
import resource
import signal
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file

from sanaflow.cache.folder import FolderStore
from sanaflow.cache.shard import Location
from sanaflow.errors import InputError


@pytest.fixture
def store(tmp_path):
    return FolderStore(tmp_path / "store")


def pack(ones):
    return {"latents": torch.stack(ones)}


def add(store, *keys, seed=0):
    """Write a shard and return its name and its numbers."""
    noise = torch.Generator().manual_seed(seed)
    entries = {key: torch.randn(4, generator=noise) for key in keys}
    before = set(store.names())
    store.write(entries, pack, model="m")
    [name] = set(store.names()) - before or before
    return name, torch.stack(list(entries.values()))


def test_what_was_written_is_found_and_read_back(store):
    name, numbers = add(store, "a", "b")
    assert store.find(["b", "a", "c"]) == {"a": Location(name, 0), "b": Location(name, 1)}
    assert torch.equal(store.read(name)["latents"], numbers)
    header = store.contents(name)
    assert (header.keys, header.lengths, header.model) == (["a", "b"], [4, 4], "m")
    assert header.size == (store.folder / name).stat().st_size == store.files()[name].size


def test_a_shard_is_named_by_its_content(tmp_path):
    names = [add(FolderStore(tmp_path / str(number)), "a", seed=seed)[0] for number, seed in enumerate((0, 0, 1))]
    assert names[0] == names[1] != names[2]


def test_an_entry_is_never_there_twice(store):
    first, _ = add(store, "a", "b")
    assert store.write({"b": torch.zeros(4), "c": torch.ones(4)}, pack, model="m") > 0
    places = store.find(["a", "b", "c"])
    assert places["b"] == Location(first, 1)
    assert torch.equal(store.read(places["c"].shard)["latents"], torch.ones(1, 4))
    assert store.write({"a": torch.zeros(4)}, pack, model="m") == 0
    assert len(store.names()) == 2


@pytest.mark.parametrize("damage", ["flip a bit", "cut short", "empty", "garbage", "a header without end"])
def test_a_damaged_shard_is_put_aside_and_its_entries_are_missing_again(store, damage):
    name, _ = add(store, "a")
    kept, _ = add(store, "b", seed=1)
    before = store.state()
    data = bytearray((store.folder / name).read_bytes())
    data[-1] ^= 1
    damaged = {
        "flip a bit": data,
        "cut short": data[:-8],
        "empty": b"",
        "garbage": os.urandom(500),
        "a header without end": (10**12).to_bytes(8, "little") + data[8:],
    }
    (store.folder / name).write_bytes(damaged[damage])
    again = FolderStore(store.folder)
    assert again.find(["a", "b"]) == {"b": Location(kept, 0)}
    assert [p.suffix for p in store.folder.iterdir() if p.stem == name.split(".")[0]] == [".damaged"]
    assert again.state() != before, "an index made before is outdated"
    with pytest.raises(InputError, match="missing or damaged: run again"):
        again.check([name])


def test_damage_in_a_process_that_knew_the_shard_is_found_too(store):
    name, _ = add(store, "a")
    store.check([name])
    with (store.folder / name).open("rb+") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x55")
    with pytest.raises(InputError, match=f"{name}' is missing or damaged"):
        store.check([name])
    assert store.names() == []


def test_the_state_changes_only_when_something_is_gone(store):
    before = store.state()
    add(store, "a")
    assert store.state() == before == FolderStore(store.folder).state()
    with pytest.raises(InputError, match="missing or damaged"):
        store.check(["gone.safetensors"])
    assert store.state() != before


def test_a_writer_that_is_killed_leaves_whole_shards_only(tmp_path):
    script = f"""
import torch
from pathlib import Path
from sanaflow.cache.folder import FolderStore
store = FolderStore(Path({str(tmp_path / "store")!r}))
for number in range(10**6):
    entry = {{str(number): torch.full((250_000,), float(number))}}
    store.write(entry, lambda ones: {{"latents": torch.stack(ones)}}, model="m")
    print(number, flush=True)
"""
    writer = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    done = [int(writer.stdout.readline()) for _ in range(20)]
    os.kill(writer.pid, signal.SIGKILL)
    writer.wait()
    store = FolderStore(tmp_path / "store")
    found = store.find(map(str, range(1000)))
    assert set(map(str, done)) <= set(found)
    for key, place in found.items():
        assert store.read(place.shard)["latents"][place.row, 0] == float(key)
    assert not list(store.folder.glob("*.damaged"))


def test_a_full_disk_is_told_and_leaves_the_store_as_it_was(tmp_path):
    """A real file system of 2 MiB where one may be mounted, else a limit on the size of files."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = (
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", disk], capture_output=True).returncode == 0
    )
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        store = FolderStore(disk / "store")
        name, numbers = add(store, "small")
        if not mounted:
            resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, limits[1]))
        with pytest.raises(InputError, match=r"can't write to '.*store' \(.*free some space"):
            store.write({"large": torch.zeros(10**6)}, pack, model="m")
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert [path.name for path in store.folder.glob("*.*")] == [name], "nothing unfinished is left"
        assert torch.equal(FolderStore(store.folder).read(name)["latents"], numbers)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        if mounted:
            subprocess.run(["umount", disk], check=True)


def test_a_claim_is_seen_by_other_processes_and_free_when_its_holder_is_killed(store):
    key = "0123456789abcdef"
    script = f"""
import sys
from pathlib import Path
from sanaflow.cache.folder import FolderStore
with FolderStore(Path({store.place!r})).claims() as claim:
    print(claim({key!r}, False), flush=True)
    sys.stdin.read()
"""
    other = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdout.readline() == "True\n"
    with store.claims() as claim:
        assert not claim(key, False)
        assert claim("1" + key[1:], False), "another key is free"
        other.kill()
        other.wait()
        assert claim(key, True)


def test_a_folder_that_can_not_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=f"can't make the folder '{tmp_path}/file/store'"):
        FolderStore(tmp_path / "file" / "store")


def test_a_shard_that_can_not_be_read_for_a_moment_is_not_thrown_away(store):
    name, _ = add(store, "a")
    (store.folder / name).rename(store.folder / "kept")
    (store.folder / name).symlink_to(store.folder)  # reading it is an OSError, not damage
    with pytest.raises(InputError, match="can't read the cache file"):
        FolderStore(store.folder).find(["a"])
    assert (store.folder / name).is_symlink()


def test_a_safetensors_file_of_someone_else_is_left_alone(store):
    save_file({"x": torch.zeros(1)}, store.folder / "other.safetensors")
    assert store.find(["a"]) == {}
    assert (store.folder / "other.safetensors").is_file()


def test_a_shard_that_was_encoded_again_meanwhile_is_not_put_aside(store):
    name, _ = add(store, "a")
    store.put_aside(name)
    assert store.names() == [name]


def test_an_entry_that_is_there_twice_is_found_when_one_shard_is_damaged(store):
    first, _ = add(store, "a")
    (store.folder / first).rename(store.folder / "kept")
    second, _ = add(store, "a", seed=1)
    (store.folder / "kept").rename(store.folder / first)
    with (store.folder / min(first, second)).open("rb+") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x55")
    again = FolderStore(store.folder)
    assert again.find(["a"]) == {"a": Location(max(first, second), 0)}


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to mount a read-only folder")
def test_a_store_that_can_not_be_written_is_read_and_says_so_when_something_is_new(store, tmp_path):
    name, numbers = add(store, "a")
    store.state()
    view = tmp_path / "view"
    view.mkdir()
    if subprocess.run(["mount", "--bind", "-r", store.folder, view], capture_output=True).returncode:
        pytest.skip("may not mount")
    try:
        if os.access(view, os.W_OK):
            subprocess.run(["mount", "-o", "remount,ro,bind", view], check=True)
        read_only = FolderStore(view)
        assert read_only.find(["a"]) == {"a": Location(name, 0)}
        assert torch.equal(read_only.read(name)["latents"], numbers)
        for attempt in (
            lambda: read_only.write({"b": torch.zeros(1)}, pack, model="m"),
            lambda: read_only.remove(name),
        ):
            with pytest.raises(InputError, match="can't write to"):
                attempt()
        with pytest.raises(InputError, match="missing or damaged"):
            read_only.check(["gone.safetensors"])
    finally:
        subprocess.run(["umount", view], check=True)
