"""The artifacts of encoding: an index into the shards, never the tensors themselves."""

from dataclasses import dataclass, field

import pandas as pd
from PIL import Image

from sanaflow.cache.store import ShardStore
from sanaflow.digests import digest_of

LATENT_COLUMNS = [
    *("dataset", "id", "variant", "key", "shard", "row", "width", "height"),
    *("role", "repeats", "probability", "mask_id"),
]
CAPTION_COLUMNS = ["dataset", "id", "caption", "key"]
TEXT_COLUMNS = ["key", "shard", "row", "tokens"]
OUTLIER = 4.0


@dataclass(frozen=True)
class LatentStatistics:
    """How latents are distributed, by a sample of them.

    Attributes:
        sampled: How many latents were looked at.
        channels: One row a channel with `mean` and `std`; about 0 and 1 where the scaling factor fits the pictures.
        outliers: Latents whose root mean square is more than `OUTLIER` deviations from the median of all: `dataset`,
            `id` and `rms`. A deviation is 1.4826 times the median absolute one, which outliers don't move.
    """

    sampled: int
    channels: pd.DataFrame
    outliers: pd.DataFrame


@dataclass(frozen=True)
class LatentCache:
    """Where every picture's latents are.

    Attributes:
        store: The shards.
        entries: One row a (picture, dataset, variant): its key, shard and row there, its bucket's `width` and `height`
            in pixels, what it is for (`role`), `repeats`, the extra passes in an epoch, `probability`, the share of
            those that an epoch shows, and the sha256 of its mask or ''. A masked one's tensor has a channel more, the
            mask in [0, 1].
        rejected: One row a picture without usable latents, with the reason.
        encoded: How many were encoded for this artifact, not found in the store.
        seconds: The slowest worker's time for that, without loading the autoencoder.
        bytes: What was written.
        statistics: How the latents are distributed.
        preview: Some newly encoded pictures above what the autoencoder makes of their latents; None if nothing was new.
    """

    store: ShardStore = field(repr=False, compare=False)
    entries: pd.DataFrame
    rejected: pd.DataFrame
    encoded: int
    seconds: float
    bytes: int
    statistics: LatentStatistics
    preview: Image.Image | None = field(default=None, repr=False, compare=False)

    def digest(self) -> str:
        """sha256 over pictures, keys and how often they are shown; which shard holds them doesn't count."""
        columns = ["dataset", "id", "variant", "key", "role", "repeats", "probability"]
        rows = self.entries[columns].sort_values(["dataset", "id", "variant"])
        return digest_of(rows.to_dict("records"))


@dataclass(frozen=True)
class CaptionCache:
    """Where every caption's embedding is.

    Attributes:
        store: The shards.
        fingerprint: Of the encoder, instruction, length and precision; part of every key.
        captions: One row a (picture, dataset, caption) with the embedding's key.
        texts: One row an embedding: key, shard, row there, and its number of tokens. Holds captions, prompts, negative
            prompts and the empty prompt.
        encoded: How many were encoded for this artifact, not found in the store.
        seconds: The slowest worker's time for that, without loading the text encoder.
        bytes: What was written.
    """

    store: ShardStore = field(repr=False, compare=False)
    fingerprint: str
    captions: pd.DataFrame
    texts: pd.DataFrame
    encoded: int
    seconds: float
    bytes: int

    def digest(self) -> str:
        """sha256 over the captions' keys and the encoder. Prompts are in the settings of the step that draws them."""
        rows = self.captions[["dataset", "id", "key"]].sort_values(["dataset", "id", "key"])
        return digest_of([self.fingerprint, rows.to_dict("records")])


def text_key(text: str, *, instructed: bool, fingerprint: str) -> str:
    """The content address of a text's embedding.

    Args:
        text: A caption or prompt.
        instructed: Whether Sana's instruction stands before it: yes for prompts, no for negative and empty prompts.
        fingerprint: `CaptionCache.fingerprint`.
    """
    return digest_of([normalise(text), instructed, fingerprint])


def normalise(text: str) -> str:
    """A prompt as `SanaPipeline` prepares it."""
    return text.lower().strip()
