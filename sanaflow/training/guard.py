"""No update with a loss or gradient that is no number.

Whether one is, is worked out where the numbers are. PyTorch's own fused optimizers are told there, too, and leave the
update out by themselves, as they do for its gradient scaler: nothing waits for the GPU. Others have to be asked for
each step from here, which waits once a step.
"""

import torch
from accelerate import Accelerator

SCALER_PATIENCE = 20
"""A scale of 2**16, with which PyTorch begins, is below 1 by then."""


class Guard:
    """Counts updates that were left out."""

    def __init__(self, accelerator: Accelerator) -> None:
        self._accelerator = accelerator
        self.forget()

    def forget(self) -> None:
        """Count from 0."""
        device = self._accelerator.device
        self.in_a_row = torch.zeros((), dtype=torch.long, device=device)
        self.most_in_a_row, self._overflows = self.in_a_row.clone(), self.in_a_row.clone()

    def step(self, optimizer: torch.optim.Optimizer, loss: torch.Tensor, grad_norm: torch.Tensor) -> torch.Tensor:
        """Let the optimizer step if loss and gradient norm are finite in every process; whether they weren't, bool ().

        With a gradient scaler, gradients that overflow are its own business: it leaves the update out and halves its
        scale, until that has happened `SCALER_PATIENCE` times in a row.
        """
        scaler = self._accelerator.scaler
        overflow = ~grad_norm.isfinite()
        self._overflows = torch.where(overflow, self._overflows + 1, 0)
        bad = ~loss.isfinite() | (self._overflows > SCALER_PATIENCE if scaler else overflow)
        if self._accelerator.num_processes > 1:
            bad = self._accelerator.reduce(bad.float(), "sum") > 0
        if scaler:
            scaler.step(optimizer)
            scaler.update()
        elif getattr(optimizer, "_step_supports_amp_scaling", False):
            optimizer.grad_scale, optimizer.found_inf = None, bad.float()  # type: ignore[attr-defined]
            optimizer.step()
        elif not bad:
            optimizer.step()
        self.in_a_row = torch.where(bad, self.in_a_row + 1, 0)
        self.most_in_a_row = torch.maximum(self.most_in_a_row, self.in_a_row)
        return bad
