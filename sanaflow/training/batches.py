"""Which samples make which batch: a pure function of the data, the seed and the batch's number.

A batch is of one bucket. An epoch shows every picture once, `repeats` times more, or, where its set's `probability` is
below 1, in some epochs only; a bucket's last, short batch is kept. Held-out pictures are never shown.
"""

from bisect import bisect_right
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import pandas as pd
import torch

from sanaflow.cache.index import CaptionCache, LatentCache
from sanaflow.cache.reading import CaptionReader, LatentReader
from sanaflow.config import TrainingSettings
from sanaflow.errors import InputError
from sanaflow.training.randomness import generator

AHEAD = 8
"""Batches whose shards are fetched while earlier ones are trained on, where they are not on this machine."""


@dataclass(frozen=True)
class Batch:
    """Samples of one size.

    Attributes:
        latents: (batch, channels, height, width).
        embeddings: (batch, tokens, channels).
        mask: Which tokens count, (batch, tokens).
        loss_mask: How much each place's loss counts, (batch, 1, height, width) in [0, 1]; None: all alike.
        regularisation: Which samples the model should go on seeing as it did, bool (batch,).
    """

    latents: torch.Tensor
    embeddings: torch.Tensor
    mask: torch.Tensor
    loss_mask: torch.Tensor | None = None
    regularisation: torch.Tensor | None = None


class Batches:
    """All batches of a run, by number."""

    def __init__(self, latents: LatentCache, captions: CaptionCache, settings: TrainingSettings) -> None:
        """Open both caches. Their rows are put in an order of their own: files' names decide nothing.

        Batches have no process: of `num_processes`, each takes every so many-th.

        Raises:
            InputError: A shard is missing or damaged.
        """
        trained = latents.entries[latents.entries["role"] != "eval"]
        entries = trained.sort_values(["dataset", "id", "variant"], ignore_index=True)
        if not (entries["probability"] > 0).any():
            raise InputError("every dataset has 'probability: 0': there is nothing to train on; raise one")
        self.entries = entries
        self._regularisation = torch.from_numpy((entries["role"] == "regularisation").to_numpy(copy=True))
        self._latents = LatentReader(replace(latents, entries=entries))
        self._captions = CaptionReader(captions)
        self._settings = settings
        self._ends = [0]  # number of batches before each epoch
        self._epoch = lru_cache(2)(
            lambda epoch: epoch_batches(
                bucket_positions(entries, seed=settings.seed, epoch=epoch),
                settings.train_batch_size,
                seed=settings.seed,
                epoch=epoch,
            )
        )
        by_picture = captions.captions.groupby(["dataset", "id"])["key"].agg(sorted).to_dict()
        self._caption_keys = [by_picture[pair] for pair in zip(entries["dataset"], entries["id"], strict=True)]
        self._unconditional = self._captions.key("", instructed=False)
        self._chosen = lru_cache(2 * AHEAD * settings.num_processes)(self._choose)

    def __getitem__(self, number: int) -> Batch:
        """Batch `number`, counted over all epochs."""
        positions, keys = self._chosen(number)
        processes = self._settings.num_processes
        coming = [self._chosen(later) for later in range(number, number + AHEAD * processes, processes)]
        self._latents.expect([position for positions, _ in coming for position in positions])
        self._captions.expect([key for _, keys in coming for key in keys])
        return Batch(
            self._latents.batch(positions),
            *self._captions.batch(keys),
            loss_mask=self._latents.masks(positions),
            regularisation=self._regularisation[positions],
        )

    def epochs(self, number: int) -> float:
        """How many epochs the first `number` batches are; a part of one is a fraction."""
        epoch = self._epoch_of(number)
        begin = self._ends[epoch]
        return epoch + (number - begin) / len(self._epoch(epoch))

    def in_epochs(self, count: int) -> int:
        """How many batches the first `count` epochs have."""
        while len(self._ends) <= count:
            self._ends.append(self._ends[-1] + len(self._epoch(len(self._ends) - 1)))
        return self._ends[count]

    def size(self, number: int) -> tuple[int, int]:
        """Width and height of a batch's latents."""
        height, width = self._latents.batch(self._chosen(number)[0][:1]).shape[2:]
        return width, height

    def tokens(self) -> list[int]:
        """How many latent places a sample has, for every size there is."""
        one_of_each = self.entries.drop_duplicates(["width", "height"]).index
        return sorted({self._latents.batch([position])[0, 0].numel() for position in one_of_each})

    def samples(self, number: int) -> list[str]:
        """The pictures of a batch, as 'dataset/sha256', to be named in a report."""
        rows = self.entries.iloc[self._chosen(number)[0]]
        return [f"{row.dataset}/{row.id}" for row in rows.itertuples()]

    def _epoch_of(self, number: int) -> int:
        while self._ends[-1] <= number:
            self.in_epochs(len(self._ends))
        return bisect_right(self._ends, number) - 1

    def _choose(self, number: int) -> tuple[list[int], list[str]]:
        """The batch's positions in the latent cache's index, and the keys of their embeddings."""
        epoch = self._epoch_of(number)
        positions = self._epoch(epoch)[number - self._ends[epoch]]
        return positions, [self._caption(position, row, number) for row, position in enumerate(positions)]

    def _caption(self, position: int, row: int, number: int) -> str:
        """One of the picture's captions or, as often as `caption_dropout_probability` says, the empty prompt."""
        draws = torch.rand(2, generator=generator(self._settings.seed, 0, number, f"caption of row {row}"))
        if draws[0] < self._settings.caption_dropout_probability:
            return self._unconditional
        keys = self._caption_keys[position]
        return keys[int(draws[1] * len(keys))]


