"""A CSV of urls or paths. Urls are fetched; paths must lie in the data set's folder."""

import csv
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

import requests

from sanaflow.datasets import DatasetSettings
from sanaflow.errors import InputError
from sanaflow.images.sources.folder import stat_token
from sanaflow.images.sources.listing import Entry, FetchError, Source

LARGEST_BYTES = 1 << 30
SECONDS = (10, 60)
"""How long to wait for a connection, and for the next bytes."""


def open_csv(dataset: DatasetSettings) -> Source:
    """List the rows of a table.

    Raises:
        InputError: The table can't be read, or lacks its columns.
    """
    file = Path(dataset.csv_file or "").expanduser()
    root = Path(dataset.instance_data_dir).expanduser() if dataset.instance_data_dir else file.parent
    try:
        with file.open(newline="", encoding="utf-8-sig") as text:
            table = csv.DictReader(text)
            columns = table.fieldnames or []
            needed = [dataset.csv_url_column]
            needed += [dataset.csv_caption_column] if dataset.caption_strategy == "csv" else []
            for column in needed:
                if column not in columns:
                    raise InputError(
                        f"{dataset.key} has no column '{column}': set 'csv_url_column' and 'csv_caption_column' "
                        f"to two of {', '.join(columns)}"
                    )
            rows = list(table)
    except OSError as error:
        raise InputError(f"{dataset.key} can't be read ({error.strerror})") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{dataset.key} is not a CSV in UTF-8: {error}") from None

    urls: dict[str, str] = {}
    entries: list[Entry] = []
    for number, row in enumerate(rows, start=2):
        where = (row[dataset.csv_url_column] or "").strip()
        caption = (row.get(dataset.csv_caption_column) or "").strip()
        captions = (caption,) if caption else ()
        if urlsplit(where).scheme in ("http", "https"):
            name = _name_of(where)
            name = name if urls.setdefault(name, where) == where else f"row {number}/{name}"
            urls[name] = where
            entries.append(Entry(name, where_token(where), known_picture=True, captions=captions))
        else:
            entries.append(_local(where, root, captions, f"row {number}"))
    entries.sort(key=lambda entry: entry.name)
    return Source(f"csv {file.resolve()}", entries, lambda entry, target: fetch_url(urls[entry.name], target))


def where_token(url: str) -> str:
    """A url's token. What lies behind a url is taken not to change; the query, often a signature, doesn't count."""
    import hashlib

    parts = urlsplit(url)
    return hashlib.sha256(f"{parts.scheme}://{parts.hostname}:{parts.port}{parts.path}".encode()).hexdigest()


def _name_of(url: str) -> str:
    """Without the name of a user and the query, which may be secrets."""
    parts = urlsplit(url)
    return f"{parts.hostname}/{unquote(parts.path).lstrip('/')}"


def _local(where: str, root: Path, captions: tuple[str, ...], row: str) -> Entry:
    if not where:
        return Entry(row, "", problem="its cell is empty")
    path = (root / where).expanduser()
    if urlsplit(where).scheme not in ("", "file") or not path.resolve().is_relative_to(root.resolve()):
        return Entry(
            where.split("?")[0][:200], "", problem="neither an http(s) url nor a path inside the data set's folder"
        )
    try:
        return Entry(
            str(PurePosixPath(where)),
            stat_token(path.stat()),
            path=path.resolve(),
            known_picture=True,
            captions=captions,
        )
    except OSError as error:
        return Entry(where, "", problem=f"can't be read: {error.strerror}")


def fetch_url(url: str, target: Path) -> None:
    """Download to a file; what is there already is taken as the file's beginning, if the server knows ranges.

    Raises:
        FetchError: No answer, another status than 200 or 206, fewer bytes than announced, or too many.
    """
    begun = target.stat().st_size if target.exists() else 0
    headers = {"User-Agent": "sanaflow", "Accept-Encoding": "identity"} | (
        {"Range": f"bytes={begun}-"} if begun else {}
    )
    try:
        with requests.get(url, headers=headers, stream=True, timeout=SECONDS) as answer:
            if answer.status_code == 416:  # what is there is no beginning of it
                target.unlink()
            if answer.status_code not in (200, 206):
                raise FetchError(f"the server answered {answer.status_code} {answer.reason}")
            with target.open("ab" if answer.status_code == 206 else "wb") as file:
                for piece in answer.iter_content(1 << 16):
                    file.write(piece)
                    if file.tell() > LARGEST_BYTES:
                        raise FetchError(f"more than {LARGEST_BYTES >> 20} MiB")
    except requests.RequestException as error:
        raise FetchError(f"the connection failed ({type(error).__name__})") from None
