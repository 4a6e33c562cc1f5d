"""Packed safetensors files, each written once, named by its content and never changed, wherever they are kept.

A shard holds many entries of one shape or, for captions, of many lengths; its header lists their keys, so that a store
needs no other index. A killed writer leaves whole shards only.
Why not a file a sample: `python -m benchmarks.reading` has the figures.
"""

import contextlib
import json
import os
import threading
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open

from sanaflow.cache.shard import ENDING, Contents, DamagedShardError, Location, MappedShard
from sanaflow.digests import file_digest
from sanaflow.errors import InputError

if TYPE_CHECKING:
    import torch

SHARD_BYTES = 32 * 2**20
"""When a shard is written: a killed encoder loses at most this much, and no more waits in memory."""
ATTEMPTS = 3
LISTING_SECONDS = 10.0
"""While encoding: what another process has added since is at worst encoded once more."""
STALE_SECONDS = 24 * 3600
Pack = Callable[[list["torch.Tensor"]], dict[str, "torch.Tensor"]]
"""Makes one shard's tensors of its entries'."""
Claim = Callable[[str, bool], bool]
"""Called with a key and whether to wait for another process that has claimed it; returns whether it is ours now."""


@dataclass(frozen=True)
class StoredFile:
    """A file's bytes, and when it was written, in seconds since 1970."""

    size: int
    written: float


