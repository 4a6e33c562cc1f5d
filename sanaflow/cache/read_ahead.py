"""Read pictures while the encoder is at work, a bounded number of bytes ahead of it."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")
READ_AHEAD_BYTES = 256 * 2**20
"""Of decoded, cropped pictures, or two batches. Each thread holds one whole decoded picture more."""
MOST_THREADS = 16


@dataclass(frozen=True)
class _Batch:
    label: Any
    rows: list[Any]
    coming: list[Future]
    size: int


def read_ahead(
    batches: Iterable[tuple[T, list[Any]]], read: Callable[[Any], Any], *, size_of: Callable[[Any], int]
) -> Iterator[tuple[T, list[Any], list[Any]]]:
    """Yield (label, rows, what `read` gives for each row) in order; `read` runs in as many threads as there are cores.

    One batch is ready or nearly so, and each thread has two rows to do: more would only take memory.

    Args:
        batches: Pairs of a label and rows; taken as there is room.
        read: What takes time.
        size_of: Bytes that a row's result will take.
    """
    threads = min(os.cpu_count() or 1, MOST_THREADS)
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[_Batch] = deque()

        def full(rows: int, size: int) -> bool:
            if len(waiting) < 2:  # so that one is read while the caller works on the other
                return False
            ahead = sum(len(batch.rows) for batch in waiting)
            return ahead >= rows + 2 * threads or sum(batch.size for batch in waiting) + size > READ_AHEAD_BYTES

        try:
            for label, rows in batches:
                size = sum(map(size_of, rows))
                while full(len(rows), size):
                    yield _wait_for(waiting.popleft())
                waiting.append(_Batch(label, rows, [pool.submit(read, row) for row in rows], size))
            while waiting:
                yield _wait_for(waiting.popleft())
        finally:  # an error or an impatient user: what nobody will look at isn't read
            pool.shutdown(wait=False, cancel_futures=True)


def _wait_for(batch: _Batch) -> tuple[Any, list[Any], list[Any]]:
    return batch.label, batch.rows, [future.result() for future in batch.coming]
