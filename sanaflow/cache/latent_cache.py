"""From the plan to the latent cache: look up what the store holds, encode the rest in parts, and index all of it."""

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import pandas as pd
import torch
from accelerate.utils.memory import should_reduce_batch_size
from PIL import Image

from sanaflow.buckets.plan import BucketPlan
from sanaflow.cache.halving import Halving, free_memory
from sanaflow.cache.index import LATENT_COLUMNS, LatentCache
from sanaflow.cache.latents import (
    GEOMETRY,
    batch_size,
    decode_latents,
    encode_pictures,
    latent_key,
    latents_fingerprint,
    load_autoencoder,
)
from sanaflow.cache.parts import EncodedPart, LatentWork
from sanaflow.cache.read_ahead import read_ahead
from sanaflow.cache.statistics import latent_statistics
from sanaflow.cache.store import SHARD_BYTES, ShardStore
from sanaflow.cache.work import Shard, assign_workers, encode_claimed, shards_of
from sanaflow.config import CacheSettings
from sanaflow.errors import InputError
from sanaflow.images.contact_sheet import contact_sheet
from sanaflow.images.decode import ChangedPictureError, UnreadablePictureError, read_crop
from sanaflow.images.table import REJECTED_COLUMNS, ImageTable
from sanaflow.model.loading import default_device
from sanaflow.model.reference import ModelReference
from sanaflow.progress import progress_bar

PREVIEW_PICTURES = 8


def make_latent_cache(
    table: ImageTable, plan: BucketPlan, *, model: ModelReference, settings: CacheSettings, store: ShardStore
) -> LatentCache:
    """All of it in one process: look up, encode, index. Raises what these raise."""
    work = look_up_latents(table, plan, model=model, settings=settings, store=store)
    parts = [
        encode_latents(work, table, worker=worker, model=model, settings=settings, store=store)
        for worker in range(settings.encode_workers)
    ]
    return merge_latents(work, parts, store=store)


def look_up_latents(
    table: ImageTable, plan: BucketPlan, *, model: ModelReference, settings: CacheSettings, store: ShardStore
) -> LatentWork:
    """See which crops of the plan the store holds, and split the others among the workers by their cost.

    Raises:
        InputError: The store can't be read.
    """
    fingerprint = latents_fingerprint(model, settings)
    keys = [latent_key(row, fingerprint) for row in plan.crops[GEOMETRY].to_numpy()]
    crops = plan.crops.assign(key=keys).join(table.pictures.set_index(["dataset", "id"])["file"], on=["dataset", "id"])
    found = store.find(crops["key"])
    missing = crops[~crops["key"].isin(found)].drop_duplicates("key").sort_values(["width", "height", "key"])
    print(f"{len(found):,} of {crops['key'].nunique():,} latents reused, {len(missing):,} to encode")
    shape = [f"{row.width}x{row.height}" for row in missing.itertuples()]
    size = [batch_size(row.width, row.height, settings) for row in missing.itertuples()]
    batch = missing.groupby(["width", "height"]).cumcount().to_numpy() // np.array(size, dtype=int)
    missing = missing.assign(shape=shape, batch=batch)
    cost = (missing["width"] * missing["height"]).groupby([missing["shape"], missing["batch"]], sort=False).sum()
    worker = pd.Series(assign_workers(cost.to_numpy(), settings.encode_workers), index=cost.index)
    of_row = worker.loc[list(zip(missing["shape"], missing["batch"], strict=True))].to_numpy() if len(missing) else []
    return LatentWork(crops, missing.assign(worker=of_row).reset_index(drop=True))


def encode_latents(
    work: LatentWork,
    table: ImageTable,
    *,
    worker: int,
    model: ModelReference,
    settings: CacheSettings,
    store: ShardStore,
) -> EncodedPart:
    """Encode one worker's part and write it to the store; what is there by now is left alone.

    Latents are (channels, height, width), already times the autoencoder's scaling factor, in `settings.vae_dtype`. A
    picture whose latents aren't finite is reported, never stored.

    Raises:
        InputError: The model or the store can't be used, or a picture has changed since it was looked at.
    """
    missing = work.missing[work.missing["worker"] == worker]
    missing = missing[~missing["key"].isin(store.find(missing["key"]))]
    if missing.empty:
        return EncodedPart()
    try:
        return _encode_missing(missing, table, model, settings, store)
    finally:
        free_memory()