class ShardStore(ABC):
    """Shards in one place. `FolderStore` maps them where they lie, `RemoteStore` fetches them first."""

    def __init__(self, place: str) -> None:
        self.place = place
        """Folder or address, for messages."""
        self._lock = threading.RLock()
        self._contents: dict[str, Contents] = {}
        self._mapped: dict[str, MappedShard] = {}
        self._index: dict[str, Location] = {}
        self._indexed: set[str] = set()

    @abstractmethod
    def names(self, *, age: float = 0.0) -> list[str]:
        """The shards there are, sorted; see `find` for `age`."""

    @abstractmethod
    def files(self) -> dict[str, StoredFile]:
        """Every shard, damaged ones too, by name."""

    @abstractmethod
    def contents(self, shard: str) -> Contents:
        """Its header.

        Raises:
            DamagedShardError: It is torn, or no shard.
            FileNotFoundError: It is gone.
        """

    @abstractmethod
    def is_whole(self, shard: str) -> bool:
        """Whether it is there and its bytes are those it is named by, as far as can be told without fetching it."""

    @abstractmethod
    def verify(self, shard: str) -> bool:
        """Whether its bytes are still those it is named by; reads all of them. If not, it is put aside."""

    @abstractmethod
    def file(self, shard: str) -> Path:
        """The shard as a file on this machine, its checksum verified.

        Raises:
            InputError: It is gone, or damaged, and then put aside.
        """

    @abstractmethod
    def put_aside(self, shard: str) -> None:
        """Rename a damaged shard to `*.damaged`, if it is still there, and renew the state: what it held is missing."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """Delete a file; it may be gone already."""

    @abstractmethod
    def state(self) -> str:
        """Changes when a shard was put aside, removed or found missing: an index made before may not hold any more."""

    @abstractmethod
    def renew_state(self) -> None:
        """Make every index made before look outdated."""

    @abstractmethod
    def _workplace(self) -> Path:
        """A folder on this machine for unfinished files."""

    @abstractmethod
    def _take_in(self, file: Path, name: str, contents: Contents) -> None:
        """Put a finished file into the store under its name, at once or not at all."""

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Keep other writers out for a moment, where the place can."""
        yield

    @contextmanager
    def claims(self) -> Iterator[Claim]:
        """A function that claims work, so that no two processes do it at once, where the place can; until the end."""
        yield lambda key, wait: True

    def find(self, keys: Iterable[str], *, age: float = 0.0) -> dict[str, Location]:
        """Where those of `keys` lie that are here. A shard that is torn or damaged is put aside.

        Args:
            keys: What is wanted.
            age: Seconds that a listing of what is there may be old, where listing takes time.

        Raises:
            InputError: The store can't be read.
        """
        with self._lock:  # the encoder looks up while its writer does
            self._index_shards(age)
            wanted = {key: self._index[key] for key in keys if key in self._index}
        damaged = [shard for shard in sorted({place.shard for place in wanted.values()}) if not self.is_whole(shard)]
        if not damaged:
            return wanted
        for shard in damaged:
            self.put_aside(shard)
        return self.find(keys, age=age)  # another shard may hold some of it, too

    def _index_shards(self, age: float) -> None:
        """Look at shards that came or went since the last time."""
        names = self.names(age=age)
        if self._indexed - set(names):
            self._indexed, self._index = set(), {}
        for shard in names:
            if shard in self._indexed:
                continue
            try:
                for row, key in enumerate(self.contents(shard).keys):
                    self._index.setdefault(key, Location(shard, row))
                self._indexed.add(shard)
            except DamagedShardError:
                self.put_aside(shard)
            except FileNotFoundError:  # another process has just put it aside
                continue

    def _forget(self, shard: str) -> None:
        """Forget what was known of a shard that is to go."""
        with self._lock:
            self._contents.pop(shard, None)
            self._mapped.pop(shard, None)
            if shard in self._indexed:
                self._indexed, self._index = set(), {}

    def write(self, entries: Mapping[str, "torch.Tensor"], pack: Pack, *, model: str) -> int:
        """Add a shard of those entries that nobody has added meanwhile, and return its size in bytes.

        Raises:
            InputError: The disk is full or can't be written; nothing else in the store is touched.
        """
        from safetensors.torch import save_file  # here: a run that has nothing to encode needs no torch

        with self.writing():
            there = self.find(entries, age=LISTING_SECONDS)
            keys = [key for key in entries if key not in there]
            if not keys:
                return 0
            temporary = self._workplace() / f".{uuid.uuid4().hex}.tmp"
            try:
                ones = [entries[key] for key in keys]
                lengths = [len(one) for one in ones]
                about = json.dumps({"keys": keys, "lengths": lengths, "model": model})
                save_file(pack(ones), temporary, metadata={"sanaflow": about})  # one entry: several have no fixed order
                with temporary.open("rb+") as file:
                    os.fsync(file.fileno())
                name = f"{file_digest(temporary)}{ENDING}"
                contents = Contents(keys, lengths, model, temporary.stat().st_size)
                self._take_in(temporary, name, contents)
            except (OSError, SafetensorError) as error:
                raise InputError(
                    f"can't write to '{self.place}' ({error}): free some space or change its permissions"
                ) from None
            finally:
                with contextlib.suppress(OSError):
                    temporary.unlink()
            self._contents[name] = contents
            return contents.size

    def read(self, shard: str) -> MappedShard:
        """A shard, memory-mapped: only what is looked at is read from disk.

        Raises:
            InputError: The shard is gone or damaged.
        """
        for _ in range(ATTEMPTS):
            file = self.file(shard)
            try:
                with safe_open(file, framework="pt") as opened:
                    return MappedShard({name: opened.get_tensor(name) for name in opened.keys()})  # noqa: SIM118
            except (SafetensorError, OSError, RuntimeError):  # another process has just moved it, or dropped this copy
                continue
        with contextlib.suppress(InputError):  # in a store that can't be written, the loss is still what to tell
            self.renew_state()
        raise self.lost(shard)

    def check(self, shards: Iterable[str]) -> None:
        """See that shards are there and whole, before work begins that needs them.

        Raises:
            InputError: One is missing or damaged.
        """
        with self._lock:
            self._index_shards(0.0)
        for shard in sorted(set(shards)):
            if shard in self._indexed and self.is_whole(shard):
                continue
            with contextlib.suppress(InputError):  # in a store that can't be written, the loss is still what to tell
                self.put_aside(shard)
            raise self.lost(shard)

    def expect(self, shards: Iterable[str]) -> None:  # noqa: B027 - nothing to do where files are mapped in place
        """Say which shards are read next, in their order."""

    def lost(self, shard: str) -> InputError:
        """What to tell of a shard that is missing or damaged."""
        return InputError(
            f"the cache file '{self.place}/{shard}' is missing or damaged: run again, and what it held is encoded anew"
        )


def remove_leftovers(folder: Path) -> None:
    """Delete unfinished files of processes that were killed long ago."""
    for left in folder.glob(".*.tmp"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > STALE_SECONDS:
                left.unlink()
