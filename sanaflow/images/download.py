"""Files from elsewhere, each kept once under its content's name: in parallel, with retries, never half a file."""

import hashlib
import os
import uuid
from pathlib import Path

from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from sanaflow.digests import file_digest
from sanaflow.images.sources.listing import Entry, FetchError, Source

ATTEMPTS = 5


def object_path(downloads: Path, digest: str) -> Path:
    """Where a file of this sha256 is kept."""
    return downloads / "objects" / digest[:2] / digest


def fetch_object(source: Source, entry: Entry, downloads: Path) -> Path:
    """Download an entry, verify it, and put it under its content's name. A begun download goes on where it stopped.

    Raises:
        FetchError: It couldn't be had after several attempts.
    """
    begun = downloads / "unfinished" / hashlib.sha256(repr((source.key, entry.name, entry.token)).encode()).hexdigest()
    begun.parent.mkdir(parents=True, exist_ok=True)
    for attempt in Retrying(
        retry=retry_if_exception_type(FetchError),
        stop=stop_after_attempt(ATTEMPTS),
        wait=wait_random_exponential(0.2, max=20),
        reraise=True,
    ):
        with attempt:
            assert source.fetch is not None
            source.fetch(entry, begun)
            digest = _verified(begun, entry)
    target = object_path(downloads, digest)
    target.parent.mkdir(parents=True, exist_ok=True)
    begun.rename(target)
    return target


def _verified(file: Path, entry: Entry) -> str:
    """The file's sha256, once its bytes are what the source says they are."""
    digest = file_digest(file)
    kind, _, expected = entry.checksum.partition(":")
    found = {
        "": lambda: expected,
        "sha256": lambda: digest,
        "md5": lambda: hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest(),
        "gitsha1": lambda: hashlib.sha1(
            b"blob %d\0" % file.stat().st_size + file.read_bytes(), usedforsecurity=False
        ).hexdigest(),
    }[kind]()
    if found != expected:
        file.unlink()
        raise FetchError("its bytes are not those that the source's checksum promises")
    return digest


def write_object(target: Path, data: bytes) -> None:
    """Write a file at once or not at all."""
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f".{uuid.uuid4().hex}.tmp")
    with unfinished.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    unfinished.rename(target)
