"""Shards in a folder of this machine, or one that is mounted: mapped into memory where they lie."""

import contextlib
import errno
import fcntl
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from sanaflow.cache.shard import DAMAGED, ENDING, Contents, DamagedShardError, MappedShard, read_contents
from sanaflow.cache.store import Claim, ShardStore, StoredFile, remove_leftovers
from sanaflow.digests import file_digest
from sanaflow.errors import InputError

VERIFIED: dict[Path, tuple[int, ...]] = {}
"""Files whose checksum was right, and when each was changed last."""


class FolderStore(ShardStore):
    """The shards in one folder."""

    def __init__(self, folder: Path) -> None:
        """Use `folder`, making it if need be.

        Raises:
            InputError: It can't be made or written.
        """
        super().__init__(str(folder))
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"can't make the folder '{folder}' ({error.strerror}): change its permissions") from None
        remove_leftovers(folder)

    def names(self, *, age: float = 0.0) -> list[str]:
        """The shards there are now, sorted."""
        return sorted(path.name for path in self.folder.glob(f"*{ENDING}"))

    def files(self) -> dict[str, StoredFile]:
        """Every shard, damaged ones too, by name."""
        paths = sorted([*self.folder.glob(f"*{ENDING}"), *self.folder.glob(f"*{DAMAGED}")])
        return {path.name: StoredFile(path.stat().st_size, path.stat().st_mtime) for path in paths}

    def contents(self, shard: str) -> Contents:
        """Its header, read once."""
        path = self.folder / shard
        if shard not in self._contents:
            try:
                with path.open("rb") as file:
                    contents = read_contents(file)
                if path.stat().st_size != contents.size:
                    raise DamagedShardError
            except FileNotFoundError:
                raise
            except OSError as error:
                raise InputError(f"can't read the cache file '{path}' ({error.strerror}): try again") from None
            self._contents[shard] = contents
        return self._contents[shard]

    def is_whole(self, shard: str) -> bool:
        """Whether its bytes are still those it is named by; read once a process, and again if the file has changed."""
        path = self.folder / shard
        try:
            seen = _stamp(path)
            if VERIFIED.get(path) != seen:
                if file_digest(path) != path.stem:
                    return False
                VERIFIED[path] = seen
        except FileNotFoundError:
            return False
        except OSError as error:
            raise InputError(f"can't read the cache file '{path}' ({error.strerror}): try again") from None
        return True

    def verify(self, shard: str) -> bool:
        """Read it all; put it aside if it is damaged."""
        VERIFIED.pop(self.folder / shard, None)
        if self.is_whole(shard):
            return True
        self.put_aside(shard)
        return False

    def file(self, shard: str) -> Path:
        """The shard, its checksum verified."""
        if not self.is_whole(shard):
            self.check([shard])
        return self.folder / shard

    def read(self, shard: str) -> MappedShard:
        """A shard, mapped once."""
        mapped = self._mapped.get(shard)
        if mapped is None:
            mapped = self._mapped[shard] = super().read(shard)
        return mapped

    def put_aside(self, shard: str) -> None:
        """Rename a damaged shard to `*.damaged`, unless it was encoded again meanwhile: to the same name."""
        self._forget(shard)
        try:
            if not self.is_whole(shard):
                (self.folder / shard).replace((self.folder / shard).with_suffix(DAMAGED))
        except FileNotFoundError:
            pass
        except OSError as error:
            raise self._not_written(error) from None
        self.renew_state()

    def remove(self, name: str) -> None:
        """Delete a file."""
        self._forget(name)
        try:
            (self.folder / name).unlink(missing_ok=True)
        except OSError as error:
            raise self._not_written(error) from None

    def state(self) -> str:
        """Changes when an index made before may not hold any more."""
        try:
            return (self.folder / "state").read_text()
        except FileNotFoundError:
            self.renew_state()
            return self.state()

    def renew_state(self) -> None:
        """Make every index made before look outdated."""
        temporary = self.folder / f".{uuid.uuid4().hex}.tmp"
        try:
            temporary.write_text(uuid.uuid4().hex)
            temporary.replace(self.folder / "state")
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise self._not_written(error) from None

    def _workplace(self) -> Path:
        return self.folder

    def _take_in(self, file: Path, name: str, contents: Contents) -> None:
        file.replace(self.folder / name)
        VERIFIED[self.folder / name] = _stamp(self.folder / name)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Keep other writers out for a moment."""
        with self._opened("lock") as file:
            with contextlib.suppress(OSError):  # a file system without locks: an entry may then be there twice
                fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _opened(self, name: str) -> BinaryIO:
        try:
            return (self.folder / name).open("ab")
        except OSError as error:
            raise self._not_written(error) from None

    def _not_written(self, error: OSError) -> InputError:
        return InputError(
            f"can't write to '{self.folder}' ({error.strerror}): free some space or change its permissions"
        )

    @contextmanager
    def claims(self) -> Iterator[Claim]:
        """Locks on single bytes of one file: nothing is left behind, and what a killed process held is free at once."""
        with self._opened("claims") as file:

            def claim(key: str, wait: bool) -> bool:
                byte = int(key[:15], 16)  # a key is a sha256
                try:
                    fcntl.lockf(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB), 1, byte)
                except OSError as error:  # a file system without locks leaves all to everyone
                    return error.errno not in (errno.EAGAIN, errno.EACCES)
                return True

            yield claim


def _stamp(path: Path) -> tuple[int, ...]:
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
