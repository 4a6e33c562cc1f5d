"""Whether every bucket fills a batch: the run's own plan, made from the pictures' headers."""

import io
from contextlib import redirect_stdout
from typing import Any

import pandas as pd

from pipelines.checking.finding import Finding, Look
from sanaflow.buckets.plan import BucketPlan, bucket_table, plan_crops, plan_rows
from sanaflow.config import RunSettings
from sanaflow.errors import InputError
from sanaflow.model.reference import ModelReference

SHOWN = 8


def look_at_buckets(run: RunSettings, model: ModelReference, pictures: pd.DataFrame) -> Look[BucketPlan]:
    """Plan the pictures as `assign_buckets` will, and name the buckets that are too small."""
    from sanaflow.model.loading import pixels_per_token

    rows: dict[str, Any] = {"alignment": pixels_per_token(model), "seed": run.training.seed}
    batch, oversubscribe = run.training.total_batch(), run.training.allow_dataset_oversubscription
    try:
        with redirect_stdout(io.StringIO()):
            plan = plan_crops(pictures, run.datasets, batch=batch, oversubscribe=oversubscribe, **rows)
    except InputError as error:
        crops, _ = plan_rows(pictures, run.datasets, **rows)
        short = too_small(crops, batch)
        raise InputError(f"{error.message} (all of them: {short})" if short else error.message) from None
    table = plan.buckets()
    trained = table[table["role"] != "eval"]
    said = f"{trained['size'].nunique()} buckets for {trained['pictures'].sum():,} pictures fill batches of {batch}"
    yield Finding("ok", "buckets", said)
    crops, _ = plan_rows(pictures, run.datasets, **rows)
    if short := too_small(crops, batch):
        said = f"these can't fill a batch of {batch}, and their pictures are shown more often until they do: {short}"
        yield Finding("warning", "buckets", f"{said}; fewer shapes (crop_aspect: square) would spare that")
    for (dataset, reason), left_out in plan.filtered.groupby(["dataset", "reason"]):
        yield Finding("warning", f"datasets.{dataset}", f"{len(left_out):,} pictures left out: {reason}")
    return plan


def too_small(crops: pd.DataFrame, batch: int) -> str:
    """The buckets that an epoch gives less than a batch, with their samples; '' if there are none."""
    table = bucket_table(crops[(crops["role"] != "eval") & (crops["probability"] > 0)])
    samples = table.groupby("size")["samples"].sum().sort_values()
    short = [f"{size} with {count:g}" for size, count in samples[samples < batch].items()]
    return ", ".join(short[:SHOWN]) + (f" and {len(short) - SHOWN} more" if len(short) > SHOWN else "")
