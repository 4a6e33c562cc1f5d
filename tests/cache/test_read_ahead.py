import threading
import time

import pytest

from sanaflow.cache import read_ahead as module
from sanaflow.cache.read_ahead import read_ahead


def test_batches_come_in_order_with_what_was_read():
    read = lambda number: time.sleep(0.002 * (5 - number % 5)) or -number  # noqa: E731
    got = list(read_ahead([("a", [1, 2]), ("b", [3]), ("c", [4, 5])], read, size_of=lambda row: 1))
    assert got == [("a", [1, 2], [-1, -2]), ("b", [3], [-3]), ("c", [4, 5], [-4, -5])]


def test_reading_goes_on_while_the_caller_works_but_only_so_far_ahead(monkeypatch):
    monkeypatch.setattr(module, "READ_AHEAD_BYTES", 300)
    read = []
    batches = (("", [number]) for number in range(100))
    coming = read_ahead(batches, read.append, size_of=lambda row: 100)
    next(coming)
    until = time.monotonic() + 10
    while len(read) < 3 and time.monotonic() < until:
        time.sleep(0.01)
    time.sleep(0.1)
    assert sorted(read) == [0, 1, 2]
    coming.close()


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
