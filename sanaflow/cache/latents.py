"""From pictures to latents and back: the numbers, and what they depend on."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderDC
from PIL import Image

from sanaflow.config import CacheSettings
from sanaflow.digests import digest_of, file_digest
from sanaflow.images import decode
from sanaflow.model import loading
from sanaflow.model.loading import DTYPES, load_vae
from sanaflow.model.reference import ModelReference

CODE = [file_digest(Path(file)) for file in (__file__, decode.__file__, loading.__file__)]
"""Part of every key: changed code never gets latents that other code made."""
GEOMETRY = ["id", "mask_id", "width", "height", "resize_width", "resize_height", "left", "top"]
BATCH_PIXELS = 4 * 2**20
"""Where no batch size is set: pictures of so many pixels together are one batch. Four of Sana's 1024 px."""
BATCH_PIXELS_ON_CPU = 2**15
"""A CPU works them off in smaller portions, which stay in its cache: one 512 px picture alone takes a third less time
than in a batch of four."""


def latents_fingerprint(model: ModelReference, settings: CacheSettings) -> str:
    """What latents depend on besides the picture and its crop."""
    return digest_of([model.digest("vae"), settings.vae_dtype, settings.vae_enable_tiling, CODE])


def latent_key(geometry: Sequence[Any], fingerprint: str) -> str:
    """The content address of a crop's latents.

    Args:
        geometry: The columns `GEOMETRY`: sha256 of the picture's bytes and of its mask's, and what is cut out of them.
        fingerprint: `latents_fingerprint`.
    """
    return digest_of([*(x.item() if hasattr(x, "item") else x for x in geometry), fingerprint])


def batch_size(width: int, height: int, settings: CacheSettings) -> int:
    """How many pictures of this size are encoded together: as set, or by their pixels."""
    return settings.vae_batch_size or max(1, BATCH_PIXELS // (width * height))


def load_autoencoder(model: ModelReference, settings: CacheSettings, device: torch.device) -> AutoencoderDC:
    """The autoencoder as the settings want it. Channels last is the layout that convolutions are fastest in."""
    vae = load_vae(model, DTYPES[settings.vae_dtype], device).to(memory_format=torch.channels_last)
    if settings.vae_enable_tiling:
        vae.enable_tiling()
    if settings.vae_enable_slicing:
        vae.enable_slicing()
    return vae


def encode_pictures(vae: AutoencoderDC, pictures: Sequence[Image.Image], settings: CacheSettings) -> list[torch.Tensor]:
    """Latents of RGB pictures of one size: (channels, height, width) each, times the scaling factor, on the CPU."""
    portion = len(pictures)
    if vae.device.type == "cpu" and not settings.vae_batch_size:
        portion = max(1, BATCH_PIXELS_ON_CPU // (pictures[0].width * pictures[0].height))
    encoded: list[torch.Tensor] = []
    for i in range(0, len(pictures), portion):
        pixels = to_pixels(pictures[i : i + portion], vae.device).to(vae.dtype, memory_format=torch.channels_last)
        encoded += (vae.encode(pixels).latent * vae.config.scaling_factor).cpu().contiguous()
    return encoded


def shrink_mask(mask: Image.Image, latents: torch.Tensor) -> torch.Tensor:
    """A mask's brightness averaged over what each latent place stands for, (1, height, width) in [0, 1]."""
    small = mask.convert("L").resize((latents.shape[2], latents.shape[1]), Image.Resampling.BOX)
    return torch.from_numpy(np.array(small))[None].to(latents.dtype) / 255


def to_pixels(pictures: Sequence[Image.Image], device: torch.device) -> torch.Tensor:
    """RGB pictures of one size as (batch, 3, height, width), fp32 in [-1, 1]."""
    stacked = torch.from_numpy(np.stack([np.asarray(p) for p in pictures]))  # bytes: a quarter of what fp32 would move
    return stacked.to(device).permute(0, 3, 1, 2).float() / 127.5 - 1


def decode_latents(vae: AutoencoderDC, latents: torch.Tensor) -> Image.Image:
    """The picture that one (channels, height, width) of latents stands for."""
    scaled = latents[None].to(vae.device, vae.dtype) / vae.config.scaling_factor
    pixels = ((vae.decode(scaled).sample[0].float().clamp(-1, 1) + 1) * 127.5).round().byte()
    return Image.fromarray(pixels.permute(1, 2, 0).cpu().numpy())
