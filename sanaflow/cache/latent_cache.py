"""From the plan to the latent cache: look up what the store holds, encode the rest in parts, and index all of it."""

import numpy as np
import pandas as pd

from sanaflow.buckets.plan import BucketPlan
from sanaflow.cache.halving import free_memory
from sanaflow.cache.index import LATENT_COLUMNS, LatentCache
from sanaflow.cache.latent_encoder import encode_missing
from sanaflow.cache.latents import GEOMETRY, batch_size, latent_key, latents_fingerprint
from sanaflow.cache.parts import EncodedPart, LatentWork
from sanaflow.cache.statistics import latent_statistics
from sanaflow.cache.store import ShardStore
from sanaflow.cache.work import left_to_do, locate, share_out
from sanaflow.config import CacheSettings
from sanaflow.errors import InputError
from sanaflow.images.table import REJECTED_COLUMNS, ImageTable
from sanaflow.model.reference import ModelReference


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
    of_table = table.pictures.set_index(["dataset", "id"])[["file", "mask_id"]]
    crops = plan.crops.join(of_table, on=["dataset", "id"])
    crops["key"] = [latent_key(row, fingerprint) for row in crops[GEOMETRY].to_numpy()]
    found = store.find(crops["key"])
    missing = crops[~crops["key"].isin(found)].drop_duplicates("key")
    missing = missing.sort_values(["width", "height", *GEOMETRY])  # not by key: other code makes the same batches
    print(f"{len(found):,} of {crops['key'].nunique():,} latents reused, {len(missing):,} to encode")
    shape = missing["width"].astype(str) + "x" + missing["height"].astype(str)
    shape += np.where(missing["mask_id"] == "", "", " and mask")
    size = [batch_size(w, h, settings) for w, h in zip(missing["width"], missing["height"], strict=True)]
    batch = missing.groupby(shape).cumcount() // np.array(size, dtype=int)
    missing = missing.assign(shape=shape, batch=batch)
    pixels = missing["width"] * missing["height"]
    return LatentWork(crops, share_out(missing, pixels.to_numpy(), settings.encode_workers))


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

    Latents are (channels, height, width), already times the autoencoder's scaling factor, in `settings.vae_dtype`; a
    masked picture's have one channel more, see `LatentCache.entries`. A
    picture whose latents aren't finite is reported, never stored.

    Raises:
        InputError: The model or the store can't be used, or a picture has changed since it was looked at.
    """
    missing = left_to_do(work.missing, worker, store)
    if missing.empty:
        return EncodedPart()
    try:
        return encode_missing(missing, table, model, settings, store)
    finally:
        free_memory()


def merge_latents(work: LatentWork, parts: list[EncodedPart], *, store: ShardStore) -> LatentCache:
    """Index what the store holds now.

    Raises:
        InputError: No picture is left, or something is neither in the store nor reported as failed.
    """
    crops, reasons = work.crops, dict(pd.concat([part.failed for part in parts])[["key", "reason"]].to_numpy())
    found = locate(crops["key"], store, failed=reasons)
    lost = crops[~crops["key"].isin(found)].drop_duplicates(["dataset", "id"])
    pictures = pd.MultiIndex.from_frame(crops[["dataset", "id"]])
    usable = crops[~pictures.isin(pd.MultiIndex.from_frame(lost[["dataset", "id"]]))]  # all crops of a picture or none
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
