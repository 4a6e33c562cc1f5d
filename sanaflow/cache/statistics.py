"""How latents are distributed: a mis-set autoencoder or a broken picture shows there first."""

import numpy as np
import pandas as pd
import torch

from sanaflow.cache.index import OUTLIER, LatentStatistics
from sanaflow.cache.store import ShardStore

SAMPLE, SAMPLE_BYTES = 512, 64 * 2**20


def latent_statistics(entries: pd.DataFrame, store: ShardStore) -> LatentStatistics:
    """Look at up to `SAMPLE` latents, out of shards of `SAMPLE_BYTES` together, as each may have to be fetched first.

    Args:
        entries: `LatentCache.entries`.
        store: Where they are.
    """
    shards = sorted(set(entries["shard"]))  # by their checksums: at random
    before = np.cumsum([0, *(store.contents(shard).size for shard in shards)])[:-1]
    near = entries[entries["shard"].isin(np.array(shards)[before < SAMPLE_BYTES])]
    sample = near.iloc[_evenly(len(near), SAMPLE)].sort_values("shard")
    means, squares = [], []
    for shard, rows in sample.groupby("shard"):
        latents = store.read(shard)["latents"]
        for entry in rows.itertuples():
            values = latents[entry.row][: -1 if entry.mask_id else None].float()
            means.append(values.mean(dim=(1, 2)))
            squares.append(values.square().mean(dim=(1, 2)))
    mean, square = torch.stack(means), torch.stack(squares)
    channel_mean = mean.mean(dim=0)
    channel_std = (square.mean(dim=0) - channel_mean.square()).clamp(min=0).sqrt()
    rms = square.mean(dim=1).sqrt().numpy()
    deviation = 1.4826 * np.median(np.abs(rms - np.median(rms)))
    odd = np.abs(rms - np.median(rms)) > OUTLIER * max(deviation, 1e-6)
    return LatentStatistics(
        sampled=len(sample),
        channels=pd.DataFrame({"mean": channel_mean.numpy(), "std": channel_std.numpy()}),
        outliers=sample.assign(rms=rms)[odd][["dataset", "id", "rms"]].reset_index(drop=True),
    )


def _evenly(count: int, most: int) -> np.ndarray:
    """At most `most` positions below `count`, evenly spread."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(int))
