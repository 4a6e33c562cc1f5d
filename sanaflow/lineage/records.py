"""What is known of every model version, as plain records: the ground of `lineage`, `compare` and `rebuild`."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sanaflow.digests import file_digest
from sanaflow.errors import InputError, nearest

DATA = {"image_table": "images", "latent_cache": "latents", "caption_cache": "captions"}
"""Artifacts that a model is made of, and what they are called here."""
PLACES = {
    "local": "instance_data_dir",
    "huggingface": "dataset_name",
    "aws": "aws_bucket_name",
    "csv": "csv_file",
}


@dataclass(frozen=True)
class Record:
    """A model version. What it has not, as after a run that failed, is None or empty.

    Attributes:
        name: As 'sana@3'.
        status: Of that run: completed, failed, running, ...
        run: Name of the run that made it; `run_url` its page on the dashboard, if there is one.
        trained_in: Id of the run that trained the weights: another one, where they came from the cache.
        commit: The code's, with `-dirty` if files differed from it.
        packages: Versions, as far as they are recorded.
        settings: The run's `parameters`, as they were given.
        data: Digests of `images`, `latents` and `captions`.
        folders: Where the artifacts lie, by their names.
        start: Id of the artifact that says which weights training began with; None: the base model's.
        started_from: Digest of these weights.
        weights: Digest of the tuned weights.
        scores: Mean, low and high end of its 95 % interval, by model and gain; `losses` on held-out pictures by model.
        decision: `promote`, `stage`, `against`, `reason`.
        release: `folder` and, on the hub, `repo`, `commit`, `url`.
    """

    name: str
    number: int = 0
    stage: str | None = None
    created: str = ""
    status: str | None = None
    run: str | None = None
    run_id: str | None = None
    run_url: str | None = None
    trained_in: str | None = None
    commit: str | None = None
    packages: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    pictures: int | None = None
    data: dict[str, str] = field(default_factory=dict)
    folders: dict[str, str] = field(default_factory=dict)
    base_model: str | None = None
    base_digest: str | None = None
    start: str | None = None
    started_from: str | None = None
    weights: str | None = None
    kind: str | None = None
    steps: int | None = None
    scores: dict[str, list[float | None]] = field(default_factory=dict)
    losses: dict[str, float] = field(default_factory=dict)
    decision: dict[str, Any] = field(default_factory=dict)
    release: dict[str, str] = field(default_factory=dict)

    def sources(self) -> dict[str, str]:
        """Each data set's id and where its pictures come from."""
        sets = [s for s in self.settings.get("datasets", ()) if s.get("dataset_type") != "text_embeds"]
        return {
            s["id"]: f"{s.get('type', 'local')}: {s.get(PLACES.get(s.get('type', 'local'), ''), '?')}" for s in sets
        }

    def verdict(self) -> str:
        """What was decided, and why."""
        if not self.decision:
            return "none"
        said = "promoted" if self.decision["promote"] else "not promoted"
        return f"{said} to {self.decision['stage']}: {self.decision['reason']}"


def parent_of(record: Record, records: Sequence[Record]) -> Record | None:
    """The version that this one was tuned from: by its weights, or by its release as the base model."""
    for other in sorted(records, key=lambda other: other.created, reverse=True):
        known = {other.release.get("folder"), f"{other.release.get('repo')}@{other.release.get('commit')}"} - {None}
        begun = record.started_from is not None and record.started_from == other.weights
        if other.created < record.created and (begun or record.base_model in known):
            return other
    return None


def released_as(subject: str, records: Sequence[Record]) -> list[Record]:
    """The versions whose release on the hub 'owner/name' or 'owner/name@revision' is.

    Args:
        subject: The revision is a commit, its beginning, or a tag: the version's own name.
        records: Those to look through.

    Raises:
        InputError: There is none.
    """
    repo, _, revision = subject.removeprefix("https://huggingface.co/").partition("@")
    there = [record for record in records if record.release.get("repo") == repo]
    found = [r for r in there if r.release["commit"].startswith(revision) or r.name.rpartition("@")[2] == revision]
    if not found:
        known = {r.release["repo"] for r in records if "repo" in r.release}
        hint = nearest(repo, known) if known else "no version was pushed to the hub"
        hint = f"there are the commits {', '.join(r.release['commit'] for r in there)}" if there else hint
        raise InputError(f"'{subject}' is no file here, and no release of a model version: {hint}")
    return found


def picture_id(subject: str) -> str | None:
    """The id of a picture that is named by its file or by its id; None if it is neither."""
    if re.fullmatch("[0-9a-fA-F]{64}", subject):
        return subject.lower()
    return file_digest(Path(subject)) if Path(subject).is_file() else None
