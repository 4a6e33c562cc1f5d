"""The artifact of scoring: base and tuned side by side."""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy.stats import bootstrap

SCORE_COLUMNS = ["prompt", "seed", "base", "tuned"]
GAINS = {"base": None, "tuned": "gain", "ema": "gain of ema"}
"""The models, and what their gain over the base is called."""


@dataclass(frozen=True)
class ClipScores:
    """CLIP scores, 100 times the cosine between prompt and picture.

    Attributes:
        scores: One row a (prompt, seed): `base`, `tuned` and, if there is a moving average of the weights, `ema`; where
            there are several prompts `base_margin`, ...: by how much a picture's score with its own prompt is above the
            mean of its scores with the others.
        model: The CLIP model that judged.
        report: The scores and pictures as an HTML page.
    """

    scores: pd.DataFrame
    model: str
    report: str = field(repr=False)


def summarise(scores: pd.DataFrame) -> pd.DataFrame:
    """Each model's scores and paired gain, and the same of margins, for `ClipScores.scores`.

    `low` and `high` are the 95 % interval of the mean by bootstrap over the rows; not a number for a single row.
    """
    columns: dict[str, pd.Series] = {}
    for suffix, prefix in (("", ""), ("_margin", "margin, ")):
        for model, gain in GAINS.items():
            if model + suffix not in scores:
                continue
            columns[prefix + model] = scores[model + suffix]
            if gain:
                columns[prefix + gain] = scores[model + suffix] - scores["base" + suffix]
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
