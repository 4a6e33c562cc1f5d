"""Caches of some bundled pictures, encoded with a small model of random weights, for benchmarks to train on."""

import atexit
import contextlib
import io
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks._random_sana import write_random_sana
from sanaflow.buckets.plan import plan_crops
from sanaflow.cache.caption_cache import make_caption_cache
from sanaflow.cache.folder import FolderStore
from sanaflow.cache.index import CaptionCache, LatentCache
from sanaflow.cache.latent_cache import make_latent_cache
from sanaflow.config import CacheSettings, ModelSettings
from sanaflow.datasets import DatasetSettings
from sanaflow.images.scan import scan_datasets
from sanaflow.model.reference import ModelReference, resolve_model

ASSETS = Path(__file__).resolve().parent.parent / "assets"


@cache
def small_model() -> ModelReference:
    """A Sana of random weights, in a folder that is gone with the process."""
    folder = Path(tempfile.mkdtemp(prefix="sanaflow-benchmark-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return resolve_model(ModelSettings(pretrained_model_name_or_path=str(write_random_sana(folder / "model"))))


def bundled_pictures() -> list[Path]:
    """All 64, in an order that never changes."""
    return sorted((ASSETS / "pictures").glob("*.webp"))


def encode(
    folder: Path, sets: Mapping[str, tuple[str, Sequence[Path]]], *, resolution: int = 64
) -> tuple[LatentCache, CaptionCache]:
    """Encode sets of pictures, captioned by their names.

    Args:
        folder: For all that is made.
        sets: `dataset_type` and pictures, by the set's id.
        resolution: Edge in pixels.
    """
    datasets = []
    for name, (kind, pictures) in sets.items():
        place = folder / name
        place.mkdir(parents=True, exist_ok=True)
        for picture in pictures:
            shutil.copy(picture, place)
        entry: dict[str, Any] = {
            "id": name,
            "dataset_type": kind,
            "instance_data_dir": str(place),
            "resolution": resolution,
        }
        datasets.append(DatasetSettings(**entry, crop=True, crop_aspect="square"))
    model, settings = small_model(), CacheSettings(text_encoder_dtype="fp32")
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        table = scan_datasets(datasets, folder=folder / "index")
        plan = plan_crops(table.pictures, datasets, alignment=8)
        latents = make_latent_cache(table, plan, model=model, settings=settings, store=FolderStore(folder / "latents"))
        captions = make_caption_cache(
            table,
            prompts=(),
            negative_prompts=(),
            model=model,
            settings=settings,
            store=FolderStore(folder / "captions"),
        )
    return latents, captions
