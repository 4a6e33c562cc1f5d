"""Draw with all models from the same prompts, sizes, seeds and initial noise, and let CLIP judge."""

from collections.abc import Sequence
from itertools import product
from typing import Any

import pandas as pd
import torch
from diffusers import SanaTransformer2DModel
from PIL import Image

from sanaflow.cache.index import CaptionCache, LatentCache
from sanaflow.cache.reading import CaptionReader
from sanaflow.config import EvaluationSettings, ValidationSettings
from sanaflow.evaluation.clip import load_clip
from sanaflow.evaluation.contenders import contenders
from sanaflow.evaluation.gallery import Gallery, gallery_of
from sanaflow.evaluation.prompts import evaluation_prompts
from sanaflow.evaluation.references import decode_references
from sanaflow.evaluation.report import scores_page
from sanaflow.evaluation.sampling import draw_pictures
from sanaflow.evaluation.scores import CHECK_COLUMNS, SCORE_COLUMNS, ClipScores, summarise
from sanaflow.evaluation.similarity import distribution_distance, likeness, nearest
from sanaflow.model.loading import default_device, load_drawing_pipeline, native_resolution
from sanaflow.model.reference import ModelReference
from sanaflow.model.tuned import SanaModel
from sanaflow.validation_settings import sizes_of


def score_clip(
    latents: LatentCache,
    captions: CaptionCache,
    *,
    model: ModelReference,
    tuned: SanaModel,
    settings: EvaluationSettings,
    validation: ValidationSettings,
    champion: SanaModel | None = None,
) -> tuple[ClipScores, Gallery]:
    """Draw every prompt, size and seed with each model once, and score the pictures.

    Args:
        latents: Real pictures to compare with.
        captions: Holds every prompt's embedding.
        model: The base.
        tuned: What was made of it; its moving average is scored too, if it has one.
        settings: What to draw, and who judges.
        validation: Its negative prompt and, where the settings have none, its sizes and prompts.
        champion: A tuned model of the same base to compare with.

    Raises:
        InputError: A model can't be loaded, a prompt was not encoded, or there is nothing to score.
    """
    scores = what_to_draw(latents, captions, settings, validation, native=native_resolution(model))
    clip = load_clip(settings)  # before drawing: a wrong name shows at once
    reader = CaptionReader(captions)
    drawn = {
        label: _draw(label, load(), scores, reader, model, settings, validation.validation_negative_prompt)
        for label, load in contenders(model, tuned, champion).items()
    }
    real = {
        name: decode_references(latents, model=model, held_out=held_out, limit=settings.evaluation_references)
        for name, held_out in (("training", False), ("held_out", True))
    }

    def embed(pictures: Sequence[Image.Image]) -> torch.Tensor:
        return clip.embed_pictures(pictures, batch_size=settings.evaluation_batch_size)

    texts = clip.embed_prompts(scores["prompt"].tolist(), batch_size=settings.evaluation_batch_size)
    embedded = {label: embed(pictures) for label, pictures in drawn.items()}
    real_embedded = {name: embed(references.pictures) for name, references in real.items()}
    for label, pictures in embedded.items():
        scores[label] = clip_scores(texts, pictures)
    if scores["prompt"].nunique() > 1:
        for label, pictures in embedded.items():
            scores[f"{label}_margin"] = margins(texts, pictures)
    alike, positions = nearest(embedded["tuned"], real_embedded["training"])
    scores["tuned_nearest"] = alike.tolist()
    scores["tuned_nearest_name"] = [real["training"].names[i] for i in positions.tolist()]
    checks = compare(embedded, real_embedded, scores["prompt"].tolist())
    print(f"CLIP scores by {settings.evaluation_model}:\n{summarise(scores).round(2).to_string()}")
    report = scores_page(
        scores,
        checks,
        drawn,
        judge=settings.evaluation_model,
        nearest_pictures=[real["training"].pictures[i] for i in positions.tolist()],
        embedded=embedded,
    )
    gallery = [
        (label, row.prompt, row.seed, picture)
        for label, pictures_drawn in drawn.items()
        for row, picture in zip(scores.itertuples(), pictures_drawn, strict=True)
    ]
    return ClipScores(scores, checks, settings.evaluation_model, report), gallery_of(gallery)


