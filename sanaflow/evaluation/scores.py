"""The artifact of scoring: the models side by side."""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy.stats import bootstrap

MODELS = ("base", "tuned", "raw", "champion")
"""`tuned` is the moving average if there is one, `raw` then the weights without averaging; `champion` the model that a
tuned one would take the place of."""
SCORE_COLUMNS = ["group", "prompt", "seed", "width", "height"]
CHECK_COLUMNS = ["distance_to_held_out", "distance_to_training", "likeness", "nearest_training"]
GAINS = {"gain": ("tuned", "base"), "gain of raw": ("raw", "base"), "gain over champion": ("tuned", "champion")}


@dataclass(frozen=True)
class ClipScores:
    """CLIP scores, 100 times the cosine between prompt and picture.

    Attributes:
        scores: One row a (prompt, size, seed) with `SCORE_COLUMNS` and a column for each of `MODELS` that was scored;
            where there are several prompts `base_margin`, ...: by how much a picture's score with its own prompt is
            above the mean of its scores with the others. `tuned_nearest` and `tuned_nearest_name`: the cosine of the
            most alike training picture, and which that is.
        checks: One row a model, by its `model`, with `CHECK_COLUMNS`: see `sanaflow.evaluation.similarity`; of
            `nearest_training` the greatest of its pictures. The row 'real' holds the real pictures' own.
        model: The CLIP model that judged.
        report: The scores and pictures as an HTML page.
    """

    scores: pd.DataFrame
    checks: pd.DataFrame
    model: str
    report: str = field(repr=False)


def summarise(scores: pd.DataFrame) -> pd.DataFrame:
    """Each model's scores and paired gains, and the same of margins, for `ClipScores.scores`.

    `low` and `high` are the 95 % interval of the mean by bootstrap over the rows; not a number for a single row.
    """
    columns: dict[str, pd.Series] = {}
    for suffix, prefix in (("", ""), ("_margin", "margin, ")):
        for model in MODELS:
            if model + suffix in scores:
                columns[prefix + model] = scores[model + suffix]
        for gain, (better, worse) in GAINS.items():
            if better + suffix in scores and worse + suffix in scores:
                columns[prefix + gain] = scores[better + suffix] - scores[worse + suffix]
    frame = pd.DataFrame(columns)
    summary = frame.agg(["mean", "std", "min", "max"]).T
    intervals = [interval_of_mean(frame[name].to_numpy()) for name in frame]
    summary.insert(1, "low", [low for low, _ in intervals])
    summary.insert(2, "high", [high for _, high in intervals])
    return summary


def interval_of_mean(values: np.ndarray) -> tuple[float, float]:
    """The 95 % interval of the mean by percentile bootstrap, the same at each call."""
    if len(values) < 2:
        return float("nan"), float("nan")
    found = bootstrap((values,), np.mean, method="percentile", rng=np.random.default_rng(0)).confidence_interval
    return float(found.low), float(found.high)
