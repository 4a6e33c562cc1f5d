"""What was learnt of files in earlier looks, so that an unchanged file is not read again. Safe against a kill."""

import json
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import __version__ as PILLOW

from sanaflow.digests import file_digest
from sanaflow.errors import InputError

CODE = PILLOW + "".join(file_digest(Path(__file__).with_name(name)) for name in ("header.py", "decode.py"))
"""Part of every answer's identity: changed code, or another Pillow, never gets what other code learnt."""


@dataclass(frozen=True)
class Look:
    """What a file's bytes are: its sha256 and size in pixels, or the problem with it."""

    digest: str
    width: int
    height: int
    problem: str = ""


class Index:
    """Looks by (source, name, token), texts likewise, and measures by a picture's sha256. A SQLite file."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Make the tables if need be."""
        self._connection = connection
        connection.executescript(
            "create table if not exists looks (source, name, token, code, digest, width, height, problem, "
            "primary key (source, name)) without rowid;"
            "create table if not exists texts (source, name, token, text, primary key (source, name)) without rowid;"
            "create table if not exists measures (kind, digest, value, primary key (kind, digest)) without rowid;"
        )

    def looks(self, source: str) -> dict[tuple[str, str], Look]:
        """All looks at a source by (name, token)."""
        rows = self._connection.execute(
            "select name, token, digest, width, height, problem from looks where source = ? and code = ?",
            (source, CODE),
        )
        return {(name, token): Look(*look) for name, token, *look in rows}

    def add_looks(self, source: str, looks: Iterable[tuple[str, str, Look]]) -> None:
        """Keep (name, token, look)s."""
        rows = [(source, n, t, CODE, k.digest, k.width, k.height, k.problem) for n, t, k in looks]
        with self._connection:
            self._connection.executemany("insert or replace into looks values (?, ?, ?, ?, ?, ?, ?, ?)", rows)

    def texts(self, source: str) -> dict[tuple[str, str], str]:
        """All text files of a source by (name, token)."""
        rows = self._connection.execute("select name, token, text from texts where source = ?", (source,))
        return {(name, token): text for name, token, text in rows}

    def add_texts(self, source: str, texts: Iterable[tuple[str, str, str]]) -> None:
        """Keep (name, token, text)s."""
        with self._connection:
            rows = [(source, *text) for text in texts]
            self._connection.executemany("insert or replace into texts values (?, ?, ?, ?)", rows)

    def measures(self, kind: str) -> dict[str, list | str]:
        """All measures of a kind by sha256."""
        rows = self._connection.execute("select digest, value from measures where kind = ?", (kind,))
        return {digest: json.loads(value) for digest, value in rows}

    def add_measures(self, kind: str, measures: Iterable[tuple[str, list | str]]) -> None:
        """Keep (sha256, measure)s."""
        with self._connection:
            rows = [(kind, digest, json.dumps(value)) for digest, value in measures]
            self._connection.executemany("insert or replace into measures values (?, ?, ?)", rows)


@contextmanager
def open_index(folder: Path) -> Iterator[Index]:
    """The index in a folder, made if it isn't there."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "index.sqlite"
    try:
        connection, index = _connect(file)
    except sqlite3.OperationalError as error:
        raise InputError(
            f"the index '{file}' can't be opened ({error}): see to its folder's rights and space"
        ) from None
    except sqlite3.DatabaseError:  # it is damaged: all in it can be learnt again
        file.rename(file.with_name(f"index.damaged-{time.time_ns()}"))
        connection, index = _connect(file)
    try:
        yield index
    finally:
        connection.close()


def _connect(file: Path) -> tuple[sqlite3.Connection, Index]:
    connection = sqlite3.connect(file, timeout=60)  # no WAL: turning to it doesn't wait for another process
    return connection, Index(connection)
