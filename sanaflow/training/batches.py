"""Which samples make which batch: a pure function of the data, the seed and the batch's number.

A batch is of one bucket. An epoch shows every sample once (and `repeats` times more); a bucket's last, short batch
is kept.
"""

from dataclasses import dataclass, replace
from functools import lru_cache

import pandas as pd
import torch

from sanaflow.cache.index import CaptionCache, LatentCache
from sanaflow.cache.reading import CaptionReader, LatentReader, pad
from sanaflow.config import TrainingSettings
from sanaflow.training.randomness import generator


@dataclass(frozen=True)
class Batch:
    """Latents (batch, channels, height, width), embeddings (batch, tokens, channels) and their mask (batch, tokens)."""

    latents: torch.Tensor
    embeddings: torch.Tensor
    mask: torch.Tensor


class Batches:
    """All batches of a run, by number."""

    def __init__(self, latents: LatentCache, captions: CaptionCache, settings: TrainingSettings) -> None:
        """Open both caches. Their rows are put in an order of their own: files' names decide nothing.

        Raises:
            InputError: A shard is missing or damaged.
        """
        entries = latents.entries.sort_values(["dataset", "id"], ignore_index=True)
        self._latents = LatentReader(replace(latents, entries=entries))
        self._captions = CaptionReader(captions)
        self._settings = settings
        buckets = bucket_positions(entries)
        self._epoch = lru_cache(2)(
            lambda epoch: epoch_batches(buckets, settings.train_batch_size, seed=settings.seed, epoch=epoch)
        )
        by_picture = captions.captions.groupby(["dataset", "id"])["key"].agg(sorted).to_dict()
        self._caption_keys = [by_picture[pair] for pair in zip(entries["dataset"], entries["id"], strict=True)]
        self._unconditional = self._captions.text("", instructed=False)
        self.per_epoch = len(self._epoch(0))

    def __getitem__(self, number: int) -> Batch:
        """Batch `number`, counted over all epochs."""
        epoch, place = divmod(number, self.per_epoch)
        positions = self._epoch(epoch)[place]
        embeddings, mask = pad([self._caption(p, row, number) for row, p in enumerate(positions)])
        return Batch(self._latents.batch(positions), embeddings, mask)

    def _caption(self, position: int, row: int, number: int) -> torch.Tensor:
        """One of the picture's captions or, as often as `caption_dropout_probability` says, the empty prompt."""
        draws = torch.rand(2, generator=generator(self._settings.seed, 0, number, f"caption of row {row}"))
        if draws[0] < self._settings.caption_dropout_probability:
            return self._unconditional
        keys = self._caption_keys[position]
        return self._captions.embedding(keys[int(draws[1] * len(keys))])


def bucket_positions(entries: pd.DataFrame) -> list[list[int]]:
    """Positions in the latent cache's index by bucket, each as often as an epoch shows it."""
    numbered = entries.reset_index(drop=True)
    return [
        [position for position in rows.index for _ in range(1 + rows.at[position, "repeats"])]
        for _, rows in numbered.groupby(["width", "height"])
    ]


def epoch_batches(buckets: list[list[int]], batch_size: int, *, seed: int, epoch: int) -> list[list[int]]:
    """An epoch's batches in their order."""
    shuffle = generator(seed, 0, epoch, "order of an epoch")
    batches = []
    for positions in buckets:
        shuffled = [positions[i] for i in torch.randperm(len(positions), generator=shuffle).tolist()]
        batches += [shuffled[i : i + batch_size] for i in range(0, len(shuffled), batch_size)]
    return [batches[i] for i in torch.randperm(len(batches), generator=shuffle).tolist()]