def _encode_missing(
    missing: pd.DataFrame, table: ImageTable, model: ModelReference, settings: CacheSettings, store: ShardStore
) -> EncodedPart:
    vae = load_autoencoder(model, settings, default_device())
    encoder = _Encoder(vae, table.uri_of(), settings, store, model.name, total=len(missing))
    channels, ratio = vae.config.latent_channels, vae.spatial_compression_ratio
    itemsize = torch.empty(0, dtype=vae.dtype).element_size()

    def latent_bytes(row: Any) -> int:
        return channels * (row.width // ratio) * (row.height // ratio) * itemsize

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
        settings: CacheSettings,
        store: ShardStore,
        model: str,
        *,
        total: int,
    ) -> None:
        self._uri_of, self._store, self._model = uri_of, store, model
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

    def encode(self, shards: Iterator[Shard]) -> None:
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

    def _read(self, row: Any) -> Image.Image | None:
        uri = self._uri_of[row.dataset, row.id]
        try:
            box = (row.left, row.top, row.right, row.bottom)
            return read_crop(uri, row.id, resize=(row.resize_width, row.resize_height), crop=box)
        except UnreadablePictureError as error:
            self._reasons[row.key] = str(error)
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

    def _encode_rows(self, rows: list[Any], pictures: list[Image.Image | None]) -> dict[str, torch.Tensor]:
        read = [(row, picture) for row, picture in zip(rows, pictures, strict=True) if picture is not None]
        if not read:
            return {}
        whole = [picture for _, picture in read]
        entries = {}
        for (row, picture), latent in zip(read, self._encode_batch(whole, size=whole[0].size), strict=True):
            if not latent.isfinite().all():
                self._reasons[row.key] = "its latents are not finite numbers"
                continue
            entries[row.key] = latent
            if len(self.shown) < PREVIEW_PICTURES:
                self.shown.append((picture, latent))
        self.encoded += len(entries)
        return entries


def merge_latents(work: LatentWork, parts: list[EncodedPart], *, store: ShardStore) -> LatentCache:
    """Index what the store holds now.

    Raises:
        InputError: No picture is left, or something is neither in the store nor reported as failed.
    """
    crops, found = work.crops, store.find(work.crops["key"])
    reasons = dict(pd.concat([part.failed for part in parts])[["key", "reason"]].to_numpy())
    absent = set(crops["key"]) - set(found) - set(reasons)
    if absent:
        store.renew_state()
        raise InputError(f"{len(absent):,} latents are no longer in '{store.place}': run again, to encode them anew")
    lost = crops[~crops["key"].isin(found)].drop_duplicates(["dataset", "id"])
    pictures = pd.MultiIndex.from_frame(crops[["dataset", "id"]])
    usable = crops[
        ~pictures.isin(pd.MultiIndex.from_frame(lost[["dataset", "id"]]))
    ]  # all of a picture's crops, or none
    if usable.empty:
        raise InputError(f"no picture has usable latents; the first: {next(iter(reasons.values()))}")
    entries = usable.assign(
        shard=[found[key].shard for key in usable["key"]], row=[found[key].row for key in usable["key"]]
    )
    rejected = [(row.dataset, row.file, reasons[row.key]) for row in lost.itertuples()]
    return LatentCache(
        store=store,
        entries=entries[LATENT_COLUMNS].reset_index(drop=True),
        rejected=pd.DataFrame(rejected, columns=REJECTED_COLUMNS),
        encoded=sum(part.encoded for part in parts),
        seconds=max(part.seconds for part in parts),
        bytes=sum(part.bytes for part in parts),
        statistics=latent_statistics(entries, store),
        preview=next((part.preview for part in parts if part.preview is not None), None),
    )


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
