"""The artifact of measuring the loss on held-out pictures."""

from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True)
class HeldOutLoss:
    """Losses on the `dataset_type: eval` sets, comparable between runs.

    Attributes:
        losses: One row a (dataset, sigma) with a column for each of `sanaflow.evaluation.scores.MODELS` that was
            measured; empty where nothing is held out.
    """

    losses: pd.DataFrame

    def means(self) -> pd.Series:
        """Each model's mean over sets and noise levels."""
        return self.losses.drop(columns=["dataset", "sigma"]).mean()
