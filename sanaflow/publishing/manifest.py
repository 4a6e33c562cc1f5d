"""The artifact of publishing: which files went where."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class HubRelease:
    """What was published.

    Attributes:
        files: sha256 of every file, by its path in the release.
        folder: The release folder.
        repo: The hub repository, or None.
        commit: The commit there that holds exactly these files, or None.
        url: Where to look at it, or None.
    """

    files: dict[str, str]
    folder: Path
    repo: str | None = None
    commit: str | None = None
    url: str | None = None
