"""Copies of checkpoints where the artifact store is, so that a run can go on on another machine.

state.json, which names every file with its sha256, is copied last: a checkpoint without it isn't there.
"""

import shutil
import uuid
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

from sanaflow.cache.remote import Files
from sanaflow.errors import InputError
from sanaflow.progress import progress_bar

STATE = "state.json"
CHUNK_BYTES = 2**24


class Mirror:
    """A folder of checkpoints in a store that can be written and read file by file."""

    def __init__(self, files: Files, address: str) -> None:
        """`address` is the folder's."""
        self._files, self._address = files, address
        self._pool = ThreadPoolExecutor(1)
        self._copying: Future[None] | None = None

    def push(self, checkpoint: Path, *, keep: int) -> None:
        """Begin to copy a checkpoint, and to delete all but the newest; training goes on meanwhile.

        Raises:
            InputError: The copy before could not be made.
        """
        self.wait()
        self._copying = self._pool.submit(self._push, checkpoint, keep)

    def wait(self) -> None:
        """Wait for the copy that is under way.

        Raises:
            InputError: It could not be made.
        """
        copying, self._copying = self._copying, None
        if copying:
            copying.result()

    def fetch(self, name: str, folder: Path) -> bool:
        """Copy a checkpoint into `folder`; False if it isn't there as a whole.

        Raises:
            InputError: The store can't be read.
        """
        if not self._files.exists(f"{self._address}/{name}/{STATE}"):
            return False
        print(f"fetching checkpoint {name} from {self._address}")
        hidden = folder / f".{name}.{uuid.uuid4().hex}.tmp"
        hidden.mkdir(parents=True)
        try:
            addresses = [f"{self._address}/{name}/{file}" for file in self._files.listdir(f"{self._address}/{name}")]
            size = sum(self._files.size(address) or 0 for address in addresses)
            bar = progress_bar(total=size, desc=f"fetching {name}", unit="B", unit_scale=True)
            with bar as progress:
                for address in addresses:
                    with self._files.open(address, "rb") as source:
                        _write(source, hidden / Path(address).name, progress)
            hidden.rename(folder / name)
        except OSError as error:
            shutil.rmtree(hidden, ignore_errors=True)
            raise InputError(f"checkpoint {name} can't be fetched from '{self._address}' ({error})") from None
        return True

    def remove_all(self) -> None:
        """Delete every checkpoint."""
        for name in self.names():
            self._remove(name)

    def names(self) -> list[str]:
        """The checkpoints there, oldest first.

        Raises:
            InputError: The store can't be read.
        """
        try:
            if not self._files.exists(self._address):
                return []
            return sorted(name.strip("/") for name in self._files.listdir(self._address))
        except OSError as error:
            raise InputError(f"the checkpoints in '{self._address}' can't be listed ({error})") from None

    def _push(self, checkpoint: Path, keep: int) -> None:
        try:
            for path in sorted(checkpoint.iterdir(), key=lambda path: path.name == STATE):
                address = f"{self._address}/{checkpoint.name}/{path.name}"
                with path.open("rb") as source, self._files.open(address, "wb") as target:
                    shutil.copyfileobj(source, target, CHUNK_BYTES)
            for old in [name for name in self.names() if name != checkpoint.name][: 1 - keep or None]:
                self._remove(old)
        except OSError as error:
            raise InputError(f"a checkpoint can't be copied to '{self._address}' ({error})") from None

    def _remove(self, name: str) -> None:
        files = self._files.listdir(f"{self._address}/{name}")
        for file in sorted(files, key=lambda file: file != STATE):
            self._files.remove(f"{self._address}/{name}/{file}")


def _write(source: IO, path: Path, progress: Any) -> None:
    with path.open("wb") as target:
        while chunk := source.read(CHUNK_BYTES):
            target.write(chunk)
            progress.update(len(chunk))
