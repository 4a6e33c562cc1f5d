"""What every source gives: a list of entries, each with a token that changes when its bytes change."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from sanaflow.images.decode import ENDINGS

BESIDE = frozenset({".txt", ".json", ".jsonl", ".csv", ".tsv", ".parquet", ".yaml", ".yml", ".md", ".npz"})
"""Files that belong beside pictures and aren't missed."""


class FetchError(Exception):
    """A file couldn't be had; the text says why, in words that hold no secret."""


@dataclass(frozen=True)
class Entry:
    """A file of a data set.

    Attributes:
        name: Its path inside the set, with slashes.
        token: Changes whenever its bytes do.
        path: Where it lies already, on this machine.
        known_picture: The source says that it is a picture, whatever its name says.
        captions: Its captions, where the source itself has them.
        problem: Why it can't be used at all.
        checksum: What its bytes must have, as 'sha256:...', 'md5:...' or 'gitsha1:...'; '' if the source doesn't say.
    """

    name: str
    token: str
    path: Path | None = None
    known_picture: bool = False
    captions: tuple[str, ...] | None = None
    problem: str = ""
    checksum: str = ""

    @property
    def is_picture(self) -> bool:
        """Whether its name or its source says so."""
        return self.known_picture or self.ending in ENDINGS

    @property
    def is_beside(self) -> bool:
        """Whether it is of a kind that is kept beside pictures."""
        return self.ending in BESIDE

    @property
    def ending(self) -> str:
        """'.png' of 'a/b.PNG'."""
        return PurePosixPath(self.name).suffix.lower()


@dataclass(frozen=True)
class Source:
    """A set's files.

    Attributes:
        key: Says where they are; tokens are compared under the same key only.
        entries: All files, sorted by name.
        fetch: Writes an entry's bytes to a file. None where every entry has its `path`.
    """

    key: str
    entries: list[Entry]
    fetch: Callable[[Entry, Path], None] | None = None
