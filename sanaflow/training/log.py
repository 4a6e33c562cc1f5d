"""What a training run leaves behind in numbers."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

SIGMA_BINS = 4
COLUMNS = [
    *("step", "loss", "learning_rate", "grad_norm"),
    *(f"loss_sigma_{i}" for i in range(SIGMA_BINS)),
    *("seconds_per_step", "peak_memory_bytes"),
]
EVALUATION_COLUMNS = ["step", "weights", "dataset", "sigma", "loss"]
FRAMES = ("steps", "evaluations", "skipped")
SKIPPED_COLUMNS = ["step", "attempt", "loss", "grad_norm", "sigmas", "samples"]


@dataclass(frozen=True)
class TrainingLog:
    """The curves of a run.

    Attributes:
        steps: One row an optimizer step. `loss` is the mean over the step's samples; `loss_sigma_0` to `loss_sigma_3`
            those of samples whose noise level is in the first to last quarter of (0, 1), NaN where there was none.
            Seconds and memory belong to the run.
        evaluations: One row a (step, `weights` 'raw' or 'ema', dataset, sigma): the loss on held-out pictures.
        skipped: One row an update that was left out, as its loss or gradient was no number, with the noise levels and
            the pictures it saw.
        flow: The `flow_*` settings, and under `tokens` the sizes of the latents trained on.
    """

    steps: pd.DataFrame
    evaluations: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=EVALUATION_COLUMNS))
    skipped: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=SKIPPED_COLUMNS))
    flow: dict[str, Any] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Put it into a folder, as tables and JSON."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in FRAMES:
            getattr(self, name).to_parquet(folder / f"{name}.parquet")
        (folder / "flow.json").write_text(json.dumps(self.flow))

    @classmethod
    def read(cls, folder: Path) -> "TrainingLog":
        """Read back what `write` wrote."""
        frames = {name: pd.read_parquet(folder / f"{name}.parquet") for name in FRAMES}
        return cls(**frames, flow=json.loads((folder / "flow.json").read_text()))
