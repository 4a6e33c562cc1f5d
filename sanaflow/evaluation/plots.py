"""Pictures of scores: who gained, and whether all drawn pictures look alike."""

import io
from collections.abc import Mapping

import pandas as pd
import torch
from matplotlib.figure import Figure

from sanaflow.evaluation.scores import GAINS


def plot_gains(scores: pd.DataFrame) -> bytes:
    """A histogram of each paired gain, its mean marked; PNG."""
    gains = {
        gain: scores[better] - scores[worse]
        for gain, (better, worse) in GAINS.items()
        if better in scores and worse in scores
    }
    figure = Figure(figsize=(5 * len(gains), 3), layout="constrained")
    for axes, (gain, values) in zip(figure.subplots(1, len(gains), squeeze=False)[0], gains.items(), strict=True):
        axes.hist(values, bins=min(24, max(4, len(values) // 3)), color="#9db8d9")
        axes.axvline(0, color="#222", linewidth=1)
        axes.axvline(values.mean(), color="#b3261e", linewidth=2)
        axes.set(title=f"{gain}, mean {values.mean():+.2f}", xlabel="CLIP score", ylabel="pictures")
    return _png(figure)


def plot_likeness(embedded: Mapping[str, torch.Tensor]) -> bytes:
    """How like each other a model's pictures are, pair by pair, one square a model; PNG."""
    figure = Figure(figsize=(3.2 * len(embedded) + 0.8, 3.2), layout="constrained")
    for axes, (label, pictures) in zip(
        figure.subplots(1, len(embedded), squeeze=False)[0], embedded.items(), strict=True
    ):
        shown = axes.imshow(pictures @ pictures.T, vmin=0, vmax=1, cmap="viridis")
        axes.set(title=label, xticks=[], yticks=[])
    figure.colorbar(shown, ax=figure.axes, label="cosine of two pictures")
    return _png(figure)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return buffer.getvalue()
