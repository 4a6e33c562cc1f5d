"""What passes between looking up, encoding in parts, and indexing."""

from dataclasses import dataclass, field

import pandas as pd
from PIL import Image

from sanaflow.digests import digest_of, table_digest


@dataclass(frozen=True)
class LatentWork:
    """What the latent cache will hold, and what of it is to be encoded.

    Attributes:
        crops: The plan's crops, each with its `key` and the picture's `file`.
        missing: Crops that the store doesn't hold, each key once, with their `shape`, the number of the `batch` that
            they are encoded in, and the `worker` whose part that is.
    """

    crops: pd.DataFrame
    missing: pd.DataFrame

    def digest(self) -> str:
        """sha256 over what there is to do and to index."""
        crops = self.crops[["dataset", "id", "variant", "key", "role", "repeats", "probability"]]
        return digest_of([table_digest(self.missing[["key", "batch", "worker"]]), table_digest(crops)])


@dataclass(frozen=True)
class CaptionWork:
    """What the caption cache will hold, and what of it is to be encoded.

    Attributes:
        fingerprint: `CaptionCache.fingerprint`.
        captions: `CaptionCache.captions`.
        keys: Of every caption, prompt, negative prompt and the empty prompt, each once.
        missing: Texts that the store doesn't hold: `key`, `text`, `instructed`, `shared` (tokens of the instruction
            that are encoded once), `tokens` (that remain), `shape`, `batch` and `worker`, as in `LatentWork`.
    """

    fingerprint: str
    captions: pd.DataFrame
    keys: list[str]
    missing: pd.DataFrame

    def digest(self) -> str:
        """sha256 over what there is to do and to index."""
        missing, captions = self.missing[["key", "batch", "worker"]], self.captions[["dataset", "id", "key"]]
        return digest_of([self.fingerprint, self.keys, table_digest(missing), table_digest(captions)])


@dataclass(frozen=True)
class EncodedPart:
    """What one worker did.

    Attributes:
        encoded: How many it encoded, not found in the store.
        failed: One row a failure: `key` and `reason`.
        seconds: Its time, without loading the encoder.
        bytes: What it wrote.
        preview: Some of its pictures, each above what the autoencoder makes of its latents.
    """

    encoded: int = 0
    failed: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=["key", "reason"]))
    seconds: float = 0.0
    bytes: int = 0
    preview: Image.Image | None = field(default=None, repr=False, compare=False)

    def digest(self) -> str:
        """Which ones failed: everything else is in the store."""
        return digest_of(self.failed.sort_values("key").to_dict("records"))
