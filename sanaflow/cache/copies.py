"""Copies of remote files on this machine: fetched ahead of need, never more than so many bytes of them."""

import os
import threading
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path

from sanaflow.cache.shard import DamagedShardError
from sanaflow.cache.store import remove_leftovers
from sanaflow.digests import file_digest
from sanaflow.errors import InputError

CONNECTIONS = 4


class Copies:
    """A folder of copies, each named by its sha256; several processes may share it."""

    def __init__(
        self, folder: Path, limit: int, *, fetch: Callable[[str, Path], None], dropped: Callable[[str], object]
    ) -> None:
        """Keep copies in `folder`.

        Args:
            folder: Made if need be.
            limit: Bytes that the copies may take, unfinished ones included.
            fetch: Writes a file's bytes to a path.
            dropped: Called with the name of each copy that had to go.

        Raises:
            InputError: The folder can't be made.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"can't make '{folder}' ({error.strerror}): set SANAFLOW_SHARD_CACHE to another") from None
        remove_leftovers(folder)
        self.folder, self.limit = folder, limit
        self._fetch, self._dropped = fetch, dropped
        self._lock = threading.RLock()
        self._pool = ThreadPoolExecutor(CONNECTIONS)
        self._ours = f".{os.getpid()}.tmp"
        self._coming: dict[str, tuple[int, Future[Path]]] = {}
        self._verified: dict[str, tuple[int, int]] = {}

    def get(self, name: str, size: int) -> Path:
        """The copy of a file of `size` bytes, fetched now if it is not here, its checksum verified in this process.

        Raises:
            DamagedShardError: What came is not what the name says.
            InputError: It is larger than all copies together may be, or can't be had.
        """
        while True:
            with self._lock:
                coming = self._coming.get(name)
                if coming is None and self._is_here(name):
                    return self.folder / name
                if coming is None and self._make_room(size, keep={name}):
                    coming = self._start(name, size)
                others = [future for _, future in self._coming.values()]
            if coming is not None:
                return coming[1].result()
            if not others:
                raise InputError(
                    f"'{self.folder}' may hold {self.limit:,} bytes of copies, and {name} has {size:,}: raise "
                    "SANAFLOW_SHARD_CACHE_GIB"
                )
            wait(others, return_when=FIRST_COMPLETED)  # what is on its way may go again

    def expect(self, files: Sequence[tuple[str, int]]) -> None:
        """Begin to fetch these files, of given sizes, in their order, as far as there is room beside each other."""
        keep = {name for name, _ in files}
        with self._lock:
            for name, size in files:
                if name in self._coming or self._is_here(name):
                    continue
                if len(self._coming) >= CONNECTIONS or not self._make_room(size, keep=keep):
                    return
                self._start(name, size)

    def _is_here(self, name: str) -> bool:
        """Whether there is a whole copy; it counts as read now. A damaged one is dropped."""
        copy = self.folder / name
        try:
            os.utime(copy)
            found = copy.stat()
            stamp = found.st_ino, found.st_size
            if self._verified.get(name) != stamp:
                if file_digest(copy) != copy.stem:
                    copy.unlink(missing_ok=True)
                    return False
                self._verified[name] = stamp
        except FileNotFoundError:
            return False
        return True

    def _start(self, name: str, size: int) -> tuple[int, Future[Path]]:
        self._coming[name] = size, self._pool.submit(self._bring, name)
        return self._coming[name]

    def _bring(self, name: str) -> Path:
        unfinished = self.folder / f".{uuid.uuid4().hex}{self._ours}"
        copy = self.folder / name
        try:
            self._fetch(name, unfinished)
            if file_digest(unfinished) != copy.stem:
                raise DamagedShardError
            with unfinished.open("rb+") as file:
                os.fsync(file.fileno())
            with self._lock:
                unfinished.replace(copy)
                self._verified[name] = copy.stat().st_ino, copy.stat().st_size
        finally:
            unfinished.unlink(missing_ok=True)
            with self._lock:
                self._coming.pop(name)
        return copy

    def _make_room(self, size: int, *, keep: set[str]) -> bool:
        """Drop the copies that were read longest ago, but none of `keep`, until `size` bytes more may come.

        Other processes' unfinished files count as they are, this one's as they will be.
        """
        copies, used = [], sum(size for size, _ in self._coming.values())
        for path in self.folder.iterdir():
            with suppress(FileNotFoundError):  # another process has just dropped it
                found = path.stat()
                if not path.name.endswith(self._ours):
                    used += found.st_size
                if path.suffix != ".tmp":
                    copies.append((found.st_mtime_ns, found.st_size, path))
        for _, freed, path in sorted(copies):
            if used + size <= self.limit:
                break
            if path.name not in keep:
                path.unlink(missing_ok=True)
                self._dropped(path.name)
                used -= freed
        return used + size <= self.limit
