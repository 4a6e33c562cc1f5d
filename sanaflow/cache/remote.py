"""Shards in an object store: looked up by a small file of keys beside each, and fetched into a bounded folder here.

Objects are written at once or not at all, but nothing there can be locked: two encoders at once may do work twice,
which costs time and space and harms nothing.
"""

import contextlib
import json
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import IO, Protocol

from sanaflow.cache.copies import Copies
from sanaflow.cache.shard import DAMAGED, ENDING, Contents, DamagedShardError, MappedShard
from sanaflow.cache.store import ShardStore, StoredFile
from sanaflow.digests import digest_of, file_digest
from sanaflow.errors import InputError

KEYS = ".keys"
CONNECTIONS = 8


class Files(Protocol):
    """What is asked of an object store. ZenML's artifact stores have it."""

    def open(self, path: str, mode: str = "r") -> IO:
        """Open a file."""

    def exists(self, path: str) -> bool:
        """Whether there is a file."""

    def listdir(self, path: str) -> list[str]:
        """Names in a folder, as they are now."""

    def size(self, path: str) -> int | None:
        """Bytes of a file."""

    def rename(self, src: str, dst: str, overwrite: bool = False) -> None:
        """Move a file."""

    def remove(self, path: str) -> None:
        """Delete a file."""


