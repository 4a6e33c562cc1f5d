"""Encode as many at once as fit into memory."""

import gc
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch
from accelerate.utils.memory import should_reduce_batch_size

from sanaflow.errors import InputError


class Halving:
    """Calls `encode` with whole batches and, where memory ran out, with halves of them from then on."""

    def __init__(self, encode: Callable[[Sequence[Any]], list[torch.Tensor]], *, advice: str) -> None:
        """Wrap `encode`; `advice` is what helps when even one doesn't fit."""
        self._encode, self._advice = encode, advice
        self._limits: dict[Hashable, int] = {}

    def __call__(self, items: Sequence[Any], *, size: Hashable = None) -> list[torch.Tensor]:
        """One tensor an item.

        Args:
            items: What to encode.
            size: What has a limit of its own, such as the pictures' size.

        Raises:
            InputError: Not even one fits into memory.
        """
        encoded: list[torch.Tensor] = []
        while len(encoded) < len(items):
            count = min(self._limits.get(size, len(items)), len(items) - len(encoded))
            try:
                encoded += self._encode(items[len(encoded) : len(encoded) + count])
                continue
            except RuntimeError as error:
                if not should_reduce_batch_size(error):
                    raise
            if count == 1:  # outside of `except`: the error holds on to the memory that ran out
                raise InputError(f"the device's memory is too small: {self._advice}")
            self._limits[size] = count // 2
            print(f"out of memory with {count} at once: going on with {count // 2}")
            free_memory()
        return encoded


def free_memory() -> None:
    """Give a GPU's memory back that is no longer used. A CPU's is free as soon as nothing refers to it."""
    if torch.cuda.is_available():
        gc.collect()
        torch.cuda.empty_cache()
