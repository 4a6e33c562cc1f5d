"""What grows with the data set, and what breaks first? Everything but the GPU's work, measured and extrapolated.

python -m benchmarks.scale [--json] [--rows 1000000] [--shards 10000]

- index: a latent cache's index of so many rows: bytes on disk, its digest, the order of an epoch;
- shards: a store of so many shards (tiny ones): writing their index, finding all keys in it anew;
- shuffle: batches drawn at random over an object store, with room on this machine for a part of the shards only.

Each is a process of its own, so that its peak memory is its own. Planning crops is in `python -m benchmarks.plan`,
ZenML's own time in `python -m benchmarks.reruns`.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd

ROOMS = (1.0, 0.5, 0.25)
"""Shares of all shards that there is room for."""


@click.command(help=__doc__)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
@click.option("--rows", default=1_000_000, show_default=True, help="Rows of the index.")
@click.option("--shards", default=10_000, show_default=True, help="Shards of the store.")
@click.option("--child", hidden=True, nargs=2, type=str)
def main(as_json: bool, rows: int, shards: int, child: tuple[str, int] | None) -> None:
    """Measure and print."""
    if child:
        print(json.dumps(MEASURES[child[0]](int(child[1]))))
        return
    sizes = {"index": rows, "shards": shards, "shuffle": 64}
    results = {name: _in_process(name, size) for name, size in sizes.items()}
    if as_json:
        print(json.dumps({"benchmark": "scale", "results": results}))
        return
    for name, found in results.items():
        print(f"{name} ({sizes[name]:,})")
        for key, value in found.items():
            print(f"  {key:<44}{value:>16,.6g}")


def _in_process(name: str, size: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.scale", "--child", name, str(size)]
    ended = subprocess.run(command, capture_output=True, text=True)
    if ended.returncode:
        raise click.ClickException(ended.stderr)
    return json.loads(ended.stdout.splitlines()[-1])


@contextmanager
def _timed(found: dict[str, float], name: str) -> Iterator[None]:
    began = time.process_time()
    yield
    found[f"{name}, CPU s"] = time.process_time() - began


def _hex(noise: np.random.Generator, rows: int) -> list[str]:
    text = noise.bytes(32 * rows).hex()
    return [text[i : i + 64] for i in range(0, len(text), 64)]


def _entries(rows: int) -> pd.DataFrame:
    """A latent cache's index: keys at random, 33 buckets."""
    noise = np.random.default_rng(0)
    sizes = noise.integers(20, 53, rows)
    shards = _hex(noise, max(1, rows // 256))
    return pd.DataFrame(
        {
            **{"dataset": "set", "id": _hex(noise, rows), "variant": 0, "key": _hex(noise, rows)},
            **{"shard": [f"{shards[i % len(shards)]}.safetensors" for i in range(rows)], "row": 0},
            **{"width": sizes * 32, "height": (72 - sizes) * 32, "role": "train", "repeats": 0, "probability": 1.0},
            "mask_id": "",
        }
    )


def _index(rows: int) -> dict[str, float]:
    from sanaflow.cache.index import LatentCache
    from sanaflow.training.batches import bucket_positions, epoch_batches

    found: dict[str, float] = {}
    entries = _entries(rows)
    before = _peak()
    with tempfile.TemporaryDirectory() as scratch:
        with _timed(found, "written and read"):
            entries.to_parquet(Path(scratch, "entries.parquet"))
            pd.read_parquet(Path(scratch, "entries.parquet"))
        found["bytes a row on disk"] = Path(scratch, "entries.parquet").stat().st_size / rows
    cache = LatentCache(None, entries, entries[:0], 0, 0.0, 0, None)  # type: ignore[arg-type]
    with _timed(found, "digest"):
        cache.digest()
    with _timed(found, "order of an epoch"):
        epoch_batches(bucket_positions(entries, seed=0, epoch=0), 8, seed=0, epoch=0)
    return found | {"peak memory beyond the table, bytes a row": (_peak() - before) / rows}


def _shards(shards: int) -> dict[str, float]:
    import torch

    from sanaflow.cache.folder import FolderStore

    def pack(ones: list[torch.Tensor]) -> dict[str, torch.Tensor]:
        return {"latents": torch.stack(ones)}

    found: dict[str, float] = {}
    keys = _hex(np.random.default_rng(0), 8 * shards)
    one = torch.zeros(1, 1, 1)
    with tempfile.TemporaryDirectory() as scratch:
        store = FolderStore(Path(scratch))
        with _timed(found, "writing"):
            for i in range(0, len(keys), 8):
                store.write({key: one + i + n for n, key in enumerate(keys[i : i + 8])}, pack, model="m")
        anew = FolderStore(Path(scratch))
        with _timed(found, "finding all keys anew"):
            assert len(anew.find(keys)) == len(keys)
        with _timed(found, "finding them again"):
            anew.find(keys)
    return found


def _shuffle(shards: int) -> dict[str, float]:
    """Bytes fetched for each byte that a batch uses."""
    import torch

    from sanaflow.cache.remote import RemoteStore

    def pack(ones: list[torch.Tensor]) -> dict[str, torch.Tensor]:
        return {"latents": torch.stack(ones)}

    rows, batch, batches = 64, 8, 256
    noise = np.random.default_rng(0)
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as scratch:
        there = _Folder()
        address = str(Path(scratch, "there"))
        Path(address).mkdir()
        writer = RemoteStore(there, address, here=Path(scratch, "writer"), limit=2**40)
        size = sum(
            writer.write(
                {key: torch.randn(32, 8, 8) for key in _hex(noise, rows)},
                pack,
                model="m",
            )
            for _ in range(shards)
        )
        names = writer.names()
        used = batch * batches * 32 * 8 * 8 * 4
        for room in ROOMS:
            there.fetched = 0
            limit = int(size * room) + size // shards
            reader = RemoteStore(there, address, here=Path(scratch, f"here-{room}"), limit=limit)
            for _ in range(batches):
                wanted = [names[i] for i in noise.integers(0, len(names), batch)]
                reader.expect(wanted)
                for name in wanted:
                    reader.read(name)
            found[f"room for {room:.0%}: bytes fetched a byte used"] = there.fetched / used
    return found


class _Folder:
    """An object store that is a folder, and counts what it gives out."""

    fetched = 0

    def open(self, path: str, mode: str = "r") -> Any:
        if "w" not in mode and path.endswith(".safetensors"):
            self.fetched += Path(path).stat().st_size
        return Path(path).open(mode)

    def exists(self, path: str) -> bool:
        return Path(path).exists()

    def listdir(self, path: str) -> list[str]:
        return [p.name for p in Path(path).iterdir()] if Path(path).exists() else []

    def size(self, path: str) -> int | None:
        return Path(path).stat().st_size if Path(path).exists() else None

    def rename(self, src: str, dst: str, overwrite: bool = False) -> None:
        Path(src).rename(dst)

    def remove(self, path: str) -> None:
        Path(path).unlink()


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


MEASURES: dict[str, Callable[[int], dict[str, float]]] = {"index": _index, "shards": _shards, "shuffle": _shuffle}

if __name__ == "__main__":
    main(prog_name="python -m benchmarks.scale")
