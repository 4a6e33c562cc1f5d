"""Progress bars: lively on a terminal, a line now and then in a log."""

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

FIRST_SECONDS, LATER_SECONDS, LATER = 10, 60, 600
"""Between two lines of a log, and when the second begins to hold."""
LINE = "{desc}: {n_fmt} of {total_fmt} ({percentage:.0f} %), {elapsed} gone, {remaining} left, {rate_fmt}{postfix}"


def progress_bar(*args: Any, **kwargs: Any) -> tqdm:
    """A tqdm bar with its arguments, for a known total; whole lines where nobody watches."""
    return tqdm(*args, **kwargs) if sys.stderr.isatty() else _Lines(*args, **kwargs)


def download_bars() -> type[tqdm] | None:
    """The `tqdm_class` for the hub's client: its own bars on a terminal, else lines of what takes long."""
    return None if sys.stderr.isatty() else _DownloadLines


def say(text: str) -> None:
    """Print a line above the bars that are shown."""
    tqdm.write(text)
    sys.stdout.flush()


class _Lines(tqdm):
    """A bar whose every state that is shown is a line of its own, as carriage returns pile up in a log."""

    disable: bool

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._began = self._said_at = time.monotonic()
        self._said = kwargs.get("initial", 0)
        super().__init__(*args, **kwargs | {"miniters": 1, "bar_format": LINE})

    def display(self, msg: str | None = None, pos: int | None = None) -> bool:
        """Print how far it is, unless that was said, or something just now."""
        now = time.monotonic()
        pause = FIRST_SECONDS if now - self._began < LATER else LATER_SECONDS
        if self.n == self._said or now - self._said_at < pause:
            return False
        self._said_at, self._said = now, self.n
        print(str(self), file=self.fp, flush=True)
        return True

    def clear(self, nolock: bool = False) -> None:
        """Nothing: a line stays."""

    def close(self) -> None:
        """Print the last line."""
        if self.disable:
            return
        self.disable = True
        self._decr_instances(self)
        if self.leave and self.n != self._said:
            print(str(self), file=self.fp, flush=True)


class _DownloadLines(_Lines):
    """Says nothing of files that are here already."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs | {"leave": False})


@contextmanager
def quietly() -> Iterator[None]:
    """Load a model without its libraries' own bars and notes; errors still show."""
    import diffusers.utils.logging as diffusers_logging
    import transformers.utils.logging as transformers_logging

    libraries = (diffusers_logging, transformers_logging)
    levels = [library.get_verbosity() for library in libraries]
    for library in libraries:
        library.disable_progress_bar()
        library.set_verbosity_error()
    logging.disable(logging.INFO)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
        for library, level in zip(libraries, levels, strict=True):
            library.enable_progress_bar()
            library.set_verbosity(level)
