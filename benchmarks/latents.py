"""How many 12-megapixel JPEGs per CPU second against a plain loop, is the encoder ever starved, does memory grow?

python -m benchmarks.latents [--json] [--pictures N] [--skip-memory]

- speed: decode, resize, crop, bundled autoencoder, shard, without the sheet for people at the end; against Pillow
  (decode, EXIF, Lanczos, crop) and the same autoencoder one by one without any file written. At 64 px, what the bundled
  model is made for, and at 512 px, where the autoencoder costs more than decoding. One thread.
- difference: PSNR of crops from a JPEG decoded at reduced scale to those from a full decode, and how far the latents
  are apart, relative to their norm.
- starved: the share of the time between the first and the last batch that the encoder works, at 512 px.
- memory: peak of a process that encodes 1,000 and one that encodes 10,000 pictures of 256 px, 64 KiB of latents each,
  by an autoencoder of so few weights that it takes a minute.
"""

import contextlib
import io
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import click
import numpy as np
import pandas as pd
import torch
from diffusers import AutoencoderDC
from PIL import Image, ImageOps

from benchmarks._caches import small_model
from sanaflow.buckets.plan import BucketPlan, plan_crops
from sanaflow.cache import latent_cache, latent_encoder
from sanaflow.cache.folder import FolderStore
from sanaflow.cache.latents import encode_pictures, to_pixels
from sanaflow.cache.reading import LatentReader
from sanaflow.config import CacheSettings, ModelSettings
from sanaflow.datasets import DatasetSettings
from sanaflow.images.decode import read_crop
from sanaflow.images.scan import scan_datasets
from sanaflow.images.table import ImageTable
from sanaflow.model.loading import load_vae
from sanaflow.model.reference import ModelReference, resolve_model

RESOLUTIONS = (64, 512)
FEW, MANY = 1_000, 10_000
SIZE = (4003, 3001)


@click.command(help=__doc__)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
@click.option("--pictures", default=24, show_default=True, help="JPEGs of 12 megapixels.")
@click.option("--skip-memory", is_flag=True, help="Leave out the part that takes minutes.")
@click.option("--child", hidden=True, nargs=2, type=str)
def main(as_json: bool, pictures: int, skip_memory: bool, child: tuple[str, str] | None) -> None:
    """Measure and print."""
    if child:
        print(json.dumps(_peak_bytes(Path(child[0]), int(child[1]))))
        return
    model = small_model()
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        _write_jpegs(folder / "jpegs", pictures)
        torch.set_num_threads(1)
        for resolution in RESOLUTIONS:
            result[f"at {resolution} px"] = _speed(folder, resolution, model)
        torch.set_num_threads(2)
        result["encoder_share"] = _encoder_share(folder, model)
        if not skip_memory:
            _write_small(folder / "small", MANY)
            _write_small_model(folder / "model")
            peaks = [_run_child(folder, count) for count in (FEW, MANY)]
            result["peak_bytes"] = dict(zip((FEW, MANY), peaks, strict=True))
    if as_json:
        print(json.dumps({"benchmark": "latents", "pictures": pictures, **result}))
        return
    for resolution in RESOLUTIONS:
        row = result[f"at {resolution} px"]
        print(
            f"{resolution} px: ours {row['ours']:.2f} pictures a CPU second, a plain loop {row['plain']:.2f}: "
            f"{row['ours'] / row['plain']:.2f} times; crops within {row['psnr']:.1f} dB of a full decode, latents "
            f"within {row['latents_apart']:.2%}"
        )
    print(f"the encoder works {result['encoder_share']:.1%} of the time")
    if not skip_memory:
        few, many = peaks
        mib = f"{few / 2**20:,.0f} MiB for {FEW:,} pictures, {many / 2**20:,.0f} MiB for {MANY:,}"
        print(f"peak memory {mib}: {many / few:.3f} times")


def _plan(folder: Path, resolution: int, index: Path) -> tuple[ImageTable, BucketPlan]:
    dataset = DatasetSettings(id="set", instance_data_dir=str(folder), resolution=resolution)
    with contextlib.redirect_stdout(io.StringIO()):
        table = scan_datasets([dataset], folder=index)
        return table, plan_crops(table.pictures, [dataset], alignment=8)


def _speed(folder: Path, resolution: int, model: ModelReference) -> dict[str, float]:
    table, plan = _plan(folder / "jpegs", resolution, folder / "index")
    settings = CacheSettings()
    store = FolderStore(folder / f"store-{resolution}")
    work = latent_cache.look_up_latents(table, plan, model=model, settings=settings, store=store)
    vae = load_vae(model, torch.float32, torch.device("cpu"))
    rows = list(plan.crops.itertuples())
    uri_of = table.uri_of()
    with torch.inference_mode():
        latent_encoder.PREVIEW_PICTURES = 0
        encode_pictures(vae, [Image.new("RGB", (rows[0].width, rows[0].height))], settings)  # warm
        began = time.process_time()
        part = latent_cache.encode_latents(work, table, worker=0, model=model, settings=settings, store=store)
        ours = part.encoded / (time.process_time() - began)
        full: dict[str, tuple[Image.Image, torch.Tensor]] = {}
        began = time.process_time()
        for row in rows:
            opened = Image.open(uri_of[row.dataset, row.id])
            picture = ImageOps.exif_transpose(opened).convert("RGB")
            picture = picture.resize((row.resize_width, row.resize_height), Image.Resampling.LANCZOS)
            picture = picture.crop((row.left, row.top, row.right, row.bottom))
            full[row.id] = picture, vae.encode(to_pixels([picture], vae.device)).latent * vae.config.scaling_factor
        plain = len(rows) / (time.process_time() - began)
    cache = latent_cache.merge_latents(work, [part], store=store)
    reader = LatentReader(cache)
    apart, psnrs = [], []
    for position, row in enumerate(rows):
        picture, latent = full[row.id]
        own = reader.batch([position])
        apart.append(float((own - latent).norm() / latent.norm()))
        box = (row.left, row.top, row.right, row.bottom)
        reduced = read_crop(uri_of[row.dataset, row.id], row.id, resize=(row.resize_width, row.resize_height), crop=box)
        difference = np.asarray(reduced, float) - np.asarray(picture, float)
        psnrs.append(10 * np.log10(255**2 / (difference**2).mean()))
    return {"ours": ours, "plain": plain, "psnr": min(psnrs), "latents_apart": median(apart)}


