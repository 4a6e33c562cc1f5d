"""SimpleTuner's bucket arithmetic: both sides in steps of the alignment, from the rounded aspect ratio.

Target, bucket and the minimum rule are its own. What differs, and why, is in docs/datasets.md.
"""

from functools import lru_cache

import numpy as np
import pandas as pd

from sanaflow.buckets.tables import Size
from sanaflow.datasets import DatasetSettings

SQUARE_AREAS = {0.25: 512, 0.5: 768, 1.0: 1024, 2.0: 1536, 4.0: 2048}
"""Megapixels near which a square's edge is not computed but one of these."""


def aligned_sizes(
    sizes: np.ndarray, wanted: np.ndarray, dataset: DatasetSettings
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Target, resized picture and bucket of many pictures.

    Args:
        sizes: (n, 2) width and height in pixels.
        wanted: Their aspect ratios (width / height), rounded.
        dataset: Their settings.

    Returns:
        (n, 2) target sizes, (n, 2) sizes to resize to, and the targets' aspect ratios, rounded.
    """
    decimals, step = dataset.aspect_bucket_rounding, dataset.aspect_bucket_alignment
    target = _stepped(wanted, dataset.resolution, dataset.unit, step)
    bucket = round_half_even(target[:, 0] / target[:, 1], decimals)
    for value, size in _collisions(dataset.resolution, dataset.unit, step, decimals):
        target[bucket == value] = size
    if dataset.shape == "square":
        bucket[:] = 1.0
    target[bucket == 1.0] = _square_edge(dataset)
    resize = _own_shape(sizes, target) if dataset.shape == "preserve" else _cover(sizes, target)
    if dataset.crop and dataset.maximum_image_size and dataset.target_downsample_size:
        large = amount(sizes, dataset) > limit(dataset.maximum_image_size, dataset)
        own = np.clip(round_half_even(sizes[large, 0] / sizes[large, 1], decimals), 10.0**-decimals, 100)
        smaller = _own_shape(sizes[large], _stepped(own, dataset.target_downsample_size, dataset.unit, step))
        covers = (smaller >= target[large]).all(axis=1, keepdims=True)
        resize[large] = np.where(covers, smaller, resize[large])
    return target, resize, bucket


def _stepped(aspects: np.ndarray, resolution: float, unit: str, step: int) -> np.ndarray:
    """(n, 2) sizes of these aspect ratios whose sides are in steps of the alignment."""
    if unit == "pixel":
        long = np.trunc(resolution * np.maximum(aspects, 1 / aspects))
        width, height = np.where(aspects < 1, resolution, long), np.where(aspects < 1, long, resolution)
    else:
        edge = _nearest_step(np.array(int(np.sqrt(_megapixels(resolution, unit) * 1e6))), step)
        width, height = edge * np.sqrt(aspects), edge / np.sqrt(aspects)
    return np.stack([_nearest_step(width, step), _nearest_step(height, step)], axis=1)


def _nearest_step(values: np.ndarray, step: int) -> np.ndarray:
    return np.maximum(step, np.rint(values / step) * step).astype(np.int64)


@lru_cache
def _collisions(resolution: float, unit: str, step: int, decimals: int) -> tuple[tuple[float, Size], ...]:
    """Aspect ratios that more than one size rounds to, each with the size that all of its pictures get.

    It is the one nearest to that aspect ratio, the wider of two. In SimpleTuner it is the first file's.
    """
    aspects = np.arange(1, 100 * 10 ** min(decimals, 3) + 1) / 10 ** min(decimals, 3)
    sizes = np.unique(_stepped(aspects, resolution, unit, step), axis=0)
    exact = sizes[:, 0] / sizes[:, 1]
    frame = pd.DataFrame({"width": sizes[:, 0], "height": sizes[:, 1], "bucket": round_half_even(exact, decimals)})
    frame["off"] = (exact - frame["bucket"]).abs()
    frame = frame[frame.duplicated("bucket", keep=False)].sort_values(
        ["bucket", "off", "width"], ascending=[True, True, False]
    )
    return tuple((row.bucket, (row.width, row.height)) for row in frame.drop_duplicates("bucket").itertuples())


def _cover(sizes: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The smallest size of the picture's own shape that covers the target; the other side is rounded down."""
    (width, height), (across, down) = sizes.T, target.T
    wide = width * down >= height * across
    return np.stack(
        [np.where(wide, down * width // height, across), np.where(wide, down, across * height // width)], axis=1
    )


def _own_shape(sizes: np.ndarray, target: np.ndarray) -> np.ndarray:
    """`_cover` for a target of about the picture's shape, with SimpleTuner's rounding: at most two pixels larger."""
    (width, height), (across, down) = sizes.T, target.T
    tall = across < down
    resize = np.stack(
        [np.where(tall, across, down * width // height), np.where(tall, across * height // width, down)], axis=1
    )
    for short, other in ((0, 1), (1, 0)):
        lacking = resize[:, short] < target[:, short]
        resize[lacking, other] = (
            resize[lacking, other] * target[lacking, short] // np.maximum(resize[lacking, short], 1)
        )
        resize[lacking, short] = target[lacking, short]
    return resize


def _square_edge(dataset: DatasetSettings) -> int:
    if dataset.unit == "pixel":
        return int(dataset.resolution)
    megapixels = _megapixels(dataset.resolution, dataset.unit)
    for near, edge in SQUARE_AREAS.items():
        if abs(megapixels - near) < 0.05:
            megapixels = edge**2 / 1e6
            break
    return int(_nearest_step(np.array(np.sqrt(megapixels * 1e6)), dataset.aspect_bucket_alignment))


def _megapixels(size: float, unit: str) -> float:
    return size if unit == "area" else size**2 / 1e6


def amount(sizes: np.ndarray, dataset: DatasetSettings) -> np.ndarray:
    """What pictures have of that in which the dataset's limits are compared: shorter edges, or pixels of area."""
    return sizes.min(axis=1) if dataset.unit == "pixel" else sizes.prod(axis=1)


def limit(size: float, dataset: DatasetSettings) -> float:
    """One of the dataset's sizes as such an amount."""
    return {"pixel": size, "area": size * 1e6}.get(dataset.unit, size**2)


def round_half_even(values: np.ndarray, decimals: int) -> np.ndarray:
    """Python's `round`, which rounds the exact binary value; numpy's first multiplies, which moves some ties."""
    rounded = np.round(values, decimals)
    near_a_tie = np.abs(np.abs(values * 10.0**decimals % 1) - 0.5) < 1e-6
    rounded[near_a_tie] = [round(v, decimals) for v in values[near_a_tie].tolist()]
    return rounded
