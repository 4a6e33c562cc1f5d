"""Draw with the base and the tuned model from the same prompts, seeds and initial noise, and let CLIP judge."""

from collections.abc import Sequence
from itertools import product

import pandas as pd
import torch
from PIL import Image

from sanaflow.cache.index import CaptionCache
from sanaflow.cache.reading import CaptionReader
from sanaflow.config import EvaluationSettings, ValidationSettings
from sanaflow.errors import InputError
from sanaflow.evaluation.clip import load_clip
from sanaflow.evaluation.gallery import Gallery, gallery_of
from sanaflow.evaluation.report import scores_page
from sanaflow.evaluation.sampling import draw_pictures
from sanaflow.evaluation.scores import SCORE_COLUMNS, ClipScores, summarise
from sanaflow.model.loading import (
    default_device,
    load_drawing_pipeline,
    load_transformer,
    native_resolution,
)
from sanaflow.model.reference import ModelReference
from sanaflow.model.tunable import load_tuned
from sanaflow.model.tuned import SanaModel


def score_clip(
    captions: CaptionCache,
    *,
    model: ModelReference,
    tuned: SanaModel,
    settings: EvaluationSettings,
    validation: ValidationSettings,
) -> tuple[ClipScores, Gallery]:
    """Draw every prompt and seed with both models and score the pictures.

    Raises:
        InputError: A model can't be loaded, a prompt was not encoded, or there is nothing to score.
    """
    prompts = list(product(evaluation_prompts(captions, settings), settings.evaluation_seeds))
    size = validation.sizes(native_resolution(model))[0]
    reader, clip = CaptionReader(captions), load_clip(settings)  # before drawing: a wrong name shows at once
    drawn: dict[str, list[Image.Image]] = {}
    for label in ("base", *tuned.versions()):
        transformer = load_transformer(model) if label == "base" else load_tuned(tuned, model, label)
        drawn[label] = draw_pictures(
            load_drawing_pipeline(model, transformer.to(default_device()), default_device()),
            reader,
            prompts,
            negative_prompt=validation.validation_negative_prompt,
            size=size,
            num_inference_steps=settings.evaluation_num_inference_steps,
            guidance=settings.evaluation_guidance,
            batch_size=settings.evaluation_batch_size,
            description=f"drawing with the {label} model",
        )
    batch_size = settings.evaluation_batch_size
    texts = clip.embed_prompts([prompt for prompt, _ in prompts], batch_size=batch_size)
    scores = pd.DataFrame(prompts, columns=SCORE_COLUMNS[:2])
    embedded = {label: clip.embed_pictures(pictures, batch_size=batch_size) for label, pictures in drawn.items()}
    for label, pictures in embedded.items():
        scores[label] = clip_scores(texts, pictures)
    if scores["prompt"].nunique() > 1:
        for label, pictures in embedded.items():
            scores[f"{label}_margin"] = margins(texts, pictures)
    gallery = gallery_of(
        [(label, *prompts[i], picture) for label, pictures in drawn.items() for i, picture in enumerate(pictures)]
    )
    print(f"CLIP scores by {settings.evaluation_model}:\n{summarise(scores).round(2).to_string()}")
    report = scores_page(scores, summarise(scores), gallery, judge=settings.evaluation_model)
    return ClipScores(scores, settings.evaluation_model, report), gallery


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


def evaluation_prompts(captions: CaptionCache, settings: EvaluationSettings) -> Sequence[str]:
    """The prompts of the settings, or captions picked evenly from the run's."""
    if settings.evaluation_prompts is not None:
        return settings.evaluation_prompts
    distinct = sorted({caption for caption in captions.captions["caption"] if caption.strip()})
    if not distinct:
        raise InputError("there is no caption to score with: set evaluation.evaluation_prompts")
    count = min(len(distinct), settings.evaluation_prompts_limit)
    return [distinct[i * len(distinct) // count] for i in range(count)]