def bucket_positions(entries: pd.DataFrame, *, seed: int, epoch: int) -> list[list[int]]:
    """Positions in the latent cache's index by bucket, each as often as this epoch shows it.

    A picture's showings are numbered over all epochs, `(1 + repeats) * probability` in each on average, and the n-th
    takes its crop n modulo the number of its crops. Where that isn't a whole number, pictures take turns.

    Args:
        entries: `LatentCache.entries`, sorted by dataset, id and variant.
        seed: Of the run.
        epoch: Counted from 0.
    """
    by_picture = entries.groupby(["dataset", "id"], sort=False)
    first = np.flatnonzero(by_picture.cumcount() == 0)
    crops = by_picture.size().to_numpy()
    pictures = entries.iloc[first]
    rate = ((1 + pictures["repeats"]) * pictures["probability"]).to_numpy()
    turn = np.zeros(len(pictures))
    for name, rows in pictures.reset_index(drop=True).groupby("dataset").groups.items():
        turns = torch.randperm(len(rows), generator=generator(seed, 0, 0, f"turns of {name}")).numpy()
        turn[rows] = (turns + 0.5) / len(rows)
    begin, end = np.floor(epoch * rate + turn).astype(int), np.floor((epoch + 1) * rate + turn).astype(int)
    shown = np.repeat(np.arange(len(pictures)), end - begin)
    number = np.arange(len(shown)) - np.repeat(np.cumsum(end - begin) - (end - begin), end - begin) + begin[shown]
    positions = first[shown] + number % crops[shown]
    sizes = entries[["width", "height"]].to_numpy()[positions]
    return [rows.tolist() for _, rows in pd.Series(positions).groupby([sizes[:, 0], sizes[:, 1]])]


def epoch_batches(buckets: list[list[int]], batch_size: int, *, seed: int, epoch: int) -> list[list[int]]:
    """An epoch's batches in their order."""
    shuffle = generator(seed, 0, epoch, "order of an epoch")
    batches = []
    for positions in buckets:
        shuffled = [positions[i] for i in torch.randperm(len(positions), generator=shuffle).tolist()]
        batches += [shuffled[i : i + batch_size] for i in range(0, len(shuffled), batch_size)]
    return [batches[i] for i in torch.randperm(len(batches), generator=shuffle).tolist()]
