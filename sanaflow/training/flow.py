"""Sana's flow matching (https://arxiv.org/abs/2410.10629): x_t = (1-s) x0 + s e, the model predicts e - x0."""

import math

import torch

from sanaflow.config import TrainingSettings
from sanaflow.training.transfer import to_device

SANA_SHIFT = 3.0
"""What Sana itself was trained with."""


def draw_sigmas(quantiles: torch.Tensor, *, tokens: int, settings: TrainingSettings) -> torch.Tensor:
    """Noise levels in (0, 1), fp32, of the distribution that the settings ask for.

    Args:
        quantiles: Uniform numbers in (0, 1), fp64: equal ones give equal noise levels.
        tokens: Latent tokens of a sample, for `flow_schedule_auto_shift`.
        settings: `flow_*`.
    """
    return shift_sigmas(_unshifted(quantiles, settings), shift_of(tokens, settings)).float()


def _unshifted(quantiles: torch.Tensor, settings: TrainingSettings) -> torch.Tensor:
    if settings.flow_use_uniform_schedule:
        return quantiles
    if settings.flow_use_beta_schedule:
        from scipy.stats import beta  # a second to import

        alpha_beta = (settings.flow_beta_schedule_alpha, settings.flow_beta_schedule_beta)
        return torch.from_numpy(beta.ppf(quantiles.numpy(), *alpha_beta))
    return (settings.flow_sigmoid_scale * torch.special.ndtri(quantiles)).sigmoid()  # logit-normal


def shift_of(tokens: int, settings: TrainingSettings) -> float:
    """k of `shift_sigmas` for a sample of so many latent tokens."""
    return auto_shift(tokens) if settings.flow_schedule_auto_shift else settings.flow_schedule_shift or SANA_SHIFT


def shift_sigmas(sigmas: torch.Tensor, shift: float) -> torch.Tensor:
    """`s' = k s / (1 + (k-1) s)`; k = 1 changes nothing."""
    return shift * sigmas / (1 + (shift - 1) * sigmas)


def auto_shift(tokens: int) -> float:
    """`exp(mu)`, mu linear in the tokens between (256, 0.5) and (4096, 1.15), as in diffusers' flow schedulers."""
    return math.exp(0.5 + (tokens - 256) * (1.15 - 0.5) / (4096 - 256))


def add_noise(latents: torch.Tensor, noise: torch.Tensor, sigmas: torch.Tensor) -> torch.Tensor:
    """Latents (batch, channels, height, width) mixed with noise of the same shape at each sample's sigma (batch,)."""
    mix = sigmas[:, None, None, None]
    return (1 - mix) * latents + mix * noise


def timesteps(sigmas: torch.Tensor) -> torch.Tensor:
    """What the model is told: 1000 times the shifted sigma."""
    return 1000 * sigmas


def flow_losses(predicted: torch.Tensor, target: torch.Tensor, *, mask: torch.Tensor | None = None) -> torch.Tensor:
    """Mean squared error of each sample's velocity, fp32 (batch,).

    Args:
        predicted: (batch, channels, height, width).
        target: The same shape.
        mask: Weights of the places, (batch, 1, height, width) in [0, 1].
    """
    squares = (predicted.float() - target.float()).square()
    return (squares if mask is None else squares * mask).mean(dim=(1, 2, 3))


def min_snr_weights(sigmas: torch.Tensor, gamma: float) -> torch.Tensor:
    """Weights (batch,) of `flow_losses` that weigh the error of x0 by min(SNR, gamma).

    Flow matching has SNR = ((1-s)/s)^2, and an error d of the velocity is an error s d of x0: s^2 min(SNR, gamma).
    Defined for every s; 0 towards pure noise. See https://arxiv.org/abs/2303.09556.
    """
    return torch.minimum((1 - sigmas).square(), gamma * sigmas.square())


def sums_by_sigma(losses: torch.Tensor, sigmas: torch.Tensor, *, bins: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Sum of the losses (bins,) in each of `bins` equal parts of the noise levels, and their number, on the CPU.

    Args:
        losses: (samples,), on any device.
        sigmas: (samples,), on the CPU: nothing waits for the other device.
        bins: Parts of (0, 1).
    """
    part = (sigmas * bins).long().clamp(max=bins - 1)
    sums = torch.zeros(bins, device=losses.device).index_add(0, to_device(part, losses.device), losses)
    return sums, torch.bincount(part, minlength=bins).float()
