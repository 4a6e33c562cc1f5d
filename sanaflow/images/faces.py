"""Where is the largest face? By scikit-image's cascade, which comes in its wheel: frontal faces, no GPU."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from sanaflow.images.decode import read_upright

LONGEST_EDGE = 384
"""Pixels: faces that are smaller than a tenth of this aren't looked for."""


def find_face(data: bytes) -> tuple[float, float] | None:
    """The middle of the largest face as shares of width and height; None if none is found.

    Raises:
        UnreadablePictureError: The picture can't be decoded.
    """
    picture = read_upright(data)
    picture.thumbnail((LONGEST_EDGE, LONGEST_EDGE))
    smallest = max(24, LONGEST_EDGE // 10)
    if min(picture.size) < smallest:
        return None
    found = _cascade().detect_multi_scale(
        np.asarray(picture), scale_factor=1.2, step_ratio=1, min_size=(smallest,) * 2,
        max_size=(min(picture.size),) * 2, min_neighbor_number=6,
    )  # fmt: skip
    if not found:
        return None
    face = max(found, key=lambda box: box["width"] * box["height"])
    return (face["c"] + face["width"] / 2) / picture.width, (face["r"] + face["height"] / 2) / picture.height


@cache
def _cascade() -> Any:
    import skimage
    from skimage.feature import Cascade

    return Cascade(str(Path(skimage.__file__).parent / "data" / "lbpcascade_frontalface_opencv.xml"))
