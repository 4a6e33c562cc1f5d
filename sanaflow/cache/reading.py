"""Read latents and embeddings back, memory-mapped: a batch is one copy, nothing is unpickled or read per sample."""

from collections.abc import Sequence

import torch

from sanaflow.cache.index import CaptionCache, LatentCache, text_key
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

    def batch(self, positions: Sequence[int]) -> torch.Tensor:
        """(batch, channels, height, width), all of one bucket, in the precision they were stored in."""
        places = [self._places[position] for position in positions]
        return torch.stack([self._store.read(shard)["latents"][row] for shard, row in places])

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
        return self.embedding(self.key(text, instructed=instructed))

    def embedding(self, key: str) -> torch.Tensor:
        """(tokens, channels) by key."""
        shard, row = self._places[key]
        tensors = self._store.read(shard)
        begin, end = tensors["offsets"][row : row + 2].tolist()
        return tensors["embeddings"][begin:end]

    def expect(self, keys: Sequence[str]) -> None:
        """Say what is read next, so that it can be fetched meanwhile."""
        self._store.expect(self._places[key][0] for key in keys)


def pad(embeddings: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Embeddings of different lengths as (batch, tokens, channels), and their mask (batch, tokens) of int64.

    Sana's cross-attention gives masked tokens the weight exp(-10000) = 0, so that padding changes nothing.
    """
    padded = torch.nn.utils.rnn.pad_sequence(embeddings, batch_first=True)
    lengths = torch.tensor([len(e) for e in embeddings])
    return padded, (torch.arange(padded.shape[1]) < lengths[:, None]).long()
