"""A whole table's plan: every picture's crop, what the settings leave out, and whether buckets fill batches."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from sanaflow.buckets.geometry import plan_many
from sanaflow.datasets import DatasetSettings
from sanaflow.digests import table_digest
from sanaflow.errors import InputError

CROP_COLUMNS = [
    *("dataset", "id", "variant", "bucket", "width", "height"),
    *("resize_width", "resize_height", "left", "top", "right", "bottom"),
    *("role", "repeats", "probability"),
]
FILTERED_COLUMNS = ["dataset", "id", "reason"]


@dataclass(frozen=True)
class BucketPlan:
    """What becomes of each picture.

    Attributes:
        crops: One row a (picture, dataset, variant): `width` and `height` of the bucket, the size to resize to, the
            crop box inside that (all in pixels), `bucket`, the aspect ratio as text, what the picture is for (`role`),
            `repeats`, its extra passes in an epoch, and `probability`, the share of those that an epoch shows.
        filtered: One row a (picture, dataset) that the settings leave out, with the reason.
        batch: Samples that an optimizer step takes: `train_batch_size * gradient_accumulation_steps * num_processes`.
        preview: Some pictures with their crops drawn on them.
    """

    crops: pd.DataFrame
    filtered: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=FILTERED_COLUMNS))
    batch: int = 1
    preview: Image.Image | None = field(default=None, repr=False, compare=False)

    def digest(self) -> str:
        """sha256 over all crops."""
        return table_digest(self.crops.sort_values(["dataset", "id", "variant"]))

    def buckets(self) -> pd.DataFrame:
        """One row a bucket and role, largest first: its size as text, pictures, and samples in an epoch."""
        return bucket_table(self.crops)


def plan_crops(
    pictures: pd.DataFrame,
    datasets: Sequence[DatasetSettings],
    *,
    alignment: int,
    seed: int = 0,
    batch: int = 1,
    oversubscribe: bool = False,
) -> BucketPlan:
    """Assign every picture of an `ImageTable` to a bucket.

    Args:
        pictures: `ImageTable.pictures`.
        datasets: Their settings.
        alignment: Pixels that a latent token stands for; every side of a bucket divides by it.
        seed: Of the run, for random crops.
        batch: Samples that an optimizer step takes; every bucket must have so many in an epoch.
        oversubscribe: Give the pictures of smaller buckets more repeats instead of refusing.

    Raises:
        InputError: A bucket doesn't divide by `alignment`, one can't fill a batch, or no picture is left.
    """
    crops, filtered = plan_rows(pictures, datasets, alignment=alignment, seed=seed)
    for (dataset, reason), left_out in filtered.groupby(["dataset", "reason"]):
        print(f"{dataset}: {len(left_out):,} pictures left out: {reason}")
    if not (crops["role"].isin(["train", "regularisation"])).any():
        why = f", for example: {filtered['reason'].iloc[0]}" if len(filtered) else ""
        raise InputError(f"no picture is left to train on{why}; change the dataset's limits")
    crops = fill_batches(crops, batch, oversubscribe=oversubscribe)
    plan = BucketPlan(crops, filtered, batch)
    print(report(plan))
    return plan


def plan_rows(
    pictures: pd.DataFrame, datasets: Sequence[DatasetSettings], *, alignment: int, seed: int = 0
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The crops and the filtered rows of a table, or of a part of one: rows don't depend on each other.

    Raises:
        InputError: A bucket's side doesn't divide by `alignment`.
    """
    settings: Mapping[str, DatasetSettings] = {d.id: d for d in datasets}
    crops, filtered = [], []
    for name, rows in pictures.groupby("dataset", sort=True, observed=True):
        dataset = settings[str(name)]
        for variant in range(dataset.variants):
            kept, left_out = _plan_dataset(rows, dataset, variant, seed, alignment)
            crops.append(kept)
            if variant == 0:
                filtered.append(left_out)
    return _stacked(crops, CROP_COLUMNS), _stacked(filtered, FILTERED_COLUMNS)


def plan_parquet(
    source: Path, target: Path, datasets: Sequence[DatasetSettings], *, alignment: int, seed: int = 0
) -> pd.DataFrame:
    """Plan a table that needn't fit into memory, a row group at a time; returns its `bucket_table`.

    Args:
        source: Parquet with the columns dataset, id, width, height, repeats.
        target: Parquet of crops to write.
        datasets: Their settings.
        alignment: As for `plan_crops`.
        seed: As for `plan_crops`.

    Raises:
        InputError: A bucket's side doesn't divide by `alignment`.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    counted = []
    unfinished = target.with_suffix(".tmp")
    with pq.ParquetFile(source) as table:
        writer = None
        for group in range(table.num_row_groups):
            crops, _ = plan_rows(table.read_row_group(group).to_pandas(), datasets, alignment=alignment, seed=seed)
            if crops.empty:
                continue
            rows = pa.Table.from_pandas(crops, preserve_index=False)
            writer = writer or pq.ParquetWriter(unfinished, rows.schema)
            writer.write_table(rows)
            counted.append(bucket_table(crops))
        if writer:
            writer.close()
            unfinished.rename(target)
    return _stacked(counted, ["role", "size", "bucket"]).groupby(["role", "size", "bucket"], as_index=False).sum()


def bucket_table(crops: pd.DataFrame) -> pd.DataFrame:
    """One row a bucket and role, largest first: `size` 'WIDTHxHEIGHT', `bucket`, `pictures`, an epoch's `samples`."""
    columns = {name: crops[name] for name in ("role", "width", "height", "bucket", "variant")}
    rows = pd.DataFrame(columns | {"samples": _samples(crops)})
    if rows["variant"].any():
        rows["pictures"] = ~crops.duplicated(["dataset", "id", "width", "height"])
    else:
        rows["pictures"] = 1
    table = (
        rows.groupby(["role", "width", "height", "bucket"], observed=True)[["pictures", "samples"]].sum().reset_index()
    )
    table["size"] = table["width"].astype(str) + "x" + table["height"].astype(str)
    return table[["role", "size", "bucket", "pictures", "samples"]].sort_values(
        ["pictures", "size"], ascending=[False, True], ignore_index=True
    )


