"""From a picture's size to its crop: which size it is trained at, what it is resized to, which part is kept.

Everything works on whole columns; `plan_crop` is the same for one picture. Under `buckets: aligned` target, bucket and
the minimum rule are SimpleTuner's. What differs, and why, is in docs/datasets.md.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from sanaflow.buckets.aligned import aligned_sizes, amount, limit, round_half_even
from sanaflow.buckets.tables import Size, buckets_for
from sanaflow.dataset_parts import AspectWeight
from sanaflow.datasets import DatasetSettings
from sanaflow.digests import digest_of


class LeftOut(Exception):
    """The dataset's settings leave this picture out; the text says which one."""


class TooSmall(LeftOut):
    """`minimum_image_size` or `max_upscale_threshold` leaves the picture out."""


class TooNarrow(LeftOut):
    """The picture's or its bucket's aspect ratio is out of bounds."""


@dataclass(frozen=True)
class CropPlan:
    """What becomes of one picture. Sizes are (width, height), `crop` is (left, top) in the resized picture; pixels."""

    target: Size
    resize: Size
    crop: tuple[int, int]
    bucket: str


@dataclass
class Crops:
    """What becomes of many pictures: columns of equal length."""

    target: np.ndarray  # (n, 2) int64: width, height
    resize: np.ndarray
    crop: np.ndarray  # left, top
    bucket: np.ndarray  # str
    reason: np.ndarray  # index into `reasons`, -1 for those that are kept
    reasons: list[LeftOut] = field(default_factory=list)


def plan_crop(
    width: int,
    height: int,
    dataset: DatasetSettings,
    *,
    picture: str = "",
    showing: int = 0,
    seed: int = 0,
    focus: tuple[float, float] | None = None,
    alignment: int = 32,
) -> CropPlan:
    """Plan one picture.

    Args:
        width: In pixels, after EXIF orientation.
        height: The same.
        dataset: Its settings.
        picture: Its id. Random crops and aspects are functions of (`seed`, `picture`, `showing`).
        showing: Which of its showings this is, from 0.
        seed: Of the run.
        focus: The middle of its largest face, as shares of width and height, for `crop_style: face`.
        alignment: Pixels that a latent token stands for, for `buckets: sana`.

    Raises:
        TooSmall: The dataset's minimum leaves it out.
        TooNarrow: Its aspect ratio does.
    """
    crops = plan_many(
        np.array([[width, height]]),
        dataset,
        pictures=[picture],
        variant=showing % dataset.variants,
        seed=seed,
        focus=None if focus is None else np.array([focus]),
        alignment=alignment,
    )
    if crops.reason[0] >= 0:
        raise crops.reasons[crops.reason[0]]
    (target, resize, crop) = (tuple(a[0].tolist()) for a in (crops.target, crops.resize, crops.crop))
    return CropPlan(target, resize, crop, str(crops.bucket[0]))


def plan_many(
    sizes: np.ndarray,
    dataset: DatasetSettings,
    *,
    pictures: Sequence[str],
    variant: int = 0,
    seed: int = 0,
    focus: np.ndarray | None = None,
    alignment: int = 32,
) -> Crops:
    """Plan many pictures of one dataset.

    Args:
        sizes: (n, 2) width and height in pixels.
        dataset: Their settings.
        pictures: Their ids, for what is random.
        variant: Which of the dataset's random crops.
        seed: Of the run.
        focus: (n, 2) middle of the largest face as shares of width and height; not a number where there is none.
        alignment: Pixels that a latent token stands for, for `buckets: sana`.

    Raises:
        InputError: Sana's buckets can't be had at this resolution and alignment.
    """
    sizes = np.asarray(sizes, dtype=np.int64)

    def draw(purpose: str) -> np.ndarray:
        return uniform(pictures, seed, variant, purpose)

    wanted = _wanted_aspects(sizes, dataset, draw)
    if dataset.is_aligned:
        target, resize, bucket = aligned_sizes(sizes, wanted, dataset)
        decimals = dataset.aspect_bucket_rounding
    else:
        target, resize, bucket = _sana(sizes, wanted, dataset, alignment)
        decimals = 2
    room = resize - target
    if dataset.crop_style == "corner":
        crop = np.zeros_like(room)
    elif dataset.crop_style == "random":
        places = np.stack([draw("left"), draw("top")], axis=1)
        crop = np.minimum((places * (room + 1)).astype(np.int64), room)
    else:
        crop = room // 2
        if dataset.crop_style == "face" and focus is not None:
            around = np.clip(np.nan_to_num(focus, nan=0.5) * resize - target / 2, 0, room).astype(np.int64)
            crop = np.where(np.isnan(focus), crop, around)
    reason, reasons = _left_out(sizes, resize, bucket, dataset, 10.0**-decimals)
    values, place = np.unique(bucket, return_inverse=True)
    return Crops(
        target, resize, crop, np.array([str(v) for v in values.tolist()], dtype=object)[place], reason, reasons
    )