def _encoder_share(folder: Path, model: ModelReference) -> float:
    """Of the time between the first batch's begin and the last one's end."""
    table, plan = _plan(folder / "jpegs", 512, folder / "index")
    spans: list[tuple[float, float]] = []

    def timed(*args: Any) -> list[torch.Tensor]:
        began = time.perf_counter()
        encoded = encode_pictures(*args)
        spans.append((began, time.perf_counter()))
        return encoded

    latent_encoder.encode_pictures = timed  # type: ignore[assignment]
    try:
        store = FolderStore(folder / "store-share")
        settings = CacheSettings(vae_batch_size=2)
        work = latent_cache.look_up_latents(table, plan, model=model, settings=settings, store=store)
        latent_cache.encode_latents(work, table, worker=0, model=model, settings=settings, store=store)
    finally:
        latent_encoder.encode_pictures = encode_pictures
    return sum(end - begin for begin, end in spans) / (spans[-1][1] - spans[0][0])


def _run_child(folder: Path, count: int) -> int:
    command = [sys.executable, "-m", "benchmarks.latents", "--child", str(folder), str(count)]
    ended = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    return json.loads(ended.stdout.splitlines()[-1])


def _peak_bytes(folder: Path, count: int) -> int:
    """Encode `count` pictures in this process and tell its peak."""
    torch.set_num_threads(1)
    model = resolve_model(ModelSettings(pretrained_model_name_or_path=str(folder / "model")))
    files = sorted((folder / "small").iterdir())[:count]
    rows = [{"dataset": "set", "id": file.stem, "file": file.name, "uri": str(file)} for file in files]
    table = ImageTable(pd.DataFrame(rows), pd.DataFrame())
    size = {name: 256 for name in ("width", "height", "resize_width", "resize_height", "right", "bottom")}
    crop = {
        **size,
        "left": 0,
        "top": 0,
        "variant": 0,
        "bucket": "1.0",
        "role": "train",
        "repeats": 0,
        "probability": 1.0,
    }
    plan = BucketPlan(pd.DataFrame([{"dataset": "set", "id": row["id"], **crop} for row in rows]))
    with tempfile.TemporaryDirectory() as store, contextlib.redirect_stdout(io.StringIO()):
        latent_cache.make_latent_cache(
            table, plan, model=model, settings=CacheSettings(), store=FolderStore(Path(store))
        )
    status = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) * 1024  # getrusage would tell the parent's peak, if that is higher


def _write_jpegs(folder: Path, count: int) -> None:
    """Twelve megapixels each, of sides that 8 doesn't divide: colours and grain."""
    folder.mkdir()
    noise = np.random.default_rng(0)
    for number in range(count):
        coarse = Image.fromarray(noise.integers(0, 255, (60, 80, 3), dtype=np.uint8))
        pixels = np.asarray(coarse.resize(SIZE, Image.Resampling.BICUBIC)).astype(np.int16)
        pixels += noise.normal(0, 6, (SIZE[1], SIZE[0], 1)).astype(np.int16)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{number}.jpg", quality=92)


def _write_small_model(folder: Path) -> None:
    shutil.copytree(small_model().folder(), folder, ignore=shutil.ignore_patterns("vae"))
    torch.manual_seed(0)
    AutoencoderDC(
        latent_channels=16,
        attention_head_dim=8,
        encoder_block_types=["ResBlock"] * 4,
        decoder_block_types=["ResBlock"] * 4,
        encoder_block_out_channels=(4, 4, 8, 16),
        decoder_block_out_channels=(4, 4, 8, 16),
        encoder_layers_per_block=(0, 1, 1, 1),
        decoder_layers_per_block=(0, 1, 1, 1),
        encoder_qkv_multiscales=((), (), (), ()),
        decoder_qkv_multiscales=((), (), (), ()),
        upsample_block_type="interpolate",
        downsample_block_type="conv",
    ).save_pretrained(folder / "vae")


def _write_small(folder: Path, count: int) -> None:
    """Pictures of 256 px, each under its sha256."""
    import hashlib

    folder.mkdir()
    noise = np.random.default_rng(0)
    for _ in range(count):
        coarse = Image.fromarray(noise.integers(0, 255, (8, 8, 3), dtype=np.uint8))
        buffer = io.BytesIO()
        coarse.resize((256, 256), Image.Resampling.BICUBIC).save(buffer, "JPEG")
        (folder / hashlib.sha256(buffer.getvalue()).hexdigest()).write_bytes(buffer.getvalue())


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.latents")
