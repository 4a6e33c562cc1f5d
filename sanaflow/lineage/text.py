"""Lineage in words: a line a model version, or one version's chain from its release to its sources."""

from collections.abc import Sequence

import pandas as pd

from sanaflow.lineage.records import Record, parent_of

SHORT = 10


def versions_table(records: Sequence[Record]) -> str:
    """A line a version, the newest last."""
    rows = [
        {
            "version": record.name,
            "stage": record.stage or "",
            "created": record.created[:16],
            "steps": "" if record.steps is None else f"{record.steps:,}",
            "gain": measured(record.scores.get("gain")),
            "promoted": {True: "yes", False: "no", None: ""}[record.decision.get("promote")],
            "pictures": "" if record.pictures is None else f"{record.pictures:,}",
            **{name: record.data.get(name, "")[:SHORT] for name in ("images", "latents", "captions")},
            "weights": (record.weights or f"none: {record.status or 'no run'}")[: SHORT + 6],
            "release": release_of(record),
        }
        for record in records
    ]
    return pd.DataFrame(rows).to_string(index=False) if rows else "no model versions yet: run pipelines.finetune"


def chain(record: Record, records: Sequence[Record]) -> dict[str, str]:
    """What is said of each link from the release to the sources, in this order.

    Args:
        record: The version.
        records: All, to find those that share its caches.
    """
    parent = parent_of(record, records)
    links = {
        "release": " ".join(record.release[k] for k in ("url", "folder") if k in record.release) or "none",
        "model version": record.name + (f", {record.stage}" if record.stage else "") + f", made {record.created[:19]}",
        "run": " ".join(part for part in (record.run, record.run_url) if part) or "deleted",
        "code": record.commit or "unknown",
        "versions": ", ".join(f"{name} {version}" for name, version in record.packages.items()) or "unknown",
        "scores": ", ".join(f"{name} {measured(score)}" for name, score in record.scores.items()) or "none",
        "held-out loss": ", ".join(f"{name} {loss:.4f}" for name, loss in record.losses.items()) or "none",
        "decision": record.verdict(),
        "weights": f"{record.weights}, {record.kind}, {record.steps:,} steps"
        if record.weights
        else f"none: its run is {record.status}"
        if record.status
        else "none",
        "began with": parent.name if parent else record.started_from or "the base model",
        "base model": f"{record.base_model} ({(record.base_digest or '')[:SHORT]})",
    }
    for name, digest in reversed(record.data.items()):
        sharing = [other.name for other in records if other.data.get(name) == digest and other.name != record.name]
        links[name] = digest + (f", also of {', '.join(sharing)}" if sharing else "")
    return links | {f"source '{name}'": place for name, place in record.sources().items()}


def measured(score: Sequence[float | None] | None) -> str:
    """A mean with its interval."""
    if not score or score[0] is None:
        return ""
    mean, low, high = score
    return f"{mean:+.2f}" + ("" if low is None or high is None else f" [{low:+.2f}, {high:+.2f}]")


def release_of(record: Record) -> str:
    """Where the release is, in short."""
    if "repo" in record.release:
        return f"{record.release['repo']}@{record.release['commit'][:SHORT]}"
    return record.release.get("folder", "")
