"""What a shard is: tensors of many entries in one safetensors file, and what its header says of them."""

import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

if TYPE_CHECKING:
    import torch

ENDING, DAMAGED = ".safetensors", ".damaged"


@dataclass(frozen=True)
class Location:
    """Where an entry lies: shard file name and position in it."""

    shard: str
    row: int


@dataclass(frozen=True)
class Contents:
    """What a shard's header says.

    Attributes:
        keys: The entries' keys in their order.
        lengths: How long each is in its first dimension: a text's tokens, a picture's latent channels.
        model: Name of the model that encoded them.
        size: Bytes of the file.
    """

    keys: list[str]
    lengths: list[int]
    model: str
    size: int


class MappedShard:
    """A shard's tensors, by name."""

    def __init__(self, tensors: dict[str, "torch.Tensor"]) -> None:
        self._tensors = tensors

    def __getitem__(self, name: str) -> "torch.Tensor":
        return self._tensors[name]

    @cached_property
    def offsets(self) -> list[int]:
        """Where each text's tokens begin, and where the last one's end."""
        return self._tensors["offsets"].tolist()

    @cached_property
    def rows(self) -> dict[str, np.ndarray]:
        """The same memory, a row an entry or token, as integers of no meaning: NumPy copies rows with less overhead."""
        import torch

        flat = {
            name: tensor.reshape(len(tensor), -1).view(torch.uint8).numpy() for name, tensor in self._tensors.items()
        }
        return {name: rows.view(np.int64) if rows.shape[1] % 8 == 0 else rows for name, rows in flat.items()}


class DamagedShardError(Exception):
    """A file that is not what its name says."""


def read_contents(file: BinaryIO) -> Contents:
    """The header of a shard, and the size that the file must have.

    Layout: https://github.com/huggingface/safetensors#format

    Raises:
        DamagedShardError: It isn't one.
    """
    try:
        length = int.from_bytes(file.read(8), "little")
        if length > 100_000_000:
            raise DamagedShardError
        header = json.loads(file.read(length))
        about = json.loads(header.pop("__metadata__", {}).get("sanaflow", "{}"))
        end = max((tensor["data_offsets"][1] for tensor in header.values()), default=0)
        return Contents(about.get("keys", []), about.get("lengths", []), about.get("model", ""), 8 + length + end)
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, MemoryError, RecursionError):
        raise DamagedShardError from None
