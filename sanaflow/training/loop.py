"""The training loop: from the caches alone, neither autoencoder nor text encoder in memory."""

import resource
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from diffusers import SanaTransformer2DModel
from diffusers.optimization import get_scheduler

from sanaflow.config import TrainingSettings
from sanaflow.errors import InputError
from sanaflow.progress import progress_bar
from sanaflow.training.batches import Batch, Batches
from sanaflow.training.flow import add_noise, auto_shift, draw_sigmas, flow_losses, losses_by_sigma, timesteps
from sanaflow.training.log import COLUMNS, SIGMA_BINS, TrainingLog
from sanaflow.training.randomness import generator
from sanaflow.training.state import load_checkpoint, save_checkpoint

SANA_SHIFT = 3.0
LOG_WINDOW = 10
Draw = Callable[[torch.nn.Module, int], None]
"""Called with the model and the number of steps taken, to draw validation pictures."""


def train(
    transformer: SanaTransformer2DModel,
    batches: Batches,
    *,
    settings: TrainingSettings,
    checkpoints: Path,
    draw: Draw | None = None,
    draw_every: int = 0,
) -> TrainingLog:
    """Train in place, from the newest checkpoint if there is one; the result is the same as without the interruption.

    Args:
        transformer: A `SanaTransformer2DModel` with fp32 weights.
        batches: What it learns from.
        settings: How.
        checkpoints: Folder for checkpoints, of this run alone.
        draw: Draws validation pictures before the first step, after each `draw_every` and after the last.
        draw_every: Optimizer steps.

    Raises:
        InputError: The loss is no longer a finite number, or a checkpoint can't be written.
    """
    AcceleratorState._reset_state()  # a process may train more than once, and in another precision
    accelerator = Accelerator(
        mixed_precision=settings.mixed_precision, gradient_accumulation_steps=settings.gradient_accumulation_steps
    )
    if accelerator.num_processes > 1:
        raise InputError("training runs on one process for now: start it without `accelerate launch` or torchrun")
    transformer.requires_grad_(True).train().to(accelerator.device)
    if settings.gradient_checkpointing:
        transformer.enable_gradient_checkpointing()
    optimizer = torch.optim.AdamW(
        transformer.parameters(),
        lr=settings.learning_rate,
        betas=(settings.adam_beta1, settings.adam_beta2),
        eps=settings.adam_epsilon,
        weight_decay=settings.adam_weight_decay,
    )
    scheduler = get_scheduler(
        settings.lr_scheduler,
        optimizer,
        num_warmup_steps=settings.lr_warmup_steps,
        num_training_steps=settings.max_train_steps,
    )
    state = {"model": transformer, "optimizer": optimizer, "scheduler": scheduler}
    start, log = load_checkpoint(checkpoints, **state)
    model, prepared = accelerator.prepare(transformer, optimizer, device_placement=[True, False])
    if draw and start == 0:
        draw(transformer, 0)
        transformer.train()

    window: list[dict[str, torch.Tensor | float]] = []
    with progress_bar(total=settings.max_train_steps, initial=start, desc="training", unit="step") as progress:
        for step in range(start, settings.max_train_steps):
            began = time.perf_counter()
            row = _step(step, model, prepared, batches, settings, accelerator)
            scheduler.step()
            window.append(row | {"step": step + 1, "seconds_per_step": time.perf_counter() - began})
            progress.update()
            done = step + 1
            last = done == settings.max_train_steps
            due = done % settings.checkpointing_steps == 0
            if len(window) == LOG_WINDOW or last or due:  # reading numbers waits for the GPU: not every step
                log += [_plain(row) for row in window]
                window = []
                progress.set_postfix(loss=f"{log[-1]['loss']:.4f}", refresh=False)
                _check_finite(log[-LOG_WINDOW:])
            if draw and (last or done % draw_every == 0):
                draw(transformer, done)
                transformer.train()
            if due:  # after drawing: a run that is killed in between draws again
                save_checkpoint(checkpoints, step=done, log=log, keep=settings.checkpoints_total_limit, **state)
    return TrainingLog(pd.DataFrame(log, columns=COLUMNS))


def _step(
    step: int,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Batches,
    settings: TrainingSettings,
    accelerator: Accelerator,
) -> dict[str, torch.Tensor | float]:
    """One optimizer step over `gradient_accumulation_steps` batches."""
    losses, sigmas = [], []
    for number in range(step * settings.gradient_accumulation_steps, (step + 1) * settings.gradient_accumulation_steps):
        with accelerator.accumulate(model):
            sample_losses, sample_sigmas = batch_losses(
                model, batches[number], number=number, settings=settings, device=accelerator.device
            )
            accelerator.backward(sample_losses.mean())
            if accelerator.sync_gradients:
                grad_norm = accelerator.clip_grad_norm_(model.parameters(), settings.max_grad_norm)
            optimizer.step()
            optimizer.zero_grad()
        losses.append(sample_losses.detach())
        sigmas.append(sample_sigmas)
    binned = losses_by_sigma(torch.cat(losses), torch.cat(sigmas), bins=SIGMA_BINS)
    return {
        "loss": torch.cat(losses).mean(),
        "learning_rate": optimizer.param_groups[0]["lr"],
        "grad_norm": grad_norm,
        **{f"loss_sigma_{i}": binned[i] for i in range(SIGMA_BINS)},
        "peak_memory_bytes": _peak_memory_bytes(),
    }


def batch_losses(
    model: torch.nn.Module, batch: Batch, *, number: int, settings: TrainingSettings, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Each sample's loss and, on the CPU, noise level: fp32 (batch,), functions of the seed and the batch's number."""
    latents = batch.latents.to(device, torch.float32)
    shift = auto_shift(latents[0, 0].numel()) if settings.flow_schedule_auto_shift else settings.flow_schedule_shift
    draws = generator(settings.seed, 0, number, "sigmas")
    on_cpu = draw_sigmas(len(latents), shift=shift or SANA_SHIFT, generator=draws)
    sigmas = on_cpu.to(device)
    noise = torch.randn(latents.shape, generator=generator(settings.seed, 0, number, "noise")).to(device)
    predicted = model(
        add_noise(latents, noise, sigmas),
        encoder_hidden_states=batch.embeddings.to(device, torch.float32),
        encoder_attention_mask=batch.mask.to(device),
        timestep=timesteps(sigmas),
        return_dict=False,
    )[0]
    return flow_losses(predicted, latents, noise), on_cpu


def _peak_memory_bytes() -> int:
    """Of the GPU if there is one, else of the process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _plain(row: dict[str, torch.Tensor | float]) -> dict[str, float]:
    return {name: float(value) for name, value in row.items()}


def _check_finite(rows: list[dict[str, float]]) -> None:
    for row in rows:
        if not torch.tensor([row["loss"], row["grad_norm"]]).isfinite().all():
            raise InputError(
                f"step {row['step']:.0f}: the loss is {row['loss']}, its gradient's norm {row['grad_norm']}: "
                "lower training.learning_rate"
            )
