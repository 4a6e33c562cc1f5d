"""Read tables and scores of model versions from their artifacts."""

import io
import math
from typing import Any

import pandas as pd
from zenml.client import Client
from zenml.models import ArtifactVersionResponse

from materializers.files import FileMaterializer
from sanaflow.errors import InputError
from sanaflow.evaluation.scores import GAINS, interval_of_mean


def read_table(folder: str, file: str, columns: list[str] | None = None, filters: Any = None) -> pd.DataFrame:
    """Some columns and rows of a table in an artifact's folder.

    Raises:
        InputError: It can't be read from the active stack.
    """
    data = FileMaterializer(folder, Client().active_stack.artifact_store).read_bytes(file)
    return pd.read_parquet(io.BytesIO(data), columns=columns, filters=filters)


def scores_of(artifact: ArtifactVersionResponse, *, intervals: bool) -> dict[str, list[float | None]]:
    """The means and, of gains, their intervals, unless another stack keeps the table."""
    scores: dict[str, list[Any]] = {k: [mean, None, None] for k, mean in means_of(artifact).items() if "," not in k}
    try:
        table = read_table(artifact.uri, "scores.parquet") if intervals else pd.DataFrame()
    except InputError:
        return scores
    for name, (better, worse) in GAINS.items():
        if name in scores and better in table and worse in table:
            ends = interval_of_mean((table[better] - table[worse]).to_numpy())
            scores[name][1:] = [None if math.isnan(end) else end for end in ends]
    return scores


def means_of(artifact: ArtifactVersionResponse) -> dict[str, Any]:
    """The means among an artifact's metadata, by what they are of."""
    return {key.removeprefix("mean_"): mean for key, mean in artifact.run_metadata.items() if key.startswith("mean_")}
