"""A whole training run: from the caches and a model to weights in the store."""

import fcntl
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from safetensors import SafetensorError

from sanaflow.cache.index import CaptionCache, LatentCache
from sanaflow.config import TrainingSettings, ValidationSettings
from sanaflow.errors import InputError
from sanaflow.model.reference import ModelReference
from sanaflow.model.tunable import Tunable, load_tunable
from sanaflow.model.tuned import SanaModel, weights_digest
from sanaflow.training.batches import Batches
from sanaflow.training.checkpoints import Checkpoints
from sanaflow.training.ema import swapped_in
from sanaflow.training.evaluation_loss import EvaluationLoss
from sanaflow.training.log import TrainingLog
from sanaflow.training.looks import Draw
from sanaflow.training.loop import Loop
from sanaflow.training.mirror import Mirror
from sanaflow.training.optimizers import averaged
from sanaflow.training.resume import begin_from, identity_of
from sanaflow.training.setup import Setup, make_accelerator, set_up
from sanaflow.training.trackers import start_trackers


def train_sana(
    latents: LatentCache,
    captions: CaptionCache,
    *,
    model: ModelReference,
    settings: TrainingSettings,
    run_folder: Path,
    models_folder: Path,
    validation: ValidationSettings | None = None,
    draw: Draw | None = None,
    mirror: Mirror | None = None,
    publish: Callable[[Path, int], None] | None = None,
    start: SanaModel | None = None,
) -> tuple[SanaModel, TrainingLog]:
    """Train the model's transformer, or an adapter on it, and put it into `models_folder`, named by its content.

    With several processes each calls this, with the same folders.

    Args:
        latents: What to learn from.
        captions: Its words.
        model: Where to start.
        settings: How.
        run_folder: For checkpoints; a run that was killed goes on from here. Emptied of them at the end.
        models_folder: For the result.
        validation: When to draw and to measure.
        draw: See `Draw`.
        mirror: Where checkpoints are copied to, for another machine to go on from.
        start: The weights to begin with; None: the model's own.
        publish: Given a folder with the weights as they would be released, and the step, after each checkpoint.

    Raises:
        InputError: A damaged cache, a model that can't be loaded, losses that are no numbers.
        StoppedError: SIGTERM came; run again to go on.
    """
    validation = validation or ValidationSettings()
    accelerator = make_accelerator(settings, validation, run_folder)
    checkpoints = Checkpoints(run_folder / "checkpoints", keep=settings.checkpoints_total_limit, mirror=mirror)
    with _alone_in(run_folder, accelerator):
        batches = Batches(latents, captions, settings)
        evaluation = EvaluationLoss(latents, captions, validation, batch_size=settings.train_batch_size)
        tunable = load_tunable(model, settings, accelerator.device)
        if start:
            start.verify()
            tunable.load(start.versions()["tuned"])
        setup = set_up(tunable, batches, settings=settings, accelerator=accelerator)
        identity = identity_of(latents, captions, model, settings)
        if accelerator.is_main_process:
            begin_from(checkpoints, settings.resume_from_checkpoint, identity, run_folder)
        accelerator.wait_for_everyone()
        start_trackers(accelerator, settings, validation, run_folder)
        loop = Loop(
            setup,
            batches,
            settings=settings,
            checkpoints=checkpoints,
            validation=validation,
            evaluation=evaluation if evaluation.datasets else None,
            draw=draw,
            identity=identity,
            after_checkpoint=(lambda: _publish(setup, run_folder, publish)) if publish else None,
        )
        log = loop.run()
        folder = _save(setup, models_folder, ema=settings.use_ema)
        if accelerator.is_main_process:
            checkpoints.remove()
        accelerator.wait_for_everyone()
        accelerator.end_training()
    tuned = SanaModel(
        folder=folder,
        steps=setup.steps,
        base_model=model.name if model.commit is None else f"{model.name}@{model.commit}",
        base_digest=model.digest(),
        data_digests={"latents": latents.digest(), "captions": captions.digest()},
        settings=settings.model_dump(),
        kind="full" if settings.model_type == "full" else settings.lora_type,
        ema=settings.use_ema,
        started_from=start.digest() if start else None,
    )
    return tuned, log


def _save(setup: Setup, models_folder: Path, *, ema: bool) -> Path:
    """Put the weights, and their average into a folder `ema`, into a folder named by their digest."""
    state, accelerator = setup.state, setup.accelerator
    hidden, target = models_folder / f".{uuid.uuid4().hex}.tmp", models_folder
    try:
        with averaged(state.optimizer):
            _write(setup.tunable, hidden, state.whole_weights(), accelerator)
        if state.ema and ema:
            with swapped_in(state.ema, list(state.weights.values())):
                _write(setup.tunable, hidden / "ema", state.whole_weights(), accelerator)
        if accelerator.is_main_process:
            target = models_folder / weights_digest(hidden)
            if weights_digest(target) == target.name:  # the same weights were made before
                shutil.rmtree(hidden)
            else:
                shutil.rmtree(target, ignore_errors=True)  # damaged
                hidden.rename(target)
        [name] = broadcast_object_list([target.name])
    except (OSError, SafetensorError) as error:
        shutil.rmtree(hidden, ignore_errors=True)
        raise InputError(f"can't write the model to '{models_folder}' ({error}): free some space") from None
    return models_folder / name


def _publish(setup: Setup, run_folder: Path, publish: Callable[[Path, int], None]) -> None:
    """Hand out the weights as they are now, the average of them if there is one."""
    state = setup.state
    weights = list(state.weights.values())
    with swapped_in(state.ema, weights) if state.ema else averaged(state.optimizer):
        whole = state.whole_weights()
        with tempfile.TemporaryDirectory(dir=run_folder) as scratch:
            place = Path(scratch) if setup.tunable.has_adapter else Path(scratch) / "transformer"
            _write(setup.tunable, place, whole, setup.accelerator)
            if setup.accelerator.is_main_process:
                publish(Path(scratch), state.step)
    setup.accelerator.wait_for_everyone()


def _write(tunable: Tunable, folder: Path, weights: dict[str, torch.Tensor], accelerator: Accelerator) -> None:
    if accelerator.is_main_process:
        tunable.save(folder, weights)


@contextmanager
def _alone_in(run_folder: Path, accelerator: Accelerator) -> Iterator[None]:
    """Hold the run's folder; the lock is gone with the process, however it ends.

    Raises:
        InputError: Another process trains the same run.
    """
    if not accelerator.is_main_process:  # the first process holds it for all
        yield
        return
    run_folder.mkdir(parents=True, exist_ok=True)
    with (run_folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"another process is training this very run in '{run_folder}': wait for it or stop it"
            ) from None
        yield
