"""A CSV of urls or paths. Urls are fetched; paths must lie in the data set's folder."""

import csv
import hashlib
import re
import stat
from dataclasses import replace
from pathlib import Path, PurePosixPath
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

import requests

from sanaflow.datasets import DatasetSettings
from sanaflow.errors import InputError
from sanaflow.images.sources.folder import stat_token
from sanaflow.images.sources.listing import Entry, FetchError, Source
from sanaflow.paths import expanded

LARGEST_BYTES = 1 << 30
SIGNATURE = re.compile(
    r"(X-Amz-|X-Goog-|Signature|Expires|Policy|Key-Pair-Id|AWSAccessKeyId|sig$|se$|sp$|token$)", re.I
)
"""Parts of a query that let someone in for a while and say nothing about the file."""
SECONDS = (10, 60)
"""How long to wait for a connection, and for the next bytes."""


def open_csv(dataset: DatasetSettings) -> Source:
    """List the rows of a table.

    Raises:
        InputError: The table can't be read, or lacks its columns.
    """
    file = expanded(dataset.csv_file or "")
    root = expanded(dataset.instance_data_dir) if dataset.instance_data_dir else file.parent
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
    tokens: dict[str, str] = {}
    entries: dict[tuple[str, str], Entry] = {}
    for number, row in enumerate(rows, start=2):
        where = (row[dataset.csv_url_column] or "").strip()
        caption = (row.get(dataset.csv_caption_column) or "").strip()
        try:
            if urlsplit(where).scheme in ("http", "https"):
                entry = _remote(where)
                if tokens.setdefault(entry.name, entry.token) != entry.token:  # another scheme, port or spelling
                    entry = replace(entry, name=f"{entry.name}-{entry.token[:12]}")
                urls[entry.name] = where
            else:
                entry = _local(where, root, f"row {number}")
        except ValueError:  # neither a url nor a path at all
            entry = Entry(f"row {number}", "", problem="its cell is neither a url nor a path")
        same = entries.get((entry.name, entry.token), entry)
        captions = (*(same.captions or ()), *([caption] if caption else []))
        entries[entry.name, entry.token] = replace(same, captions=None if same.problem else captions)
    listed = sorted(entries.values(), key=lambda entry: entry.name)
    return Source(f"csv {file.resolve()}", listed, lambda entry, target: fetch_url(urls[entry.name], target))


def _remote(url: str) -> Entry:
    """A url's entry. Neither its name nor its token tells the user's name or the query, which may be secrets.

    What lies behind a url is taken not to change. Parts of the query that sign it don't count.
    """
    parts = urlsplit(url)
    query = [(k, v) for k, v in parse_qsl(parts.query, keep_blank_values=True) if not SIGNATURE.match(k)]
    told = f"{parts.scheme}://{parts.hostname}:{parts.port}{parts.path}?{urlencode(query)}"
    token = hashlib.sha256(told.encode()).hexdigest()
    path = PurePosixPath(unquote(parts.path).lstrip("/") or "index")
    distinct = f"{path.stem}-{token[:12]}{path.suffix}" if query else path.name
    return Entry(f"{parts.hostname}/{path.with_name(distinct)}", token, known_picture=True)


def _local(where: str, root: Path, row: str) -> Entry:
    if not where:
        return Entry(row, "", problem="its cell is empty")
    if urlsplit(where).scheme or where.startswith("//"):
        return Entry(row, "", problem="neither an http(s) url nor a path inside the data set's folder")
    path = root / where
    if not path.resolve().is_relative_to(root.resolve()):
        return Entry(where, "", problem="neither an http(s) url nor a path inside the data set's folder")
    try:
        status = path.stat()
    except OSError as error:
        return Entry(where, "", problem=f"can't be read: {error.strerror}")
    if not stat.S_ISREG(status.st_mode):
        return Entry(where, "", problem="not a file")
    return Entry(str(PurePosixPath(where)), stat_token(status), path=path.resolve(), known_picture=True)


def fetch_url(url: str, target: Path) -> None:
    """Download to a file. What is there already is its beginning, if the server says that the file is still the same.

    Raises:
        FetchError: No answer, another status than 200 or 206, fewer bytes than announced, or too many.
    """
    state = target.with_name(target.name + ".state")
    begun = target.stat().st_size if target.exists() and state.exists() else 0
    headers = {"User-Agent": "sanaflow", "Accept-Encoding": "identity"}
    if begun:
        headers |= {"Range": f"bytes={begun}-", "If-Range": state.read_text()}
    try:
        with requests.get(url, headers=headers, stream=True, timeout=SECONDS) as answer:
            goes_on = answer.status_code == 206 and answer.headers.get("Content-Range", "").startswith(
                f"bytes {begun}-"
            )
            if answer.status_code not in (200, 206) or (answer.status_code == 206 and not goes_on):
                state.unlink(missing_ok=True)  # start over next time
                raise FetchError(f"the server answered {answer.status_code} {answer.reason}")
            if not goes_on:
                state.unlink(missing_ok=True)
                if version := answer.headers.get("ETag", "").removeprefix("W/") or answer.headers.get("Last-Modified"):
                    state.write_text(version)
            with target.open("ab" if goes_on else "wb") as file:
                for piece in answer.iter_content(1 << 16):
                    file.write(piece)
                    if file.tell() > LARGEST_BYTES:
                        raise FetchError(f"more than {LARGEST_BYTES >> 20} MiB")
    except requests.RequestException as error:
        raise FetchError(f"the connection failed ({type(error).__name__})") from None
    except UnicodeError:
        raise FetchError("that is no url") from None
    state.unlink(missing_ok=True)
