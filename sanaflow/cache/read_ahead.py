"""Read pictures while the encoder is at work, a bounded number of bytes ahead of it."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")
READ_AHEAD_BYTES = 256 * 2**20
"""Of decoded, cropped pictures. Each thread holds one undecoded picture more."""


def read_ahead(
    batches: Iterable[tuple[T, list[Any]]], read: Callable[[Any], Any], *, size_of: Callable[[Any], int]
) -> Iterator[tuple[T, list[Any], list[Any]]]:
    """Yield (label, rows, what `read` gives for each row) in order; `read` runs in as many threads as there are cores.

    Args:
        batches: Pairs of a label and rows; taken as there is room.
        read: What takes time.
        size_of: Bytes that a row's result will take.
    """
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        waiting: deque[tuple[T, list[Any], list[Future], int]] = deque()
        ahead = 0
        try:
            for label, rows in batches:
                size = sum(map(size_of, rows))
                while waiting and ahead + size > READ_AHEAD_BYTES:
                    first, its_rows, coming, its_size = waiting.popleft()
                    ahead -= its_size
                    yield first, its_rows, [future.result() for future in coming]
                waiting.append((label, rows, [pool.submit(read, row) for row in rows], size))
                ahead += size
            while waiting:
                first, its_rows, coming, _ = waiting.popleft()
                yield first, its_rows, [future.result() for future in coming]
        finally:  # an error or an impatient user: what nobody will look at isn't read
            pool.shutdown(wait=False, cancel_futures=True)