class RemoteStore(ShardStore):
    """The shards at an address like `s3://bucket/sanaflow/latents`."""

    def __init__(self, files: Files, address: str, *, here: Path, limit: int) -> None:
        """Use the shards at `address`.

        Args:
            files: The object store.
            address: Where in it.
            here: A folder on this machine for copies; processes may share it.
            limit: Bytes that the copies may take.
        """
        super().__init__(address)
        self._files = files
        self._copies = Copies(here, limit, fetch=self._fetch, dropped=lambda shard: self._mapped.pop(shard, None))
        self._written: dict[str, float] = {}
        self._listed: tuple[float, set[str]] = (-1e9, set())
        self._pool = ThreadPoolExecutor(CONNECTIONS)

    @contextlib.contextmanager
    def _asking(self) -> Iterator[None]:
        """Whatever goes wrong there as one line: each object store has errors of its own."""
        try:
            yield
        except (FileNotFoundError, InputError, DamagedShardError):
            raise
        except Exception as error:
            raise InputError(f"can't use '{self.place}' ({error}): try again") from None

    def names(self, *, age: float = 0.0) -> list[str]:
        """The shards there are, or were at most `age` seconds ago, sorted."""
        if time.monotonic() - self._listed[0] > age:
            self._listed = time.monotonic(), set(self._list())
        listed = self._listed[1]
        return sorted(name for name in listed if name.endswith(ENDING) and f"{name}{KEYS}" in listed)

    def files(self) -> dict[str, StoredFile]:
        """Every shard, damaged ones too, by name; a damaged one counts as old."""
        listed = sorted(name for name in self._list() if name.endswith((ENDING, DAMAGED)))
        self.find(())
        with self._asking():
            sizes = list(self._pool.map(lambda name: self._files.size(self._at(name)) or 0, listed))
        return {name: StoredFile(size, self._written.get(name, 0.0)) for name, size in zip(listed, sizes, strict=True)}

    def _list(self) -> list[str]:
        with self._asking(), contextlib.suppress(FileNotFoundError):
            return list(self._files.listdir(self.place))
        return []

    def _at(self, name: str) -> str:
        return f"{self.place}/{name}"

    def _index_shards(self, age: float) -> None:
        """As in any store; keys not seen before are read over several connections."""
        new = [name for name in self.names(age=age) if name not in self._contents]
        for name, contents in zip(new, self._pool.map(self._read_keys, new), strict=True):
            if contents:
                self._contents[name] = contents
        super()._index_shards(age)

    def _read_keys(self, shard: str) -> Contents | None:
        """What the file of keys says; None if it is damaged, or the shard is not as long as it says."""
        try:
            with self._asking(), self._files.open(self._at(shard + KEYS), "rb") as file:
                data = file.read()
            text = json.loads(data)
            contents = Contents(**text["contents"])
            self._written[shard] = float(text["written"])
            with self._asking():
                size = self._files.size(self._at(shard))
            if digest_of(text["contents"]) == text["digest"] and size in (contents.size, None):  # None: it can't tell
                return contents
        except (FileNotFoundError, ValueError, TypeError, KeyError):  # torn, or another process has put it aside
            pass
        return None

    def contents(self, shard: str) -> Contents:
        """What the file of keys says, if the shard is as long as it says."""
        contents = self._contents.get(shard) or self._read_keys(shard)
        if contents is None:
            raise DamagedShardError
        self._contents[shard] = contents
        return contents

    def is_whole(self, shard: str) -> bool:
        """Whether it has its length; its checksum is verified when it is fetched."""
        try:
            self.contents(shard)
        except DamagedShardError:
            return False
        return True

    def put_aside(self, shard: str) -> None:
        """Rename a damaged shard to `*.damaged`, and forget its keys."""
        self._forget(shard)
        with self._asking(), contextlib.suppress(FileNotFoundError):
            if self._files.exists(self._at(shard)):
                self._files.rename(self._at(shard), self._at(shard.removesuffix(ENDING) + DAMAGED), overwrite=True)
        self.remove(shard)
        self.renew_state()

    def remove(self, name: str) -> None:
        """Delete a file, and the keys beside a shard."""
        self._forget(name)
        for path in (self._at(name), self._at(name + KEYS)):
            with self._asking(), contextlib.suppress(FileNotFoundError):
                if self._files.exists(path):
                    self._files.remove(path)

    def _forget(self, shard: str) -> None:
        super()._forget(shard)
        self._listed = -1e9, set()

    def state(self) -> str:
        """Changes when an index made before may not hold any more."""
        with self._asking():
            if not self._files.exists(self._at("state")):
                self.renew_state()
            with self._files.open(self._at("state"), "rb") as file:
                return file.read().decode()

    def renew_state(self) -> None:
        """Make every index made before look outdated."""
        with self._asking(), self._files.open(self._at("state"), "wb") as file:
            file.write(uuid.uuid4().hex.encode())

    def _workplace(self) -> Path:
        return self._copies.folder

    def _take_in(self, file: Path, name: str, contents: Contents) -> None:
        written = time.time()
        about = {"contents": asdict(contents), "digest": digest_of(asdict(contents)), "written": written}
        with self._asking():
            with self._files.open(self._at(name + KEYS), "wb") as target:  # first: alone they mean nothing
                target.write(json.dumps(about).encode())
            with file.open("rb") as source, self._files.open(self._at(name), "wb") as target:
                shutil.copyfileobj(source, target, 2**20)
        self._written[name] = written
        self._listed[1].update({name, name + KEYS})

    def file(self, shard: str) -> Path:
        """A copy on this machine, its checksum verified."""
        try:
            return self._copies.get(shard, self.contents(shard).size)
        except DamagedShardError:
            self.put_aside(shard)
            raise self.lost(shard) from None

    def verify(self, shard: str) -> bool:
        """Fetch it all, and put it aside if it is damaged."""
        trial = self._copies.folder / f".{uuid.uuid4().hex}.tmp"
        try:
            self._fetch(shard, trial)
            whole = file_digest(trial) == Path(shard).stem
        finally:
            trial.unlink(missing_ok=True)
        if not whole:
            self.put_aside(shard)
        return whole

    def _fetch(self, shard: str, target: Path) -> None:
        try:
            with self._asking(), self._files.open(self._at(shard), "rb") as source, target.open("wb") as file:
                shutil.copyfileobj(source, file, 2**20)
        except FileNotFoundError:
            self.renew_state()
            raise self.lost(shard) from None

    def read(self, shard: str) -> MappedShard:
        """A shard, mapped from a copy on this machine."""
        if shard not in self._mapped:
            self._mapped[shard] = super().read(shard)
        else:
            self.file(shard)  # it was read just now: others go first
        return self._mapped[shard]

    def expect(self, shards: Iterable[str]) -> None:
        """Fetch what is read next, in its order, while other work goes on."""
        self._copies.expect([(shard, self.contents(shard).size) for shard in dict.fromkeys(shards)])
