"""The table that `download_dataset` makes: one row a picture, one row a rejected file."""

from dataclasses import dataclass

import pandas as pd

from sanaflow.digests import digest_of

PICTURE_COLUMNS = ["dataset", "id", "uri", "file", "width", "height", "captions", "repeats"]
REJECTED_COLUMNS = ["dataset", "file", "reason"]


@dataclass(frozen=True)
class ImageTable:
    """Pictures of all datasets.

    Attributes:
        pictures: One row a picture and dataset. `id` is the sha256 of the file's bytes, `uri` where it is now,
            `file` its
            path inside the dataset, `width` and `height` are in pixels after EXIF orientation, `captions` a list of
            str.
        rejected: One row a file that was left out, with the reason.
    """

    pictures: pd.DataFrame
    rejected: pd.DataFrame

    def digest(self) -> str:
        """sha256 over what training can see: ids, captions, repeats. Where a file lies and its name don't count."""
        pictures = self.pictures.drop(columns=["uri", "file"]).sort_values(["dataset", "id"])
        return digest_of([{**row, "captions": list(row["captions"])} for row in pictures.to_dict("records")])

    def uri_of(self) -> dict[tuple[str, str], str]:
        """Where each (dataset, picture id) can be read now."""
        return {(p.dataset, p.id): p.uri for p in self.pictures.itertuples()}
