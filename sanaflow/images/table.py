"""The table that `download_dataset` makes: one row a picture, one row a rejected file."""

from dataclasses import dataclass

import pandas as pd

from sanaflow.digests import table_digest

PICTURE_COLUMNS = [
    *("dataset", "id", "uri", "file", "width", "height", "captions", "repeats", "mask_id", "mask_uri"),
    *("face_x", "face_y", "blur", "blockiness", "upscaling", "contrast", "duplicates"),
]
REJECTED_COLUMNS = ["dataset", "file", "reason"]
SEEN_BY_TRAINING = ["dataset", "id", "width", "height", "captions", "repeats", "mask_id", "face_x", "face_y"]


@dataclass(frozen=True)
class ImageTable:
    """Pictures of all datasets.

    Attributes:
        pictures: One row a picture and dataset. `id` is the sha256 of the file's bytes, `uri` where it is now, `file`
            its path inside the dataset, `width` and `height` are in pixels after EXIF orientation, `captions` a list of
            str. `mask_id` and `mask_uri` are its mask's, or empty. `face_x` and `face_y` are the middle of the largest
            face as shares of width and height, if faces were looked for and found. `blur`, `blockiness`, `upscaling`
            and `contrast` are as `measure_quality` says; `duplicates` numbers groups of near-duplicates, -1 for none.
        rejected: One row a file that was left out, with the reason.
    """

    pictures: pd.DataFrame
    rejected: pd.DataFrame

    def digest(self) -> str:
        """sha256 over what training can see. Where a file lies, its name and its quality don't count."""
        return table_digest(self.pictures[SEEN_BY_TRAINING].sort_values(["dataset", "id"]))

    def uri_of(self) -> dict[tuple[str, str], str]:
        """Where each (dataset, picture id) can be read now."""
        return {(p.dataset, p.id): p.uri for p in self.pictures.itertuples()}

    def mask_uri_of(self) -> dict[tuple[str, str], str]:
        """Where the mask of each (dataset, picture id) that has one can be read now."""
        return {(p.dataset, p.id): p.mask_uri for p in self.pictures.itertuples() if p.mask_uri}
