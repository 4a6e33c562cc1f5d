"""Copies of remote files on this machine: fetched ahead of need, never more than so many bytes of them."""

import os
import threading
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from sanaflow.cache.store import remove_leftovers
from sanaflow.errors import InputError

CONNECTIONS = 4


class Copies:
    """A folder of copies; several processes may share it."""

    def __init__(
        self, folder: Path, limit: int, *, fetch: Callable[[str, Path], None], dropped: Callable[[str], object]
    ) -> None:
        """Keep copies in `folder`.

        Args:
            folder: Made if need be.
            limit: Bytes that the copies may take, unfinished ones included.
            fetch: Writes a file's bytes to a path, and sees that they are the right ones.
            dropped: Called with the name of each copy that had to go.
        """
        folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder)
        self.folder, self.limit = folder, limit
        self._fetch, self._dropped = fetch, dropped
        self._lock = threading.RLock()
        self._pool = ThreadPoolExecutor(CONNECTIONS)
        self._coming: dict[str, tuple[int, Future[Path]]] = {}

    def get(self, name: str, size: int) -> Path:
        """The copy of a file of `size` bytes, fetched now if it is not here.

        Raises:
            InputError: It is larger than all copies together may be, or can't be had.
        """
        with self._lock:
            if name not in self._coming and not self._touch(name):
                if not self._make_room(size, keep={name}):
                    raise InputError(
                        f"'{self.folder}' may hold {self.limit:,} bytes of copies, too few for {name} of {size:,} and "
                        "those on their way: raise SANAFLOW_SHARD_CACHE_GIB"
                    )
                self._start(name, size)
            coming = self._coming.get(name)
        return coming[1].result() if coming else self.folder / name

    def expect(self, files: Sequence[tuple[str, int]]) -> None:
        """Begin to fetch these files, of given sizes, in their order, as far as there is room beside each other."""
        keep = {name for name, _ in files}
        with self._lock:
            for name, size in files:
                if name in self._coming or self._touch(name):
                    continue
                if len(self._coming) >= CONNECTIONS or not self._make_room(size, keep=keep):
                    return
                self._start(name, size)

    def _touch(self, name: str) -> bool:
        try:
            os.utime(self.folder / name)
        except FileNotFoundError:
            return False
        return True

    def _start(self, name: str, size: int) -> None:
        self._coming[name] = size, self._pool.submit(self._bring, name)

    def _bring(self, name: str) -> Path:
        unfinished = self.folder / f".{uuid.uuid4().hex}.tmp"
        try:
            self._fetch(name, unfinished)
            with self._lock:
                unfinished.replace(self.folder / name)
                self._coming.pop(name)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            with self._lock:
                self._coming.pop(name)
            raise
        return self.folder / name

    def _make_room(self, size: int, *, keep: set[str]) -> bool:
        """Drop the copies that were read longest ago, but none of `keep`, until `size` bytes more may come."""
        copies = [(path.stat(), path) for path in self.folder.glob("[!.]*")]
        used = sum(stat.st_size for stat, _ in copies) + sum(size for size, _ in self._coming.values())
        for stat, path in sorted(copies, key=lambda copy: copy[0].st_mtime_ns):
            if used + size <= self.limit:
                break
            if path.name not in keep:
                path.unlink(missing_ok=True)
                self._dropped(path.name)
                used -= stat.st_size
        return used + size <= self.limit
