"""Draw pictures from cached embeddings, so that no text encoder is needed."""

from collections.abc import Callable, Sequence
from functools import cache
from itertools import product
from pathlib import Path

import torch
from diffusers import AutoencoderDC, SanaPipeline
from PIL import Image

from sanaflow.cache.index import CaptionCache
from sanaflow.cache.reading import CaptionReader
from sanaflow.config import ValidationSettings
from sanaflow.evaluation.gallery import Gallery, gallery_of, save_picture, timeline
from sanaflow.model.loading import load_drawing_pipeline, native_resolution
from sanaflow.model.reference import ModelReference
from sanaflow.progress import progress_bar

ONE_BY_ONE, IN_TILES = 2 * 2**20, 6 * 2**20
"""Pixels: a picture of 2048 px takes what four of 1024 px do, one of 4096 px more than most cards have."""
TILE, OVERLAP = 2048, 256
"""Pixels of a tile's side, and of what neighbours share."""


def draw_pictures(
    pipeline: SanaPipeline,
    captions: CaptionReader,
    prompts: Sequence[tuple[str, int]],
    *,
    negative_prompt: str,
    size: tuple[int, int],
    num_inference_steps: int,
    guidance: float,
    batch_size: int,
    description: str = "drawing",
) -> list[Image.Image]:
    """One picture of `size`, (width, height), for each (prompt, seed); the initial noise is the seed's and the size's.

    Raises:
        InputError: A prompt is not in the caption cache.
    """
    spare_memory(pipeline.vae, size)
    pictures: list[Image.Image] = []
    negative = captions.key(negative_prompt, instructed=False)
    with progress_bar(total=len(prompts), desc=description, unit="picture") as progress:
        for i in range(0, len(prompts), batch_size):
            batch = prompts[i : i + batch_size]
            texts = [captions.key(prompt, instructed=True) for prompt, _ in batch]
            embeddings, mask = captions.batch([*texts, *[negative] * len(batch)])
            embeddings, mask = embeddings.to(pipeline.device, torch.float32), mask.to(pipeline.device)
            with torch.inference_mode():
                drawn = pipeline(
                    prompt_embeds=embeddings[: len(batch)],
                    prompt_attention_mask=mask[: len(batch)],
                    negative_prompt=None,
                    negative_prompt_embeds=embeddings[len(batch) :],
                    negative_prompt_attention_mask=mask[len(batch) :],
                    generator=[torch.Generator().manual_seed(seed) for _, seed in batch],
                    width=size[0],
                    height=size[1],
                    num_inference_steps=num_inference_steps,
                    guidance_scale=guidance,
                    use_resolution_binning=False,
                )
            pictures += drawn.images
            progress.update(len(batch))
    return pictures


def spare_memory(vae: AutoencoderDC, size: tuple[int, int]) -> None:
    """Let pictures of 2048 px be decoded one by one, those of 4096 px in tiles, blended where they meet, no others."""
    if size[0] * size[1] > ONE_BY_ONE:
        vae.enable_slicing()
    else:
        vae.disable_slicing()
    if size[0] * size[1] > IN_TILES:
        vae.enable_tiling(TILE, TILE, TILE - OVERLAP, TILE - OVERLAP)
    else:
        vae.disable_tiling()


def validation_drawer(
    model: ModelReference, captions: CaptionCache, settings: ValidationSettings, folder: Path
) -> tuple[Callable[[torch.nn.Module, int, str], dict[str, Image.Image]], Callable[[], Gallery]]:
    """What draws the validation pictures into `folder` while training, and what gathers them all at the end.

    The first is given a transformer, the steps done and whose weights it has, 'raw' or 'ema', and gives the pictures by
    prompt name and size. It keeps `timeline.png` beside them: a row a prompt and size, a column a step.
    """
    shown = list(product(settings.prompts().items(), settings.sizes(native_resolution(model))))
    reader = cache(lambda: CaptionReader(captions))  # opened once, when the first picture is drawn

    def file(step: int, weights: str, name: str, size: tuple[int, int]) -> Path:
        return folder / f"step-{step:08d}" / weights / f"{name}_{size[0]}x{size[1]}.png"

    def draw(transformer: torch.nn.Module, step: int, weights: str) -> dict[str, Image.Image]:
        transformer.eval()
        pipeline = load_drawing_pipeline(model, transformer, next(transformer.parameters()).device)
        drawn = {}
        for size in dict.fromkeys(size for _, size in shown):
            pictures = draw_pictures(
                pipeline,
                reader(),
                [(prompt, settings.validation_seed) for prompt in settings.prompts().values()],
                negative_prompt=settings.validation_negative_prompt,
                size=size,
                num_inference_steps=settings.validation_num_inference_steps,
                guidance=settings.validation_guidance,
                batch_size=4,
                description=f"drawing after step {step:,}" + (", ema" if weights == "ema" else ""),
            )
            for name, picture in zip(settings.prompts(), pictures, strict=True):
                save_picture(picture, file(step, weights, name, size))
                drawn[f"{name} {size[0]}x{size[1]}" + (" ema" if weights == "ema" else "")] = picture
        save_picture(timeline(gather()), folder / "timeline.png")
        return drawn

    def gather() -> Gallery:
        steps = sorted(int(path.name.removeprefix("step-")) for path in folder.glob("step-*"))
        drawn = []
        for step, weights in product(steps, ("raw", "ema")):
            label = f"step {step}" + (", ema" if weights == "ema" else "")
            for (name, prompt), size in shown:
                if (path := file(step, weights, name, size)).exists():
                    drawn.append((label, prompt, settings.validation_seed, Image.open(path).copy()))
        return gallery_of(drawn)

    return draw, gather
