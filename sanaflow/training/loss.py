"""The loss of one batch: a function of the weights, the seed and the batch's number."""

import torch
import torch.nn.functional as F

from sanaflow.config import TrainingSettings
from sanaflow.model.tunable import Tunable
from sanaflow.training.batches import Batch
from sanaflow.training.flow import add_noise, draw_sigmas, flow_losses, min_snr_weights, timesteps
from sanaflow.training.randomness import generator, seed_of
from sanaflow.training.transfer import to_device

COMPILED_TOKENS = (16, 32, 64)
"""Lengths are padded to one of these or to a multiple of the last, so that there are few."""


def batch_losses(
    model: torch.nn.Module,
    batch: Batch,
    *,
    number: int,
    settings: TrainingSettings,
    device: torch.device,
    tunable: Tunable | None = None,
    attempt: int = 0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Each sample's loss and, on the CPU, noise level: fp32 (batch,).

    Args:
        model: What predicts, as accelerate prepared it.
        batch: What it is asked about.
        number: The batch's, over all processes: what is drawn at random depends on it.
        settings: How.
        device: Where the model is.
        tunable: Whose adapter is turned off to see what regularisation samples looked like before.
        attempt: How often the run was led back; each attempt has noise of its own.
    """
    latents = to_device(batch.latents, device).float()
    tokens = latents[0, 0].numel()
    on_cpu = sigmas_of(number, count=len(latents), tokens=tokens, settings=settings, attempt=attempt)
    sigmas = to_device(on_cpu, device)
    drawn = generator(settings.seed, 0, number, _purpose("noise", attempt))
    noise = to_device(torch.randn(latents.shape, generator=drawn), device)
    seen = noise
    if settings.input_perturbation:
        more = torch.randn(latents.shape, generator=drawn)
        seen = noise + settings.input_perturbation * to_device(more, device)
    texts, text_mask = batch.embeddings, batch.mask
    if settings.torch_compile:  # which compiles anew for every length
        missing = _padded(texts.shape[1]) - texts.shape[1]
        texts, text_mask = F.pad(texts, (0, 0, 0, missing)), F.pad(text_mask, (0, missing))
    asked = {
        "hidden_states": add_noise(latents, seen, sigmas),
        "encoder_hidden_states": to_device(texts, device).float(),
        "encoder_attention_mask": to_device(text_mask, device),
        "timestep": timesteps(sigmas),
    }
    target = noise - latents
    if tunable and tunable.has_adapter and batch.regularisation is not None and batch.regularisation.any():
        # Prior preservation: what the model said before is what it should go on saying.
        rows = to_device(batch.regularisation.nonzero()[:, 0], device)
        with torch.no_grad(), tunable.without_adapter(), _uncached_autocast(device):
            before = tunable.transformer(**{name: value[rows] for name, value in asked.items()}, return_dict=False)[0]
        target = target.index_copy(0, rows, before.to(target.dtype))
    # For what adapters draw from the global generator: dropout, DyLoRA's rank.
    torch.manual_seed(seed_of(settings.seed, 0, number, _purpose("adapter", attempt)))
    predicted = model(**asked, return_dict=False)[0]
    mask = None if batch.loss_mask is None else to_device(batch.loss_mask, device).float()
    losses = flow_losses(predicted, target, mask=mask)
    if settings.snr_gamma is not None:
        losses = losses * min_snr_weights(sigmas, settings.snr_gamma)
    return losses, on_cpu


def _padded(tokens: int) -> int:
    """The length that so many tokens are padded to."""
    last = COMPILED_TOKENS[-1]
    return next((length for length in COMPILED_TOKENS if tokens <= length), -(-tokens // last) * last)


def _uncached_autocast(device: torch.device) -> torch.autocast:
    """Autocast as it is, but weights that are cast without gradients aren't kept for a forward with them."""
    enabled, dtype = torch.is_autocast_enabled(device.type), torch.get_autocast_dtype(device.type)
    return torch.autocast(device.type, dtype, enabled=enabled, cache_enabled=False)


def sigmas_of(number: int, *, count: int, tokens: int, settings: TrainingSettings, attempt: int = 0) -> torch.Tensor:
    """The noise levels (count,) of a batch, fp32 on the CPU."""
    drawn = generator(settings.seed, 0, number, _purpose("sigmas", attempt))
    quantiles = torch.rand(count, generator=drawn, dtype=torch.float64).clamp(1e-6, 1 - 1e-6)
    return draw_sigmas(quantiles, tokens=tokens, settings=settings)


def _purpose(what: str, attempt: int) -> str:
    return f"{what}, attempt {attempt}" if attempt else what
