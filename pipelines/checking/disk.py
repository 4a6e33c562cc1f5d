"""Whether what the run writes has room where it goes."""

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import constants
from zenml.config.global_config import GlobalConfiguration

from pipelines.checking.finding import Finding, Look, in_bytes
from sanaflow.config import PublishingSettings
from sanaflow.paths import expanded
from steps.store_folder import store_folder

LEAST = 2**28
"""Bytes that should stay free: below, a disk is as good as full."""
NOTHING = 2**24
"""Bytes below which not even a run from the cache has room."""
STORE = "caches and checkpoints"


@dataclass(frozen=True)
class Need:
    """Bytes that the run will write into a folder, which needn't be there yet."""

    what: str
    folder: Path
    bytes: int


def own_places() -> dict[str, Path]:
    """Where any run on this machine writes, by what goes there."""
    return {
        "ZenML's local stores": Path(GlobalConfiguration().local_stores_path),
        "downloads from the hub": Path(constants.HF_HUB_CACHE),
    }


def places(publishing: PublishingSettings) -> dict[str, Path]:
    """The same with what depends on the run and the active stack, so that ZenML's store has to answer."""
    release = expanded(publishing.release_dir) if publishing.release_dir else store_folder("releases")
    return own_places() | {"release": release, STORE: store_folder("training").parent}


def look_at_full_disks(folders: Mapping[str, Path]) -> Look[None]:
    """Disks that are full before anything was written: an error where every run writes something, else a warning."""
    for what, folder in {_device(folder): (what, folder) for what, folder in folders.items()}.values():
        disk = shutil.disk_usage(existing(folder))
        if disk.total and disk.free < LEAST:  # some network file systems don't say
            none = what == STORE and disk.free < NOTHING
            yield Finding("error" if none else "warning", "disk", full(folder, disk.free))


def look_at_room(needs: Iterable[Need]) -> Look[None]:
    """What is needed on each disk against what is free there."""
    disks: dict[int, list[Need]] = {}
    for need in needs:
        disks.setdefault(_device(need.folder), []).append(need)
    for group in disks.values():
        folder = max(group, key=lambda need: need.bytes).folder
        free, wanted = shutil.disk_usage(existing(folder)).free, sum(need.bytes for need in group)
        parts: dict[str, int] = {}
        for need in group:
            parts[need.what] = parts.get(need.what, 0) + need.bytes
        told = ", ".join(f"{what} {in_bytes(size)}" for what, size in parts.items() if size)
        said = f"about {in_bytes(wanted)} will be written ({told})" if told else "little will be written"
        if free < LEAST:
            yield Finding("error", "disk", full(folder, free))
        elif free < wanted + LEAST:
            yield Finding("error", "disk", f"'{folder}' has {in_bytes(free)} free, but {said}: free some space")
        else:
            yield Finding("ok", "disk", f"'{folder}' has {in_bytes(free)} free; {said}")


def full(folder: Path, free: int) -> str:
    """What is said of a disk without room."""
    return f"the disk of '{folder}' is full, or nearly ({in_bytes(free)} are free): free some space"


def existing(folder: Path) -> Path:
    """The folder or, if it isn't there yet, the nearest above it that is."""
    return next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())


def _device(folder: Path) -> int:
    return existing(folder).stat().st_dev