def _samples(crops: pd.DataFrame) -> pd.Series:
    """How often an epoch shows each crop, on average: a picture's showings take its crops in turn."""
    crops_each = crops.groupby(["dataset", "id"])["variant"].transform("size") if crops["variant"].any() else 1
    return (1 + crops["repeats"]) * crops["probability"] / crops_each


def fill_batches(crops: pd.DataFrame, batch: int, *, oversubscribe: bool) -> pd.DataFrame:
    """Check that every bucket that is trained on has a batch's samples in an epoch, or give it more repeats.

    Raises:
        InputError: One hasn't, with the smallest `repeats` and the largest batch that would do.
    """
    trained = crops[(crops["role"] != "eval") & (crops["probability"] > 0)]
    keys = [trained["width"], trained["height"]]
    samples = _samples(trained).groupby(keys).transform("sum")
    short = samples < batch
    if not short.any():
        return crops
    needed = np.ceil((1 + trained["repeats"]) * batch / samples - 1e-9).astype(int) - 1
    if oversubscribe:
        print(f"{short.sum():,} pictures of buckets that can't fill a batch of {batch} are repeated until they do")
        crops = crops.copy()
        crops.loc[short[short].index, "repeats"] = needed[short]
        crops["repeats"] = crops.groupby(["dataset", "id"])["repeats"].transform("max")  # all crops of a picture alike
        return crops
    worst = trained[short].assign(samples=samples, needed=needed)
    buckets = worst.drop_duplicates(["width", "height"])
    advice = ", ".join(
        f"'{name}' repeats: {rows['needed'].max()}" for name, rows in worst.groupby("dataset", observed=True)
    )
    least = math.floor(buckets["samples"].min())
    smaller = f"; or bring train_batch_size * gradient_accumulation_steps down to {least}" if least >= 1 else ""
    first = buckets.iloc[0]
    raise InputError(
        f"{len(buckets)} of the buckets can't fill a batch of {batch} "
        "(train_batch_size * gradient_accumulation_steps), for example "
        f"{first['width']}x{first['height']} of dataset '{first['dataset']}' with {first['samples']:g} samples in an "
        f"epoch: set {advice}{smaller}; or set training.allow_dataset_oversubscription: true; or use fewer shapes "
        "(crop_aspect: square)"
    )


def report(plan: BucketPlan) -> str:
    """The buckets as a few lines of text."""
    table = plan.buckets()
    lines = [f"{len(table)} buckets for {table['pictures'].sum():,} pictures, batches of {plan.batch}:"]
    lines += [f"  {b.size:>10} ({b.bucket}) {b.pictures:>8,} pictures, {b.samples:>8,g} samples an epoch, {b.role}"
              for b in table.head(12).itertuples()]  # fmt: skip
    return "\n".join([*lines, *([f"  ... and {len(table) - 12} more"] if len(table) > 12 else [])])


def _plan_dataset(
    rows: pd.DataFrame, dataset: DatasetSettings, variant: int, seed: int, alignment: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    has_focus = dataset.crop_style == "face" and {"face_x", "face_y"} <= set(rows.columns)
    crops = plan_many(
        rows[["width", "height"]].to_numpy(),
        dataset,
        pictures=rows["id"],
        variant=variant,
        seed=seed,
        focus=rows[["face_x", "face_y"]].to_numpy(float) if has_focus else None,
        alignment=alignment,
    )
    keep = crops.reason < 0
    columns = {"variant": variant, "bucket": crops.bucket[keep]}
    for names, values in (
        (("width", "height"), crops.target),
        (("resize_width", "resize_height"), crops.resize),
        (("left", "top"), crops.crop),
        (("right", "bottom"), crops.crop + crops.target),
    ):
        columns |= {name: values[keep, i] for i, name in enumerate(names)}
    bad = crops.target[keep][(crops.target[keep] % alignment != 0).any(axis=1)]
    if len(bad):
        raise InputError(
            f"dataset '{dataset.id}': its bucket {bad[0][0]}x{bad[0][1]} can't be divided by {alignment}, the model's "
            f"pixels per latent token: set resolution and aspect_bucket_alignment to multiples of {alignment}"
        )
    kept = rows.loc[keep, ["dataset", "id", "repeats"]].assign(
        **columns, role=dataset.role, probability=float(dataset.probability)
    )
    left_out = rows.loc[~keep, ["dataset", "id"]].assign(reason=[str(crops.reasons[i]) for i in crops.reason[~keep]])
    return kept[CROP_COLUMNS], left_out


def _stacked(frames: Iterable[pd.DataFrame], columns: list[str]) -> pd.DataFrame:
    frames = [f for f in frames if len(f)]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)
