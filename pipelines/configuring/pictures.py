"""A first look at the pictures, wherever they are: how many, how large, which captions are there."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from pipelines.configuring.captions import Captions, captions_beside, example_captions
from pipelines.configuring.csv_table import look_at_csv
from pipelines.configuring.hub_dataset import look_at_hub
from sanaflow.datasets import DatasetSettings
from sanaflow.errors import InputError
from sanaflow.images.decode import UnreadablePictureError
from sanaflow.images.header import read_size
from sanaflow.images.sources.folder import open_folder
from sanaflow.images.sources.listing import Entry, Source
from sanaflow.images.sources.s3 import open_s3
from sanaflow.images.sources.urls import open_csv
from sanaflow.paths import expanded

LOOKED_AT = 400
"""So many pictures, evenly picked, are opened."""


@dataclass(frozen=True)
class Found:
    """What a look at the pictures found.

    Attributes:
        entry: Keys of the dataset's entry that say where they are.
        pictures: How many there are; None where only a download would tell.
        captions: How they could get their words, the best first.
        sizes: (width, height) in pixels of those that were looked at.
        unreadable: Those of them that can't be used, with the reason.
        examples: Some captions.
    """

    entry: dict[str, Any]
    pictures: int | None
    captions: list[Captions]
    sizes: list[tuple[int, int]] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    examples: list[str] = field(default_factory=list)

    @property
    def all_seen(self) -> bool:
        """Whether every picture was looked at."""
        return self.pictures == len(self.sizes)

    @property
    def edge(self) -> int | None:
        """Of a square of the middle picture's area, in pixels."""
        return round(float(np.median([(w * h) ** 0.5 for w, h in self.sizes]))) if self.sizes else None

    def told(self) -> str:
        """In a line."""
        number = "pictures" if self.pictures is None else f"{self.pictures:,} picture{'s' * (self.pictures != 1)}"
        size = f", the middle one of about {self.edge} x {self.edge} px" if self.edge else ", sizes not looked at"
        bad = f"; can't be used: {len(self.unreadable)}, for example {self.unreadable[0]}" if self.unreadable else ""
        return f"found {number}{size}{bad}"


def look_at_pictures(where: str, endpoint: str | None = None) -> Found:
    """Look at a folder, `s3://bucket/prefix`, a .csv, or `owner/name` on the hub.

    Raises:
        InputError: It is none of these, can't be listed, or holds no picture that can be used.
    """
    if where.startswith("s3://"):
        bucket, _, prefix = where.removeprefix("s3://").partition("/")
        entry = {"type": "aws", "aws_bucket_name": bucket, "aws_data_prefix": prefix, "aws_endpoint_url": endpoint}
        entry = {key: value for key, value in entry.items() if value}
        return _seen(entry, open_s3(_dataset(entry)))
    if expanded(where).is_dir():
        return _seen({"instance_data_dir": where}, open_folder(_dataset({"instance_data_dir": where})))
    if where.endswith(".csv"):
        entry, words = look_at_csv(where)
        return _seen(entry, open_csv(_dataset(entry | words[0].keys)), words)
    if where.count("/") == 1 and not where.startswith((".", "/", "~")):
        return Found(*look_at_hub(where))
    raise InputError(f"'{where}' is no folder here; nor is it s3://bucket/prefix, a .csv, or owner/name on the hub")


def _dataset(entry: dict[str, Any]) -> DatasetSettings:
    return DatasetSettings(id="mine", **entry)


def _seen(entry: dict[str, Any], source: Source, words: list[Captions] | None = None) -> Found:
    pictures = [e for e in source.entries if e.is_picture and not e.problem]
    if not pictures:
        raise InputError(f"there is no picture: {_instead(source.entries)}")
    here = [e for e in pictures if e.path]
    chosen = [here[i] for i in np.linspace(0, len(here) - 1, min(LOOKED_AT, len(here))).astype(int)] if here else []
    sizes, unreadable = [], []
    for picture in chosen:
        try:
            sizes.append(read_size(Path(str(picture.path)).read_bytes()))
        except (UnreadablePictureError, OSError) as error:
            unreadable.append(f"{picture.name} ({error})")
    if unreadable and not sizes:
        raise InputError(f"no picture can be used, for example {unreadable[0]}")
    number = len(pictures) - (len(unreadable) if len(chosen) == len(pictures) else 0)
    captions = words if words is not None else captions_beside(source, pictures)
    return Found(entry, number, captions, sizes, unreadable, example_captions(captions[0], pictures))


def _instead(entries: list[Entry]) -> str:
    if not entries:
        return "it is empty"
    endings = Counter(PurePosixPath(e.name).suffix.lower() or "without an ending" for e in entries)
    return f"its {len(entries):,} files are {', '.join(name for name, _ in endings.most_common(3))}"
