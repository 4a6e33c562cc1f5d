"""Encode what the store doesn't hold yet: read, resize, crop, autoencoder, shard."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image

from sanaflow.buckets.plan import BucketPlan
from sanaflow.cache.index import LATENT_COLUMNS, LatentCache
from sanaflow.cache.store import SHARD_BYTES, ShardStore, bytes_of
from sanaflow.config import CacheSettings
from sanaflow.digests import digest_of, file_digest
from sanaflow.errors import InputError
from sanaflow.images import decode
from sanaflow.images.contact_sheet import contact_sheet
from sanaflow.images.decode import ChangedPictureError, UnreadablePictureError, read_crop
from sanaflow.images.table import REJECTED_COLUMNS, ImageTable
from sanaflow.model.loading import DTYPES, default_device, load_vae
from sanaflow.model.reference import ModelReference
from sanaflow.progress import progress_bar

CODE = [file_digest(Path(file)) for file in (__file__, decode.__file__)]
"""Part of every key: changed code never gets latents that other code made."""
PREVIEW_PICTURES = 8


def encode_latents(
    table: ImageTable, plan: BucketPlan, *, model: ModelReference, settings: CacheSettings, folder: Path
) -> LatentCache:
    """Find or make the latents of every crop in the plan.

    Latents are (channels, height, width), already times the autoencoder's scaling factor, in `settings.vae_dtype`. A
    picture whose latents aren't finite is reported and left out.

    Raises:
        InputError: The model or the store can't be used, a picture has changed since it was looked at, or none is left.
    """
    store = ShardStore(folder)
    crops = plan.crops.assign(key=_keys(plan.crops, model, settings))
    found = store.find(crops["key"])
    missing = crops[~crops["key"].isin(found)].drop_duplicates("key").sort_values(["width", "height", "key"])
    print(f"{len(found):,} of {crops['key'].nunique():,} latents reused, {len(missing):,} to encode")

    unusable: dict[str, str] = {}
    preview = None
    if len(missing):
        preview = _encode_missing(missing, table.uri_of(), model, settings, store, unusable)
        found |= store.find(missing["key"])
    lost = crops.loc[~crops["key"].isin(found), ["dataset", "id"]].apply(tuple, axis=1)
    usable = crops[~crops[["dataset", "id"]].apply(tuple, axis=1).isin(set(lost))]  # all crops of a picture, or none
    if usable.empty:
        raise InputError(f"no picture has usable latents; the first: {next(iter(unusable.values()))}")
    entries = usable.assign(
        shard=[found[key].shard for key in usable["key"]], row=[found[key].row for key in usable["key"]]
    )
    return LatentCache(
        folder=folder,
        entries=entries[LATENT_COLUMNS].reset_index(drop=True),
        rejected=_rejected(crops, unusable, table),
        encoded=len(missing) - len(unusable),
        preview=preview,
    )


def _keys(crops: pd.DataFrame, model: ModelReference, settings: CacheSettings) -> list[str]:
    fingerprint = [model.digest("vae"), settings.vae_dtype, CODE]
    geometry = crops[["id", "width", "height", "resize_width", "resize_height", "left", "top"]]
    return [
        digest_of([*(x.item() if hasattr(x, "item") else x for x in row), fingerprint]) for row in geometry.to_numpy()
    ]


def _encode_missing(
    missing: pd.DataFrame,
    uri_of: dict[tuple[str, str], str],
    model: ModelReference,
    settings: CacheSettings,
    store: ShardStore,
    unusable: dict[str, str],
) -> Image.Image | None:
    """Encode and write shards; fills `unusable` with reasons by key, and returns the preview."""
    device = default_device()
    vae = load_vae(model, DTYPES[settings.vae_dtype], device)
    shown: list[tuple[Image.Image, torch.Tensor]] = []
    with torch.inference_mode(), progress_bar(total=len(missing), desc="encoding latents", unit="picture") as progress:
        for _, rows in groupby(missing.itertuples(), key=lambda row: (row.width, row.height)):
            keys: list[str] = []
            latents: list[torch.Tensor] = []
            for batch, pictures in _decoded_batches(list(rows), uri_of, settings.vae_batch_size, unusable):
                encoded = vae.encode(to_pixels(pictures).to(device, vae.dtype)).latent * vae.config.scaling_factor
                for row, picture, latent in zip(batch, pictures, encoded.cpu(), strict=True):
                    if not latent.isfinite().all():
                        unusable[row.key] = "its latents are not finite numbers"
                        continue
                    keys.append(row.key)
                    latents.append(latent)
                    if len(shown) < PREVIEW_PICTURES:
                        shown.append((picture, latent))
                if bytes_of(latents) >= SHARD_BYTES:
                    store.write(keys, {"latents": torch.stack(latents)})
                    keys, latents = [], []
                progress.update(len(batch))
            if latents:
                store.write(keys, {"latents": torch.stack(latents)})
        return _preview(shown, vae) if shown else None


def _decoded_batches(
    rows: list[Any], uri_of: dict[tuple[str, str], str], batch_size: int, unusable: dict[str, str]
) -> Iterator[tuple[list[Any], list[Image.Image]]]:
    """Batches of rows with their crops; the next batch is decoded while the caller works on this one.

    What can't be decoded is left out and its reason put into `unusable`.
    """

    def read(row: Any) -> Image.Image | None:
        uri, box = uri_of[row.dataset, row.id], (row.left, row.top, row.right, row.bottom)
        try:
            return read_crop(uri, row.id, resize=(row.resize_width, row.resize_height), crop=box)
        except UnreadablePictureError as error:
            unusable[row.key] = str(error)
            return None
        except (OSError, ChangedPictureError) as error:
            raise InputError(f"the picture '{uri}' can't be read any more ({error}): run again, to look anew") from None

    batches = [rows[i : i + batch_size] for i in range(0, len(rows), batch_size)]
    with ThreadPoolExecutor() as pool:
        coming = [pool.submit(read, row) for row in batches[0]]
        for i, batch in enumerate(batches):
            read_ones = zip(batch, [future.result() for future in coming], strict=True)
            whole = [(row, picture) for row, picture in read_ones if picture is not None]
            coming = [pool.submit(read, row) for row in batches[i + 1]] if i + 1 < len(batches) else []
            if whole:
                yield [row for row, _ in whole], [picture for _, picture in whole]


def to_pixels(pictures: list[Image.Image]) -> torch.Tensor:
    """RGB pictures of one size as (batch, 3, height, width), fp32 in [-1, 1]."""
    return torch.from_numpy(np.stack([np.asarray(p) for p in pictures])).permute(0, 3, 1, 2).float() / 127.5 - 1


def _preview(shown: list[tuple[Image.Image, torch.Tensor]], vae: Any) -> Image.Image:
    """Originals in the upper row, decoded latents in the lower."""
    decoded = []
    for _, latent in shown:
        scaled = latent[None].to(vae.device, vae.dtype) / vae.config.scaling_factor
        pixels = ((vae.decode(scaled).sample[0].float().clamp(-1, 1) + 1) * 127.5).round().byte()
        decoded.append(Image.fromarray(pixels.permute(1, 2, 0).cpu().numpy()))
    originals = [picture for picture, _ in shown]
    labels = ["original"] * len(originals) + ["from its latents"] * len(decoded)
    return contact_sheet([*originals, *decoded], labels, columns=len(shown))


def _rejected(crops: pd.DataFrame, unusable: dict[str, str], table: ImageTable) -> pd.DataFrame:
    file_of = table.pictures.set_index(["dataset", "id"])["file"]
    lost = crops[crops["key"].isin(unusable)].drop_duplicates(["dataset", "id"])
    rows = [(c.dataset, file_of[c.dataset, c.id], unusable[c.key]) for c in lost.itertuples()]
    return pd.DataFrame(rows, columns=REJECTED_COLUMNS)
