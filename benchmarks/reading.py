"""How fast are batches read back: from packed shards, from a file a sample as peers keep them, and at best?

python -m benchmarks.reading [--json] [--samples N]

Latents of Sana at 1024 px (32 x 32 x 32 in bf16, 64 KiB) and embeddings of 57 tokens of Gemma-2-2B (2304 channels,
bf16), in shuffled batches of 8, as training reads them; the page cache is warm. 'Copied' are the same bytes, sample by
sample, out of one memory-mapped file of nothing else; 'at best', by NumPy's take, a batch in one call. Medians of five
passes over all samples, in turn; rates are per CPU second.
"""

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import click
import numpy as np
import pandas as pd
import torch

from sanaflow.cache.captions import pack_embeddings
from sanaflow.cache.folder import FolderStore
from sanaflow.cache.index import CaptionCache, LatentCache, LatentStatistics
from sanaflow.cache.reading import CaptionReader, LatentReader

BATCH, TOKENS, CHANNELS, PASSES = 8, 57, 2304, 5


@click.command(help=__doc__)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
@click.option("--samples", default=2000, show_default=True, help="How many of each.")
def main(as_json: bool, samples: int) -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    order = np.random.default_rng(0).permutation(samples)
    batches = [order[i : i + BATCH].tolist() for i in range(0, samples - BATCH + 1, BATCH)]
    with tempfile.TemporaryDirectory() as folder:
        ways = _latents(Path(folder), samples) | _captions(Path(folder), samples)
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(PASSES + 1):
            for name, read in ways.items():
                began = time.process_time()
                for batch in batches:
                    read(batch)
                seconds[name].append(time.process_time() - began)
    rates = {name: len(batches) * BATCH / median(found[1:]) for name, found in seconds.items()}
    ratios = {
        kind: {
            other: rates[f"{kind}, packed"] / rates[f"{kind}, {other}"]
            for other in ("a .pt a sample", "copied", "at best")
        }
        for kind in ("latents", "embeddings")
    }
    if as_json:
        print(json.dumps({"benchmark": "reading", "samples_per_cpu_second": rates, "packed_over": ratios}))
        return
    for name, rate in rates.items():
        print(f"{name:<28} {rate:>12,.0f} samples per CPU s")
    for kind, found in ratios.items():
        print(
            f"{kind}: packed is {found['a .pt a sample']:.1f} times .pt files, {found['copied']:.0%} of copying the "
            f"same bytes, {found['at best']:.0%} of the best"
        )


def _latents(folder: Path, samples: int) -> dict[str, Callable[[list[int]], object]]:
    latents = torch.randn(samples, 32, 32, 32).bfloat16()
    store = FolderStore(folder / "latents")
    keys = [f"{number:064x}" for number in range(samples)]
    for i in range(0, samples, 1000):
        entries = dict(zip(keys[i : i + 1000], latents[i : i + 1000], strict=True))
        store.write(entries, lambda ones: {"latents": torch.stack(ones)}, model="benchmark")
    found = store.find(keys)
    places = pd.DataFrame({"shard": [found[k].shard for k in keys], "row": [found[k].row for k in keys]})
    none = LatentStatistics(0, places[:0], places[:0])
    reader = LatentReader(LatentCache(store, places, places[:0], 0, 0.0, 0, none))
    files = _one_file_each(folder / "latents-pt", list(latents))
    best = _mapped(folder / "latents.bin", latents)
    return {
        "latents, packed": reader.batch,
        "latents, a .pt a sample": lambda batch: torch.stack([torch.load(files[i], weights_only=True) for i in batch]),
        "latents, copied": lambda batch: _copied(best, batch),
        "latents, at best": lambda batch: np.take(best, batch, axis=0),
    }


def _captions(folder: Path, samples: int) -> dict[str, Callable[[list[int]], object]]:
    embeddings = torch.randn(samples, TOKENS, CHANNELS).bfloat16()
    store = FolderStore(folder / "captions")
    keys = [f"{number:064x}" for number in range(samples)]
    for i in range(0, samples, 256):
        entries = dict(zip(keys[i : i + 256], embeddings[i : i + 256], strict=True))
        store.write(entries, pack_embeddings, model="benchmark")
    found = store.find(keys)
    texts = pd.DataFrame({"key": keys, "shard": [found[k].shard for k in keys], "row": [found[k].row for k in keys]})
    reader = CaptionReader(CaptionCache(store, "", texts[:0], texts, 0, 0.0, 0))
    files = _one_file_each(folder / "captions-pt", list(embeddings))
    best = _mapped(folder / "captions.bin", embeddings)
    return {
        "embeddings, packed": lambda batch: reader.batch([keys[i] for i in batch]),
        "embeddings, a .pt a sample": lambda batch: torch.nn.utils.rnn.pad_sequence(
            [torch.load(files[i], weights_only=True) for i in batch], batch_first=True
        ),
        "embeddings, copied": lambda batch: _copied(best, batch),
        "embeddings, at best": lambda batch: np.take(best, batch, axis=0),
    }


def _copied(mapped: np.ndarray, batch: list[int]) -> np.ndarray:
    """The same bytes, sample by sample, from one memory-mapped file."""
    copy = np.empty((len(batch), *mapped.shape[1:]), mapped.dtype)
    for i, sample in enumerate(batch):
        copy[i] = mapped[sample]
    return copy


def _one_file_each(folder: Path, tensors: list[torch.Tensor]) -> list[Path]:
    folder.mkdir()
    files = [folder / f"{number}.pt" for number in range(len(tensors))]
    for file, tensor in zip(files, tensors, strict=True):
        torch.save(tensor.clone(), file)
    return files


def _mapped(file: Path, tensors: torch.Tensor) -> np.ndarray:
    array = tensors.view(torch.int16).numpy()
    array.tofile(file)
    return np.memmap(file, dtype=np.int16, mode="r", shape=array.shape)


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.reading")
