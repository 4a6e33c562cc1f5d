"""What a training run leaves behind in numbers."""

from dataclasses import dataclass

import pandas as pd

SIGMA_BINS = 4
COLUMNS = [
    *("step", "loss", "learning_rate", "grad_norm"),
    *(f"loss_sigma_{i}" for i in range(SIGMA_BINS)),
    *("seconds_per_step", "peak_memory_bytes"),
]


@dataclass(frozen=True)
class TrainingLog:
    """One row an optimizer step.

    Attributes:
        steps: `loss` is the mean over the step's samples; `loss_sigma_0` to `loss_sigma_3` those of samples whose
            noise level
            is in the first to last quarter of (0, 1), NaN where there was none. Seconds and memory belong to the run.
    """

    steps: pd.DataFrame
