"""What of the pictures will be trained on: some originals with their crops drawn on them."""

from collections.abc import Mapping

import pandas as pd
from PIL import Image, ImageDraw

from sanaflow.images.contact_sheet import contact_sheet
from sanaflow.images.decode import read_thumbnail

PICTURES = 32
EDGE = 200


def crop_sheet(crops: pd.DataFrame, uri_of: Mapping[tuple[str, str], str]) -> Image.Image | None:
    """Draw the crop box on pictures of every bucket, evenly picked; what is cut off is pale. None without pictures.

    Args:
        crops: `BucketPlan.crops`.
        uri_of: Where each (dataset, picture id) can be read.
    """
    by_bucket = crops[crops["variant"] == 0].sort_values(["width", "height", "dataset", "id"])
    turn = by_bucket.groupby(["width", "height"]).cumcount()
    chosen = by_bucket.loc[turn.sort_values(kind="stable").index[:PICTURES]].sort_values(["width", "height"])
    pictures, labels = [], []
    for crop in chosen.itertuples():
        picture = read_thumbnail(uri_of[crop.dataset, crop.id], EDGE)
        pictures.append(with_crop_box(picture, crop))
        labels.append(f"{crop.width}x{crop.height} {crop.dataset}")
    return contact_sheet(pictures, labels, columns=8, edge=EDGE) if pictures else None


def with_crop_box(picture: Image.Image, crop: "pd.Series") -> Image.Image:
    """A small copy of a picture with the part that is kept framed in red."""
    x, y = picture.width / crop.resize_width, picture.height / crop.resize_height
    left, top = min(round(crop.left * x), picture.width - 1), min(round(crop.top * y), picture.height - 1)
    box = (left, top, max(round(crop.right * x), left + 1), max(round(crop.bottom * y), top + 1))
    pale = Image.blend(picture, Image.new("RGB", picture.size, "white"), 0.6)
    pale.paste(picture.crop(box), box[:2])
    ImageDraw.Draw(pale).rectangle((left, top, box[2] - 1, box[3] - 1), outline="red", width=2)
    return pale
