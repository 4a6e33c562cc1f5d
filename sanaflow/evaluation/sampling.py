"""Draw pictures from cached embeddings, so that no text encoder is needed."""

from collections.abc import Callable, Sequence
from functools import cache
from itertools import product
from pathlib import Path

import torch
from diffusers import SanaPipeline
from PIL import Image

from sanaflow.cache.index import CaptionCache
from sanaflow.cache.reading import CaptionReader
from sanaflow.config import ValidationSettings
from sanaflow.evaluation.gallery import Gallery, gallery_of, save_picture
from sanaflow.model.loading import load_drawing_pipeline, native_resolution
from sanaflow.model.reference import ModelReference
from sanaflow.progress import progress_bar


def draw_pictures(
    pipeline: SanaPipeline,
    captions: CaptionReader,
    prompts: Sequence[tuple[str, int]],
    *,
    negative_prompt: str,
    resolution: int,
    num_inference_steps: int,
    guidance: float,
    batch_size: int,
    description: str = "drawing",
) -> list[Image.Image]:
    """One square picture for each (prompt, seed); the initial noise is a function of the seed alone.

    Raises:
        InputError: A prompt is not in the caption cache.
    """
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
                    height=resolution,
                    width=resolution,
                    num_inference_steps=num_inference_steps,
                    guidance_scale=guidance,
                    use_resolution_binning=False,
                )
            pictures += drawn.images
            progress.update(len(batch))
    return pictures


def validation_drawer(
    model: ModelReference, captions: CaptionCache, settings: ValidationSettings, folder: Path
) -> tuple[Callable[[torch.nn.Module, int], None], Callable[[], Gallery]]:
    """What draws the validation pictures into `folder` while training, and what gathers them all at the end."""
    prompts = [(prompt, settings.validation_seed) for prompt in settings.validation_prompts]
    reader = cache(lambda: CaptionReader(captions))  # opened once, when the first picture is drawn

    def file(step: int, number: int) -> Path:
        return folder / f"step-{step:08d}" / f"{number:04d}.png"

    def draw(transformer: torch.nn.Module, step: int) -> None:
        transformer.eval()
        pictures = draw_pictures(
            load_drawing_pipeline(model, transformer, next(transformer.parameters()).device),
            reader(),
            prompts,
            negative_prompt=settings.validation_negative_prompt,
            resolution=settings.validation_resolution or native_resolution(model),
            num_inference_steps=settings.validation_num_inference_steps,
            guidance=settings.validation_guidance,
            batch_size=4,
            description=f"drawing after step {step:,}",
        )
        for number, picture in enumerate(pictures):
            save_picture(picture, file(step, number))

    def gather() -> Gallery:
        steps = sorted(int(path.name.removeprefix("step-")) for path in folder.glob("step-*"))
        return gallery_of(
            [
                (f"step {step}", prompt, seed, Image.open(file(step, number)).copy())
                for step, (number, (prompt, seed)) in product(steps, enumerate(prompts))
            ]
        )

    return draw, gather
