"""Sana's flow matching (https://arxiv.org/abs/2410.10629): x_t = (1-s) x0 + s e, the model predicts e - x0."""

import math

import torch


def draw_sigmas(count: int, *, shift: float, generator: torch.Generator) -> torch.Tensor:
    """Noise levels in (0, 1), fp32 (count,): logit-normal, then shifted towards noise."""
    return shift_sigmas(torch.randn(count, generator=generator).sigmoid(), shift)


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


def flow_losses(predicted: torch.Tensor, latents: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """Unweighted squared error of each sample's velocity, fp32 (batch,)."""
    return (predicted.float() - (noise.float() - latents.float())).square().mean(dim=(1, 2, 3))


def timesteps(sigmas: torch.Tensor) -> torch.Tensor:
    """What the model is told: 1000 times the shifted sigma."""
    return 1000 * sigmas


def losses_by_sigma(losses: torch.Tensor, sigmas: torch.Tensor, *, bins: int) -> torch.Tensor:
    """Mean loss (bins,) in each of `bins` equal parts of the noise levels, both (samples,); NaN if empty."""
    part = (sigmas * bins).long().clamp(max=bins - 1)
    sums = torch.zeros(bins, device=losses.device).index_add(0, part.to(losses.device), losses)
    return sums / torch.bincount(part, minlength=bins).to(
        losses.device
    )  # counted where the noise levels are: on the CPU
