"""A folder on this machine, searched recursively. Nothing is opened, and nothing is written."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from sanaflow.datasets import DatasetSettings
from sanaflow.errors import InputError
from sanaflow.images.sources.listing import Entry, Source
from sanaflow.paths import expanded


def open_folder(dataset: DatasetSettings) -> Source:
    """List a folder's files. Hidden files are passed over; links are followed, each folder once.

    Raises:
        InputError: It is no folder, or may not be read.
    """
    folder = expanded(dataset.instance_data_dir or "")
    if not folder.is_dir():
        raise InputError(f"{dataset.key} is not a folder: set it to the folder of your pictures")
    root = os.path.realpath(folder)
    try:
        entries = sorted(_walk(root, "", set()), key=lambda entry: entry.name)
    except PermissionError as error:
        raise InputError(f"{dataset.key}: no right to read '{error.filename}'; change its permissions") from None
    return Source(f"folder {root}", entries)


def stat_token(status: os.stat_result) -> str:
    """Size and the times of the last change of bytes and of anything: whoever writes to a file changes the last."""
    return f"{status.st_size}-{status.st_mtime_ns}-{status.st_ctime_ns}"


def _walk(folder: str, inside: str, entered: set[str]) -> Iterator[Entry]:
    if (real := os.path.realpath(folder)) in entered:
        return
    entered.add(real)
    with os.scandir(folder) as found:
        items = sorted(found, key=lambda item: item.name)
    for item in items:
        if item.name.startswith("."):
            continue
        name = inside + item.name
        try:
            if item.is_dir():
                yield from _walk(item.path, name + "/", entered)
                continue
            status = item.stat()
        except OSError:
            yield Entry(_readable(name), "", problem="a link to nothing" if item.is_symlink() else "can't be looked at")
            continue
        if _readable(name) != name:
            yield Entry(_readable(name), "", problem="its name is not UTF-8: rename it")
        elif not stat.S_ISREG(status.st_mode):
            yield Entry(name, "", problem="not a file")
        else:
            yield Entry(name, stat_token(status), path=Path(item.path))


def _readable(name: str) -> str:
    return os.fsencode(name).decode(errors="replace")
