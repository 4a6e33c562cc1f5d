"""A first look at a CSV of urls or paths: which of its columns are which."""

from typing import Any

import pandas as pd

from pipelines.configuring.captions import Captions, captions_in_a_column
from sanaflow.errors import InputError
from sanaflow.paths import expanded

URL_COLUMNS = ("url", "image_url", "path", "file", "file_name", "filename", "image")


def look_at_csv(where: str) -> tuple[dict[str, Any], list[Captions]]:
    """The entry's keys, and the ways to captions.

    Raises:
        InputError: It can't be read, or has no column of urls or paths.
    """
    entry: dict[str, Any] = {"type": "csv", "csv_file": where}
    try:
        columns = list(pd.read_csv(expanded(where), nrows=0).columns)
    except (OSError, ValueError) as error:
        raise InputError(f"'{where}' can't be read as a CSV: {' '.join(str(error).split())}") from None
    url = next((column for column in URL_COLUMNS if column in columns), None)
    if url is None:
        raise InputError(f"'{where}' has the columns {', '.join(columns)}: name that of urls or paths 'url'")
    entry |= {"csv_url_column": url} if url != "url" else {}
    return entry, captions_in_a_column(columns, strategy="csv", key="csv_caption_column", default="caption")
