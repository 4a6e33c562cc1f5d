"""A whole training run: from the caches and a model to weights in the store."""

import fcntl
import json
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from diffusers import SanaTransformer2DModel
from safetensors import SafetensorError

from sanaflow.cache.index import CaptionCache, LatentCache
from sanaflow.config import TrainingSettings
from sanaflow.errors import InputError
from sanaflow.model.loading import load_transformer
from sanaflow.model.reference import ModelReference
from sanaflow.model.tuned import SanaModel, weights_digest
from sanaflow.training.batches import Batches
from sanaflow.training.log import TrainingLog
from sanaflow.training.loop import Draw, train


def train_sana(
    latents: LatentCache,
    captions: CaptionCache,
    *,
    model: ModelReference,
    settings: TrainingSettings,
    run_folder: Path,
    models_folder: Path,
    draw: Draw | None = None,
    draw_every: int = 0,
) -> tuple[SanaModel, TrainingLog]:
    """Train the model's transformer and put it into `models_folder`, named by its content.

    Args:
        latents: What to learn from.
        captions: Its words.
        model: Where to start.
        settings: How.
        run_folder: For checkpoints; a run that was killed goes on from here. Emptied of them at the end.
        models_folder: For the result.
        draw: See `train`.
        draw_every: See `train`.

    Raises:
        InputError: A damaged cache, a model that can't be loaded, a loss that is no number.
    """
    checkpoints = run_folder / "checkpoints"
    with _alone_in(run_folder):
        transformer = load_transformer(model)
        log = train(
            transformer,
            Batches(latents, captions, settings),
            settings=settings,
            checkpoints=checkpoints,
            draw=draw,
            draw_every=draw_every,
        )
        folder = _save(transformer, models_folder)
        shutil.rmtree(checkpoints, ignore_errors=True)
    tuned = SanaModel(
        folder=folder,
        steps=settings.max_train_steps,
        base_model=model.name if model.commit is None else f"{model.name}@{model.commit}",
        base_digest=model.digest(),
        data_digests={"latents": latents.digest(), "captions": captions.digest()},
        settings=settings.model_dump(),
    )
    return tuned, log


def _save(transformer: SanaTransformer2DModel, models_folder: Path) -> Path:
    """Put the weights and the config, but no path of this machine, into a folder named by their digest."""
    hidden = models_folder / f".{uuid.uuid4().hex}.tmp"
    try:
        transformer.save_pretrained(hidden)
        config = json.loads((hidden / "config.json").read_text())
        config.pop("_name_or_path", None)
        (hidden / "config.json").write_text(json.dumps(config, indent=2))
        target = models_folder / weights_digest(hidden)
        if target.exists():  # the same weights were made before
            shutil.rmtree(hidden)
        else:
            hidden.rename(target)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(hidden, ignore_errors=True)
        raise InputError(f"can't write the model to '{models_folder}' ({error}): free some space") from None
    return target


@contextmanager
def _alone_in(run_folder: Path) -> Iterator[None]:
    """Hold the run's folder; the lock is gone with the process, however it ends.

    Raises:
        InputError: Another process trains the same run.
    """
    run_folder.mkdir(parents=True, exist_ok=True)
    with (run_folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"another process is training this very run in '{run_folder}': wait for it or stop it"
            ) from None
        yield
