"""Read latents and embeddings back, memory-mapped: a batch is a slice, nothing is unpickled or copied per sample."""

import torch

from sanaflow.cache.index import CaptionCache, LatentCache, text_key
from sanaflow.cache.store import ShardStore
from sanaflow.errors import InputError


class LatentReader:
    """Latents by their position in the cache's index."""

    def __init__(self, cache: LatentCache) -> None:
        """Check every shard's checksum and map it.

        Raises:
            InputError: A shard is missing or damaged.
        """
        store = ShardStore(cache.folder)
        shards = sorted(set(cache.entries["shard"]))
        store.verify(shards)
        self._latents = {shard: store.read(shard, "latents")[0] for shard in shards}
        self._places = list(zip(cache.entries["shard"], cache.entries["row"], strict=True))

    def batch(self, positions: list[int]) -> torch.Tensor:
        """(batch, channels, height, width), all of one bucket, in the precision they were stored in."""
        return torch.stack([self._latents[shard][row] for shard, row in map(self._places.__getitem__, positions)])


class CaptionReader:
    """Embeddings by text."""

    def __init__(self, cache: CaptionCache) -> None:
        """Check every shard's checksum and map it.

        Raises:
            InputError: A shard is missing or damaged.
        """
        store = ShardStore(cache.folder)
        shards = sorted(set(cache.texts["shard"]))
        store.verify(shards)
        self._shards = {shard: store.read(shard, "embeddings", "offsets") for shard in shards}
        self._places = {t.key: (t.shard, t.row) for t in cache.texts.itertuples()}
        self._fingerprint = cache.fingerprint

    def text(self, text: str, *, instructed: bool) -> torch.Tensor:
        """(tokens, channels) of a caption, prompt or negative prompt.

        Raises:
            InputError: The text was not encoded.
        """
        key = text_key(text, instructed=instructed, fingerprint=self._fingerprint)
        if key not in self._places:
            raise InputError(f"the text {text!r} is not in the caption cache: run encode_captions with it")
        return self.embedding(key)

    def embedding(self, key: str) -> torch.Tensor:
        """(tokens, channels) by key."""
        shard, row = self._places[key]
        embeddings, offsets = self._shards[shard]
        return embeddings[offsets[row] : offsets[row + 1]]


def pad(embeddings: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Embeddings of different lengths as (batch, tokens, channels), and their mask (batch, tokens) of int64.

    Sana's cross-attention gives masked tokens the weight exp(-10000) = 0, so that padding changes nothing.
    """
    padded = torch.nn.utils.rnn.pad_sequence(embeddings, batch_first=True)
    lengths = torch.tensor([len(e) for e in embeddings])
    return padded, (torch.arange(padded.shape[1]) < lengths[:, None]).long()
