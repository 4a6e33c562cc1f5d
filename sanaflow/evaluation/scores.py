"""The artifact of scoring: base and tuned side by side."""

from dataclasses import dataclass, field

import pandas as pd

SCORE_COLUMNS = ["prompt", "seed", "base", "tuned"]


@dataclass(frozen=True)
class ClipScores:
    """CLIP scores, 100 times the cosine between prompt and picture.

    Attributes:
        scores: One row a (prompt, seed): `base`, `tuned` and, if there is a moving average of the weights, `ema`.
        model: The CLIP model that judged.
        report: The scores and pictures as an HTML page.
    """

    scores: pd.DataFrame
    model: str
    report: str = field(repr=False)


def summarise(scores: pd.DataFrame) -> pd.DataFrame:
    """Mean, standard deviation, minimum and maximum of each model and of its paired gain, for `ClipScores.scores`."""
    columns = scores[["base", "tuned"]].assign(gain=scores["tuned"] - scores["base"])
    if "ema" in scores:
        columns = columns.assign(ema=scores["ema"], **{"gain of ema": scores["ema"] - scores["base"]})
    return columns.agg(["mean", "std", "min", "max"]).T
