"""How much a run will write, worked out from its plan."""

import io
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from huggingface_hub import constants
from zenml.client import Client

from materializers.shards import shard_store
from pipelines.checking.disk import Need
from pipelines.checking.model import sizes, to_download
from sanaflow.buckets.plan import BucketPlan
from sanaflow.config import RunSettings
from sanaflow.images.table import REJECTED_COLUMNS, ImageTable
from sanaflow.model.reference import ModelReference
from sanaflow.paths import expanded
from steps.store_folder import store_folder

if TYPE_CHECKING:
    from sanaflow.training.memory import MemoryEstimate

ITEMSIZE = {"fp32": 4, "bf16": 2}
CHARACTERS_PER_TOKEN = 3
"""Fewer than Gemma's tokens have in English, so that the estimate is none too small."""


def cache_needs(run: RunSettings, model: ModelReference, plan: BucketPlan, pictures: pd.DataFrame) -> Iterator[Need]:
    """Latents and embeddings that the store doesn't hold yet. An artifact store elsewhere takes none of a disk here."""
    if "://" in Client().active_stack.artifact_store.path:
        return
    from sanaflow.cache.caption_cache import text_key
    from sanaflow.cache.captions import captions_fingerprint
    from sanaflow.cache.latent_cache import look_up_latents
    from sanaflow.model.loading import pixels_per_token

    table = ImageTable(pictures, pd.DataFrame(columns=REJECTED_COLUMNS))
    with redirect_stdout(io.StringIO()):
        work = look_up_latents(table, plan, model=model, settings=run.caches, store=shard_store("latents"))
    shape: dict[str, Any] = model.config("transformer")
    compression = pixels_per_token(model) // shape["patch_size"]
    numbers = (work.missing["width"] * work.missing["height"]).sum() // compression**2 * shape["in_channels"]
    yield Need("latents", store_folder("latents"), int(numbers) * ITEMSIZE[run.caches.vae_dtype])

    fingerprint = captions_fingerprint(model, run.caches)
    texts = {text for captions in pictures["captions"] for text in captions}
    by_key = {text_key(text, instructed=True, fingerprint=fingerprint): text for text in texts}
    found = shard_store("captions").find(by_key)
    longest = run.caches.tokenizer_max_length
    tokens = sum(min(longest, 2 + len(t) // CHARACTERS_PER_TOKEN) for k, t in by_key.items() if k not in found)
    width = model.config("text_encoder")["hidden_size"] * ITEMSIZE[run.caches.text_encoder_dtype]
    yield Need("captions", store_folder("captions"), tokens * width)


def training_needs(run: RunSettings, model: ModelReference) -> Iterator[Need]:
    """Checkpoints, one more than are kept, and the weights at the end."""
    trained = one_process(run, model)
    checkpoint = trained.gradients + trained.optimizer + trained.ema
    kept = min(
        run.training.checkpoints_total_limit, -(-run.training.max_train_steps // run.training.checkpointing_steps)
    )
    yield Need("checkpoints", store_folder("training"), (kept + 1) * checkpoint)
    yield Need("weights", store_folder("models"), trained.gradients + trained.ema)


def publishing_needs(run: RunSettings, model: ModelReference) -> Iterator[Need]:
    """The release, a whole pipeline where every weight is tuned or an adapter merged."""
    release = expanded(run.publishing.release_dir) if run.publishing.release_dir else store_folder("releases")
    whole = run.training.model_type == "full" or run.publishing.release_merged
    adapter = one_process(run, model).gradients if run.training.model_type == "lora" else 0
    yield Need("release", release, adapter + (sum(sizes(model).values()) if whole else 0))


def model_needs(model: ModelReference) -> Iterator[Need]:
    """What is to be downloaded of the model."""
    yield Need("the model", Path(constants.HF_HUB_CACHE), to_download(model))


def one_process(run: RunSettings, model: ModelReference) -> "MemoryEstimate":
    """The whole of what is trained, however many processes share it."""
    from sanaflow.training.fit import largest_latents
    from sanaflow.training.memory import changed, estimate

    settings = changed(run.training, num_processes=1, fsdp_enable=False, ema_device="accelerator")
    return estimate(
        model.config("transformer"),
        settings,
        latent_size=largest_latents(run, model),
        text_tokens=run.caches.tokenizer_max_length,
    )
