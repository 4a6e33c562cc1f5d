"""Every picture's way to its bucket: resize to cover it, then crop the middle. Pure arithmetic, no pixels."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from sanaflow.buckets.tables import Size, buckets_for
from sanaflow.config import DatasetSettings
from sanaflow.digests import digest_of

CROP_COLUMNS = [
    *("dataset", "id", "width", "height"),
    *("resize_width", "resize_height", "left", "top", "right", "bottom"),
    "repeats",
]


@dataclass(frozen=True)
class BucketPlan:
    """What becomes of each picture.

    Attributes:
        crops: One row a (picture, dataset): `width` and `height` of the bucket, the size to resize to, the crop box
            inside that (all in pixels), and `repeats`, the extra passes in an epoch.
    """

    crops: pd.DataFrame

    def digest(self) -> str:
        """sha256 over all rows."""
        return digest_of(self.crops.sort_values(["dataset", "id"]).to_dict("records"))

    def bucket_sizes(self) -> pd.Series:
        """Pictures per bucket, named 'WIDTHxHEIGHT', largest first."""
        return (self.crops["width"].astype(str) + "x" + self.crops["height"].astype(str)).value_counts()


def plan_crops(pictures: pd.DataFrame, datasets: Sequence[DatasetSettings], *, alignment: int) -> BucketPlan:
    """Assign every picture of an `ImageTable` to a bucket.

    Args:
        pictures: `ImageTable.pictures`.
        datasets: Their settings.
        alignment: Pixels that a latent token stands for; every side of a bucket divides by it.

    Raises:
        InputError: A resolution doesn't divide by `alignment`.
    """
    settings: Mapping[str, DatasetSettings] = {d.id: d for d in datasets}
    rows = []
    for picture in pictures.itertuples():
        dataset = settings[picture.dataset]
        size = (picture.width, picture.height)
        sizes = buckets_for(dataset.resolution, alignment)
        bucket = (dataset.resolution,) * 2 if dataset.crop_aspect == "square" else nearest_bucket(size, sizes)
        resize = cover(size, bucket)
        rows.append((picture.dataset, picture.id, *bucket, *resize, *middle(resize, bucket), picture.repeats))
    return BucketPlan(crops=pd.DataFrame(rows, columns=CROP_COLUMNS))


def nearest_bucket(size: Size, buckets: Sequence[Size]) -> Size:
    """The bucket whose aspect ratio is nearest, by the ratio of ratios.

    Sana's own loader takes the difference of height/width, which is coarser for tall pictures than for wide ones.
    """
    aspect = math.log(size[0] / size[1])
    return min(buckets, key=lambda bucket: (abs(aspect - math.log(bucket[0] / bucket[1])), bucket))


def cover(size: Size, bucket: Size) -> Size:
    """The smallest size of the same aspect ratio, rounded to whole pixels, that covers the bucket."""
    scale = max(bucket[0] / size[0], bucket[1] / size[1])
    return max(bucket[0], round(size[0] * scale)), max(bucket[1], round(size[1] * scale))


def middle(resized: Size, bucket: Size) -> tuple[int, int, int, int]:
    """The crop box (left, top, right, bottom) in the middle."""
    left, top = (resized[0] - bucket[0]) // 2, (resized[1] - bucket[1]) // 2
    return left, top, left + bucket[0], top + bucket[1]