def what_to_draw(
    latents: LatentCache,
    captions: CaptionCache,
    settings: EvaluationSettings,
    validation: ValidationSettings,
    *,
    native: int,
) -> pd.DataFrame:
    """One row a (prompt, size, seed), with `SCORE_COLUMNS`; `native` is the edge that the model was made for."""
    prompts = evaluation_prompts(latents, captions, settings, validation)
    sizes = sizes_of(settings.evaluation_resolution) if settings.evaluation_resolution else validation.sizes(native)
    rows = [(*prompt, seed, *size) for prompt, size, seed in product(prompts, sizes, settings.evaluation_seeds)]
    return pd.DataFrame(rows, columns=SCORE_COLUMNS)


def _draw(
    label: str,
    transformer: SanaTransformer2DModel,
    rows: pd.DataFrame,
    reader: CaptionReader,
    model: ModelReference,
    settings: EvaluationSettings,
    negative_prompt: str,
) -> list[Image.Image]:
    """One picture a row."""
    pipeline = load_drawing_pipeline(model, transformer.to(default_device()), default_device())
    pictures: dict[Any, Image.Image] = {}
    for (width, height), part in rows.groupby(["width", "height"], sort=False):
        drawn = draw_pictures(
            pipeline,
            reader,
            list(zip(part["prompt"], part["seed"].tolist(), strict=True)),
            negative_prompt=negative_prompt,
            size=(int(width), int(height)),
            num_inference_steps=settings.evaluation_num_inference_steps,
            guidance=settings.evaluation_guidance,
            batch_size=settings.evaluation_batch_size,
            description=f"drawing with the {label} model",
        )
        pictures |= dict(zip(part.index, drawn, strict=True))
    return [pictures[row] for row in rows.index]


def clip_scores(texts: torch.Tensor, pictures: torch.Tensor) -> list[float]:
    """100 times the cosine of each text with its picture, both (pairs, channels) of unit length.

    As torchmetrics' CLIPScore, but not clipped at 0: a negative score says something too.
    """
    return (100 * (texts * pictures).sum(dim=1)).tolist()


def margins(texts: torch.Tensor, pictures: torch.Tensor) -> list[float]:
    """By how much each picture's score with its own text is above the mean of its scores with the other texts.

    A picture that any text would fit as well has none, however high it scores. Texts may repeat, but not all be one;
    both are (pairs, channels) of unit length.
    """
    scores = 100 * pictures @ texts.T
    others = (texts @ texts.T < 1 - 1e-5).float()
    return (scores.diagonal() - (scores * others).sum(dim=1) / others.sum(dim=1)).tolist()


def compare(drawn: dict[str, torch.Tensor], real: dict[str, torch.Tensor], prompts: list[str]) -> pd.DataFrame:
    """`ClipScores.checks`, from embeddings.

    Args:
        drawn: Of each model's pictures, one a prompt.
        real: Of 'training' pictures, and of 'held_out' ones, which may be none.
        prompts: What was drawn.
    """
    found = [
        (
            label,
            distribution_distance(pictures, real["held_out"]),
            distribution_distance(pictures, real["training"]),
            likeness(pictures, prompts),
            float(nearest(pictures, real["training"])[0].max()),
        )
        for label, pictures in drawn.items()
    ]
    between = distribution_distance(real["training"], real["held_out"])
    own = likeness(real["training"], [str(i) for i in range(len(real["training"]))])
    return pd.DataFrame([*found, ("real", between, 0.0, own, float("nan"))], columns=["model", *CHECK_COLUMNS])
