"""Disks, and the hub."""

import shutil
from collections.abc import Iterator

from pipelines.checking.finding import Finding, in_bytes
from pipelines.checking.redaction import without_user
from sanaflow.config import PublishingSettings
from sanaflow.errors import InputError


def look_at_disks() -> Iterator[Finding]:
    """Room where caches, checkpoints and downloads go."""
    from pipelines.checking.disk import LEAST, existing, own_places, places
    from pipelines.checking.server import store_problem

    folders = own_places() if store_problem() else places(PublishingSettings())
    for what, folder in folders.items():
        disk = shutil.disk_usage(existing(folder))
        full = disk.free < LEAST
        said = f"{in_bytes(disk.free)} free of {in_bytes(disk.total)}, in {without_user(folder)}"
        yield Finding("error" if full else "ok", what, said + (": free some space" if full else ""))


def look_at_hub() -> Iterator[Finding]:
    """Whether it answers, and whose the token is; never the token."""
    from pipelines.checking.hub import account, hub_host, no_answer

    if problem := no_answer():
        yield Finding("warning", "hub", problem)
        return
    yield Finding("ok", "hub", f"{hub_host()} answers")
    try:
        who = account()
    except InputError as error:
        yield Finding("error", "token", error.message)
        return
    yield Finding("ok", "token", f"of '{who}'" if who else "none: enough for public models and data sets")
