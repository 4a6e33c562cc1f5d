"""Parts of an entry of `datasets:` that have keys of their own."""

from typing import Literal

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from sanaflow.section import Section


class AspectWeight(Section):
    """An aspect ratio (width / height) and how often it is picked."""

    aspect: PositiveFloat
    """Width / height."""
    weight: NonNegativeFloat
    """Beside those of the others."""


class MetadataTable(Section):
    """A Parquet, JSON-lines or CSV table of captions beside the pictures."""

    path: str
    """A file on this machine, or a file's name in the dataset itself."""
    filename_column: str = "id"
    """Names the picture, by its path in the data set."""
    caption_column: str = "description"
    """A text, or a list of texts."""
    fallback_caption_column: str | None = None
    """Used where `caption_column` is empty."""
    identifier_includes_extension: bool = False
    """Whether `filename_column` has the pictures' endings."""
    width_column: str | None = None
    """Accepted, not used: sizes are read from the pictures' own headers, which is as cheap and never wrong."""
    height_column: str | None = None
    """As `width_column`."""


class CaptionShuffle(Section):
    """Further captions with their parts in another order; made once, the same in every run."""

    enable: bool = True
    """false: as if it weren't there."""
    count: PositiveInt = 1
    """How many shuffled captions are added."""
    seed: int = 0
    """Of the orders."""
    split_on: Literal["comma", "space", "period"] = "comma"
    """What parts a caption."""
    position_start: NonNegativeInt = 0
    """So many parts keep their place at the front."""
    include_original: bool = True
    """Keep the caption as it was, too."""
