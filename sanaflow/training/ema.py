"""A moving average of the trained weights, by diffusers' `EMAModel`."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from diffusers.training_utils import EMAModel

from sanaflow.config import TrainingSettings


def make_ema(weights: Sequence[torch.nn.Parameter], settings: TrainingSettings) -> EMAModel | None:
    """The average, beginning at the weights as they are; None if it isn't wanted.

    Its decay after n updates is min(ema_decay, (1 + n) / (10 + n)), so that the beginning is soon forgotten.
    """
    if not settings.use_ema:
        return None
    # Sharded weights know no foreach copy.
    ema = EMAModel(weights, decay=settings.ema_decay, foreach=not settings.fsdp_enable)
    # In bf16 what one update adds would be rounded away.
    ema.to("cpu" if settings.ema_device == "cpu" else None, dtype=torch.float32)
    return ema


@torch.no_grad()
def update(ema: EMAModel, weights: Iterable[torch.Tensor], settings: TrainingSettings) -> None:
    """Take in the weights after an optimizer step."""
    device = "cpu" if settings.ema_device == "cpu" else None
    # What needs no gradient would be copied, not averaged.
    ema.step([weight.detach().to(device, torch.float32).requires_grad_() for weight in weights])


@contextmanager
def swapped_in(ema: EMAModel, weights: Sequence[torch.nn.Parameter]) -> Iterator[None]:
    """Let the weights be their average."""
    ema.store(weights)
    ema.copy_to(weights)
    try:
        yield
    finally:
        ema.restore(weights)
