import threading
import time

import pytest

from sanaflow.cache import read_ahead as module
from sanaflow.cache.read_ahead import read_ahead


def test_batches_come_in_order_with_what_was_read():
    read = lambda number: time.sleep(0.002 * (5 - number % 5)) or -number  # noqa: E731
    got = list(read_ahead([("a", [1, 2]), ("b", [3]), ("c", [4, 5])], read, size_of=lambda row: 1))
    assert got == [("a", [1, 2], [-1, -2]), ("b", [3], [-3]), ("c", [4, 5], [-4, -5])]


def read_while_the_caller_works(size) -> list[int]:
    """What is read of a hundred batches of one while the caller has only asked for the first."""
    read = []
    coming = read_ahead((("", [number]) for number in range(100)), read.append, size_of=lambda row: size)
    next(coming)
    until = time.monotonic() + 0.5
    while time.monotonic() < until:
        time.sleep(0.01)
    seen = sorted(read)
    coming.close()
    return seen


def test_reading_goes_on_while_the_caller_works_but_only_so_many_rows_ahead(monkeypatch):
    monkeypatch.setattr(module.os, "cpu_count", lambda: 3)
    assert read_while_the_caller_works(1) == [0, 1, 2, 3, 4, 5, 6], "two rows a thread, and a batch"


def test_reading_goes_on_while_the_caller_works_but_only_so_many_bytes_ahead(monkeypatch):
    monkeypatch.setattr(module, "READ_AHEAD_BYTES", 300)
    monkeypatch.setattr(module.os, "cpu_count", lambda: 3)
    assert read_while_the_caller_works(100) == [0, 1, 2]
    assert read_while_the_caller_works(1000) == [0, 1], "one while the caller works on the other, however large"


def test_an_error_is_raised_where_its_batch_is_wanted_and_ends_the_reading():
    started = threading.Event()

    def read(number):
        started.set()
        if number == 1:
            raise OSError("gone")

    coming = read_ahead([("", [0]), ("", [1]), ("", [2])], read, size_of=lambda row: 1)
    next(coming)
    with pytest.raises(OSError, match="gone"):
        next(coming)