def uniform(pictures: Sequence[str], seed: int, variant: int, purpose: str) -> np.ndarray:
    """A number in [0, 1) per picture: a keyed hash, the same wherever and whenever it is asked for."""
    key = digest_of(["crop", seed, variant, purpose])[:16]
    hashed = pd.util.hash_array(np.asarray(pictures, dtype=object), hash_key=key, categorize=False)
    return (hashed >> np.uint64(11)) / 2.0**53


def _wanted_aspects(sizes: np.ndarray, dataset: DatasetSettings, draw: Callable[[str], np.ndarray]) -> np.ndarray:
    """The aspect ratio (width / height) that each picture is to get."""
    own = sizes[:, 0] / sizes[:, 1]
    if dataset.is_aligned:
        finest = 10.0**-dataset.aspect_bucket_rounding
        own = np.clip(round_half_even(own, dataset.aspect_bucket_rounding), finest, 100)  # beyond, it is left out
    if dataset.shape == "square":
        return np.ones(len(sizes))
    choices = np.array([b.aspect if isinstance(b, AspectWeight) else b for b in dataset.crop_aspect_buckets])
    if dataset.shape == "closest":
        distance = np.full(len(own), np.inf)
        nearest = np.ones(len(own))
        for choice in choices:  # a column at a time: a table of all distances wouldn't fit for many pictures
            nearer = np.abs(own - choice) < distance
            nearest[nearer], distance[nearer] = choice, np.abs(own - choice)[nearer]
        return nearest
    if dataset.shape == "random":
        weights = np.array([b.weight if isinstance(b, AspectWeight) else 1.0 for b in dataset.crop_aspect_buckets])
        upper = np.cumsum(weights / weights.sum())
        return choices[np.minimum(np.searchsorted(upper, draw("aspect"), side="right"), len(choices) - 1)]
    return own


def _sana(
    sizes: np.ndarray, wanted: np.ndarray, dataset: DatasetSettings, alignment: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The bucket whose aspect ratio is nearest, by the ratio of ratios.

    Sana's own loader takes the difference of height/width, which is coarser for tall pictures than for wide ones.
    """
    edge = int(dataset.resolution)
    buckets = np.array(sorted(buckets_for(edge, alignment), key=lambda s: (s[0] / s[1], s)))
    if dataset.shape == "square":
        target = np.full_like(sizes, edge)
    else:
        logs = np.log(buckets[:, 0] / buckets[:, 1])
        target = buckets[np.searchsorted((logs[1:] + logs[:-1]) / 2, np.log(wanted))]
    scale = (target / sizes).max(axis=1, keepdims=True)
    resize = np.maximum(target, np.rint(sizes * scale).astype(np.int64))
    return target, resize, round_half_even(target[:, 0] / target[:, 1], 2)


def _left_out(
    sizes: np.ndarray, resize: np.ndarray, bucket: np.ndarray, dataset: DatasetSettings, finest: float
) -> tuple[np.ndarray, list[LeftOut]]:
    """For each picture the place in the list of the first rule that leaves it out, or -1."""
    reason = np.full(len(sizes), -1)
    reasons: list[LeftOut] = []

    def rule(applies: np.ndarray, why: LeftOut) -> None:
        reason[(reason < 0) & applies] = len(reasons)
        reasons.append(why)

    if dataset.minimum_image_size is not None:
        least = limit(dataset.minimum_image_size, dataset)
        small = amount(sizes, dataset) < least
        if dataset.shape == "square" and dataset.unit != "pixel":
            small |= sizes.min(axis=1) < int(np.sqrt(least))
        rule(small, TooSmall(f"smaller than 'minimum_image_size' {dataset.minimum_image_size:g}"))
    if dataset.max_upscale_threshold is not None:
        enlarged = (resize / sizes).max(axis=1) - 1 > dataset.max_upscale_threshold
        rule(
            enlarged,
            TooSmall(f"would be enlarged by more than 'max_upscale_threshold' {dataset.max_upscale_threshold:g}"),
        )
    aspect = sizes[:, 0] / sizes[:, 1]
    if dataset.is_aligned:
        rule((aspect < finest) | (aspect > 100), TooNarrow("more than a hundred times as long as it is wide"))
    if dataset.minimum_aspect_ratio is not None:
        rule(
            bucket < dataset.minimum_aspect_ratio,
            TooNarrow(f"narrower than 'minimum_aspect_ratio' {dataset.minimum_aspect_ratio:g}"),
        )
    if dataset.maximum_aspect_ratio is not None:
        rule(
            bucket > dataset.maximum_aspect_ratio,
            TooNarrow(f"wider than 'maximum_aspect_ratio' {dataset.maximum_aspect_ratio:g}"),
        )
    return reason, reasons
