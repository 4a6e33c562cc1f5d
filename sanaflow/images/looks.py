"""What each file is. Its bytes are read once, to identify it, and its header is looked at; nothing is decoded.

What was learnt is kept in an index: an unchanged file is not read again.
"""

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import TypeVar

from sanaflow.images.captions import MissingCaptionError
from sanaflow.images.decode import UnreadablePictureError
from sanaflow.images.download import fetch_object, object_path
from sanaflow.images.header import read_size
from sanaflow.images.index import Index, Look
from sanaflow.images.sources.folder import stat_token
from sanaflow.images.sources.listing import Entry, FetchError, Source
from sanaflow.progress import progress_bar

T = TypeVar("T")
R = TypeVar("R")
DOWNLOADS = 16
"""At once: they wait for the network; local files keep the cores busy."""
READERS = 4 + (os.cpu_count() or 1)
KEPT_AT_ONCE = 500
"""So many looks are written to the index at a time: what a kill can lose."""
CLOCK_TICK = 0.05
"""Seconds: a file that changed so shortly ago could change once more and keep its times."""


def look_at_all(
    source: Source, entries: list[Entry], folder: Path, index: Index, label: str
) -> dict[str, tuple[Look, Path | None]]:
    """What each file is and where it lies, from the index where it is known, else read in parallel."""
    known = index.looks(source.key)
    looks: dict[str, tuple[Look, Path | None]] = {}
    missing = []
    for entry in entries:
        look = known.get((entry.name, entry.token))
        path = entry.path or (object_path(folder, look.digest) if look else None)
        if look is None or (entry.path is None and not look.problem and path and not path.exists()):
            missing.append(entry)
        else:
            looks[entry.name] = look, path
    print(f"{label}: {len(looks):,} of {len(entries):,} files are known, {len(missing):,} to read")

    workers = DOWNLOADS if source.fetch else READERS
    done = _in_parallel(lambda e: (e, *_look_at(source, e, folder)), missing, workers=workers, desc=f"reading {label}")
    while some := list(islice(done, KEPT_AT_ONCE)):
        looks |= {entry.name: (look, path) for entry, look, path, _ in some}
        index.add_looks(source.key, [(entry.name, entry.token, look) for entry, look, _, keep in some if keep])
    return looks


def _look_at(source: Source, entry: Entry, folder: Path) -> tuple[Look, Path | None, bool]:
    """What a file is, where it lies, and whether that will be the same next time."""
    try:
        path = entry.path or fetch_object(source, entry, folder)
        data = path.read_bytes()
        keep = entry.path is None or _is_settled(entry)
        look = _identify(data)
    except FetchError as error:
        return Look("", 0, 0, f"can't be had: {error}"), None, False
    except OSError as error:
        return Look("", 0, 0, f"can't be read: {error.strerror or error}"), None, False
    if look.problem and entry.path is None and not entry.checksum:  # perhaps it only came so: once more next time
        path.unlink(missing_ok=True)
        return look, None, False
    return look, path, keep


def _identify(data: bytes) -> Look:
    try:
        return Look(hashlib.sha256(data).hexdigest(), *read_size(data))
    except UnreadablePictureError as error:
        return Look("", 0, 0, str(error))


def _is_settled(entry: Entry) -> bool:
    """Whether a file is still what it was when it was listed, and any later change will show in its times."""
    assert entry.path is not None
    status = entry.path.stat()
    if time.time() - max(status.st_mtime, status.st_ctime) < CLOCK_TICK:
        time.sleep(CLOCK_TICK)
        status = entry.path.stat()
    return stat_token(status) == entry.token or "-" not in entry.token  # an unpacked object never changes


def read_texts(source: Source, entries: list[Entry], folder: Path, index: Index) -> Callable[[str], str | None]:
    """A function that gives a picture's text file by name."""
    by_name = {e.name: e for e in source.entries if e.ending == ".txt"}
    wanted = dict.fromkeys(str(PurePosixPath(e.name).with_suffix(".txt")) for e in entries)
    files = [by_name[name] for name in wanted if name in by_name]
    known = index.texts(source.key)
    texts = {e.name: known[e.name, e.token] for e in files if (e.name, e.token) in known}
    missing = [e for e in files if e.name not in texts]
    workers = DOWNLOADS if source.fetch else READERS
    found = _in_parallel(
        lambda e: (e, _read_text(source, e, folder)), missing, workers=workers, desc="reading captions"
    )
    read = {e.name: (e, text) for e, text in found}
    texts |= {name: text for name, (_, text) in read.items() if isinstance(text, str)}
    index.add_texts(source.key, [(e.name, e.token, text) for e, text in read.values() if isinstance(text, str)])

    def text(name: str) -> str | None:
        if isinstance(problem := read.get(name, (None, ""))[1], MissingCaptionError):
            raise problem
        return texts.get(name)

    return text


def _read_text(source: Source, entry: Entry, folder: Path) -> str | MissingCaptionError:
    name = PurePosixPath(entry.name).name
    try:
        return (entry.path or fetch_object(source, entry, folder)).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        return MissingCaptionError(f"its caption file {name} is not UTF-8 text")
    except FetchError as error:
        return MissingCaptionError(f"its caption file {name} can't be had: {error}")
    except OSError as error:
        return MissingCaptionError(f"its caption file {name} can't be read: {error.strerror}")


def _in_parallel(function: Callable[[T], R], items: Iterable[T], *, workers: int, desc: str) -> Iterator[R]:
    items = list(items)
    with ThreadPoolExecutor(workers) as pool:
        done = pool.map(function, items)
        yield from progress_bar(done, total=len(items), desc=desc, unit="file") if items else done
