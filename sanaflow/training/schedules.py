"""Schedules of the learning rate, by optimizer step."""

import torch
from diffusers.optimization import get_polynomial_decay_schedule_with_warmup, get_scheduler

from sanaflow.config import TrainingSettings


def make_schedule(
    optimizer: torch.optim.Optimizer, settings: TrainingSettings, *, steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """The schedule that the settings name, over `steps` optimizer steps."""
    warm_up = min(settings.lr_warmup_steps, steps)
    if settings.lr_scheduler == "polynomial":  # diffusers' own entry fixes where it ends
        return get_polynomial_decay_schedule_with_warmup(
            optimizer, warm_up, steps, lr_end=settings.lr_end, power=settings.lr_power
        )
    return get_scheduler(
        settings.lr_scheduler,
        optimizer,
        num_warmup_steps=warm_up,
        num_training_steps=steps,
        num_cycles=settings.lr_num_cycles,
        power=settings.lr_power,
    )
