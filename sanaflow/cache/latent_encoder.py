"""Encode pictures that the store lacks: read ahead, encode, write; the three overlap."""

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pandas as pd
import torch
from accelerate.utils.memory import should_reduce_batch_size
from PIL import Image

from sanaflow.cache.halving import Halving
from sanaflow.cache.latents import decode_latents, encode_pictures, load_autoencoder, shrink_mask
from sanaflow.cache.parts import EncodedPart
from sanaflow.cache.read_ahead import read_ahead
from sanaflow.cache.store import SHARD_BYTES, ShardStore
from sanaflow.cache.work import PlannedShard, encode_claimed, shards_of
from sanaflow.config import CacheSettings
from sanaflow.errors import InputError
from sanaflow.images.contact_sheet import contact_sheet
from sanaflow.images.decode import ChangedPictureError, UnreadablePictureError, read_crop
from sanaflow.images.table import ImageTable
from sanaflow.model.loading import default_device
from sanaflow.model.reference import ModelReference
from sanaflow.progress import progress_bar

PREVIEW_PICTURES = 8


def encode_missing(
    missing: pd.DataFrame, table: ImageTable, model: ModelReference, settings: CacheSettings, store: ShardStore
) -> EncodedPart:
    """Encode crops into the store, and draw some of them.

    Args:
        missing: Rows of `LatentWork.missing`.
        table: Where the pictures are.
        model: Whose autoencoder.
        settings: How.
        store: Where to.

    Raises:
        InputError: See `latent_cache.encode_latents`.
    """
    vae = load_autoencoder(model, settings, default_device())
    encoder = _Encoder(vae, table.uri_of(), table.mask_uri_of(), settings, store, model.name, total=len(missing))
    channels, ratio = vae.config.latent_channels, vae.spatial_compression_ratio
    itemsize = torch.empty(0, dtype=vae.dtype).element_size()

    def latent_bytes(row: Any) -> int:
        return (channels + (row.mask_id != "")) * (row.width // ratio) * (row.height // ratio) * itemsize

    began = time.perf_counter()
    with torch.inference_mode(), encoder.progress:
        encode_claimed(shards_of(missing, size_of=latent_bytes, limit=SHARD_BYTES), store, encoder.encode)
        seconds = time.perf_counter() - began
        preview = _preview(encoder.shown, vae)
    return EncodedPart(encoder.encoded, encoder.failed(), seconds, encoder.written, preview)


class _Encoder:
    """Reads ahead, encodes, and lets a thread write: the three overlap."""

    def __init__(
        self,
        vae: Any,
        uri_of: dict[tuple[str, str], str],
        mask_uri_of: dict[tuple[str, str], str],
        settings: CacheSettings,
        store: ShardStore,
        model: str,
        *,
        total: int,
    ) -> None:
        self._uri_of, self._mask_uri_of, self._store, self._model = uri_of, mask_uri_of, store, model
        self._encode_batch = Halving(
            lambda pictures: encode_pictures(vae, pictures, settings),
            advice="set caches.vae_enable_tiling: true, or a lower resolution",
        )
        self._reasons: dict[str, str] = {}
        self.shown: list[tuple[Image.Image, torch.Tensor]] = []
        self.encoded = self.written = 0
        self.progress = progress_bar(total=total, desc="encoding latents", unit="picture")

    def failed(self) -> pd.DataFrame:
        return pd.DataFrame(sorted(self._reasons.items()), columns=["key", "reason"])

    def encode(self, shards: Iterator[PlannedShard]) -> None:
        """Encode and write shards."""
        batches = ((shard, batch) for shard in shards for batch in shard.batches)
        entries: dict[str, torch.Tensor] = {}
        current = None
        with ThreadPoolExecutor(1) as writer:
            writing: Future[int] | None = None
            for shard, rows, pictures in read_ahead(batches, self._read, size_of=_pixel_bytes):
                if shard is not current:
                    writing, entries, current = self._write(writer, writing, entries), {}, shard
                entries |= self._encode_rows(rows, pictures)
                self.progress.update(len(rows))
            self._write(writer, self._write(writer, writing, entries), {})

    def _write(
        self, writer: ThreadPoolExecutor, writing: Future[int] | None, entries: dict[str, torch.Tensor]
    ) -> Future[int] | None:
        """Wait until the shard before is written, so that no more than one waits, and hand over the next."""
        if writing:
            self.written += writing.result()
        if not entries:
            return None
        return writer.submit(self._store.write, entries, lambda ones: {"latents": torch.stack(ones)}, model=self._model)

    def _read(self, row: Any) -> list[Image.Image] | None:
        """The picture's crop and, where it has a mask, the mask's; None if they can't be decoded."""
        files = [(self._uri_of[row.dataset, row.id], row.id)]
        if row.mask_id:
            files.append((self._mask_uri_of[row.dataset, row.id], row.mask_id))
        size, box = (row.resize_width, row.resize_height), (row.left, row.top, row.right, row.bottom)
        crops: list[Image.Image] = []
        for uri, digest in files:
            crop = self._read_crop(row.key, uri, digest, resize=size, crop=box)
            if crop is None:
                return None
            crops.append(crop)
        return crops

    def _read_crop(self, key: str, uri: str, digest: str, **geometry: Any) -> Image.Image | None:
        try:
            return read_crop(uri, digest, **geometry)
        except UnreadablePictureError as error:
            self._reasons[key] = str(error)
            return None
        except FileNotFoundError:
            raise InputError(
                f"the picture '{uri}' is not here: run again, to look anew; a step that runs on another machine needs "
                "the pictures mounted at the same path"
            ) from None
        except MemoryError:
            raise InputError(f"the picture '{uri}' needs more memory to be decoded than there is: reduce it") from None
        except (OSError, ChangedPictureError) as error:
            raise InputError(f"the picture '{uri}' can't be read any more ({error}): run again, to look anew") from None

    def _encode_rows(self, rows: list[Any], crops: list[list[Image.Image] | None]) -> dict[str, torch.Tensor]:
        read = [(row, *crop) for row, crop in zip(rows, crops, strict=True) if crop is not None]
        if not read:
            return {}
        whole = [picture for _, picture, *_ in read]
        entries = {}
        for (row, picture, *mask), latent in zip(read, self._encode_batch(whole, size=whole[0].size), strict=True):
            if not latent.isfinite().all():
                self._reasons[row.key] = "its latents are not finite numbers"
                continue
            entries[row.key] = torch.cat([latent, shrink_mask(mask[0], latent)]) if mask else latent
            if len(self.shown) < PREVIEW_PICTURES:
                self.shown.append((picture, latent))
        self.encoded += len(entries)
        return entries


def _pixel_bytes(row: Any) -> int:
    return 3 * row.width * row.height


def _preview(shown: list[tuple[Image.Image, torch.Tensor]], vae: Any) -> Image.Image | None:
    """Originals in the upper row, decoded latents in the lower; None if there are none, or decoding takes too much."""
    if not shown:
        return None
    originals = [picture for picture, _ in shown]
    try:
        decoded = [decode_latents(vae, latent) for _, latent in shown]
    except RuntimeError as error:
        if not should_reduce_batch_size(error):
            raise
        print("no sheet of decoded latents: decoding takes more memory than encoding, and there is too little")
        return None
    labels = ["original"] * len(originals) + ["from its latents"] * len(decoded)
    return contact_sheet([*originals, *decoded], labels, columns=len(shown))
