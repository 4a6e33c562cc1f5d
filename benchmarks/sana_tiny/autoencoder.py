"""The tiny Sana's autoencoder, trained from scratch: a DC-AE of 16 pixels a token and 32 channels."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderDC
from PIL import Image, ImageOps

from benchmarks.sana_tiny.pictures import EDGE, on_white
from sanaflow.progress import progress_bar
from sanaflow.training.checkpoints import Checkpoints
from sanaflow.training.ema import make_ema, swapped_in, update
from sanaflow.training.optimizers import make_optimizer
from sanaflow.training.randomness import generator
from sanaflow.training.schedules import make_schedule
from sanaflow.training.state import TrainingState
from sanaflow.training_settings import TrainingSettings

LARGEST = 160
SETTINGS = TrainingSettings(
    max_train_steps=5000,
    train_batch_size=16,
    learning_rate=2e-3,
    adam_beta2=0.99,
    lr_scheduler="cosine",
    lr_warmup_steps=200,
    use_ema=True,
    ema_decay=0.998,
    checkpointing_steps=250,
    seed=0,
)
LATENT_NOISE = 0.05
"""Added to latents, of about unit variance, before they are decoded: what a diffusion model draws is never exact."""


def make_autoencoder() -> AutoencoderDC:
    """A small one with random weights."""
    blocks, no_attention = ("ResBlock",) * 5, ((),) * 5
    return AutoencoderDC(
        latent_channels=32,
        attention_head_dim=8,
        encoder_block_types=blocks,
        decoder_block_types=blocks,
        encoder_block_out_channels=(32, 32, 64, 128, 128),
        decoder_block_out_channels=(32, 32, 64, 128, 128),
        encoder_layers_per_block=(0, 1, 1, 1, 1),
        decoder_layers_per_block=(0, 2, 2, 2, 1),
        encoder_qkv_multiscales=no_attention,
        decoder_qkv_multiscales=no_attention,
        downsample_block_type="conv",
        upsample_block_type="interpolate",
        decoder_norm_types="rms_norm",
        decoder_act_fns="silu",
    )


def train_autoencoder(pictures: Sequence[Image.Image], folder: Path) -> AutoencoderDC:
    """Train on crops, mirrored and with their colours exchanged; a run that was cut short goes on.

    Args:
        pictures: RGBA, of any size.
        folder: Where its checkpoints are.

    Returns:
        The moving average, with `scaling_factor` such that latents have unit variance.
    """
    settings, steps = SETTINGS, SETTINGS.max_train_steps
    torch.manual_seed(settings.seed)
    vae = make_autoencoder().train().to(memory_format=torch.channels_last)
    weights = dict(vae.named_parameters())
    optimizer = make_optimizer(list(weights.values()), settings)
    ema = make_ema(list(weights.values()), settings)
    assert ema is not None
    state = TrainingState(weights, optimizer, make_schedule(optimizer, settings, steps=steps), ema)
    checkpoints = Checkpoints(folder, keep=2)
    if found := checkpoints.load():
        state.restore(*found)
    pixels = torch.stack([squared(picture, LARGEST) for picture in pictures])
    losses = torch.compile(lambda batch, noise: _losses(vae, batch, noise))
    with progress_bar(total=steps, initial=state.step, desc="autoencoder", unit="step") as progress:
        while state.step < steps:
            loss = losses(*_batch(pixels, state.step, settings))
            loss.backward()
            torch.nn.utils.clip_grad_norm_(weights.values(), settings.max_grad_norm)
            optimizer.step()
            optimizer.zero_grad()
            state.scheduler.step()
            update(ema, weights.values(), settings)
            state.step += 1
            progress.update()
            if state.step % settings.checkpointing_steps == 0 or state.step == steps:
                checkpoints.save(state.step, *state.capture())
                with swapped_in(ema, list(weights.values())):
                    said = _psnr(vae, pixels[:64])
                progress.write(f"step {state.step}: loss {loss.item():.4f}, {said:.2f} dB on 64 of its own pictures")
    ema.copy_to(weights.values())
    vae.eval()
    with torch.no_grad():
        latents = torch.cat([vae.encode(part).latent for part in fitted(pixels, EDGE).split(16)])
    vae.register_to_config(scaling_factor=round(1 / latents.square().mean().sqrt().item(), 5))
    return vae


def squared(picture: Image.Image, edge: int) -> torch.Tensor:
    """A picture on white, in the middle of a square: (3, edge, edge) uint8."""
    square = ImageOps.pad(on_white(picture), (edge, edge), Image.Resampling.LANCZOS, color="white")
    return torch.from_numpy(np.asarray(square).copy()).permute(2, 0, 1)


def fitted(pixels: torch.Tensor, edge: int) -> torch.Tensor:
    """uint8 pictures (n, 3, h, w) as (n, 3, edge, edge) in [-1, 1]."""
    return F.interpolate(pixels.float() / 127.5 - 1, size=(edge, edge), mode="area")


def _batch(pixels: torch.Tensor, step: int, settings: TrainingSettings) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures (16, 3, 128, 128) and noise for their latents, functions of the step."""
    draw = generator(settings.seed, 0, step, "autoencoder")

    def below(limit: int, *shape: int) -> torch.Tensor:
        return torch.randint(limit, shape, generator=draw)

    # Half of the batches are whole pictures.
    edge = EDGE if below(2) else EDGE + int(below(LARGEST - EDGE + 1))
    batch = fitted(pixels[below(len(pixels), settings.train_batch_size)], edge)
    left, top = int(below(edge - EDGE + 1)), int(below(edge - EDGE + 1))
    batch = batch[:, :, top : top + EDGE, left : left + EDGE]
    mirrored = below(2, len(batch)).bool()
    batch = torch.where(mirrored[:, None, None, None], batch.flip(3), batch)
    if below(2):
        batch = batch[:, torch.randperm(3, generator=draw)]
    noise = LATENT_NOISE * torch.randn(len(batch), 32, EDGE // 16, EDGE // 16, generator=draw)
    return batch.contiguous(memory_format=torch.channels_last), noise


def _losses(vae: AutoencoderDC, batch: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        latents = vae.encoder(batch)
        drawn = vae.decoder(latents + noise).float()
    latents = latents.float()
    loss = F.l1_loss(drawn, batch) + 2 * F.mse_loss(drawn, batch)
    for axis in (2, 3):  # edges count as much as areas
        loss = loss + 0.5 * F.l1_loss(drawn.diff(dim=axis), batch.diff(dim=axis))
    for scale in (2, 4):
        loss = loss + 0.25 * F.l1_loss(F.avg_pool2d(drawn, scale), F.avg_pool2d(batch, scale))
    return loss + 1e-3 * (latents.square().mean() - 1).square()


def psnr(vae: AutoencoderDC, pictures: Sequence[Image.Image]) -> float:
    """Mean over pictures (RGBA) in dB, at 128 x 128 on white."""
    return _psnr(vae, torch.stack([squared(picture, EDGE) for picture in pictures]))


@torch.no_grad()
def _psnr(vae: AutoencoderDC, pixels: torch.Tensor) -> float:
    """Mean over the pictures, in dB."""
    found = []
    for batch in fitted(pixels, EDGE).split(16):
        drawn = vae.decode(vae.encode(batch).latent).sample.clamp(-1, 1)
        found.append(-10 * ((drawn - batch).square().mean(dim=(1, 2, 3)) / 4).log10())
    return torch.cat(found).mean().item()
