import pytest
import torch

from sanaflow.cache.halving import Halving
from sanaflow.errors import InputError


def card_with_room_for(most, sizes):
    """An encoder that runs out of memory as PyTorch does."""

    def encode(items):
        sizes.append(len(items))
        if len(items) > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        return [torch.tensor(item) for item in items]

    return encode


def test_batches_are_halved_until_they_fit_and_stay_so():
    sizes = []
    encode = Halving(card_with_room_for(3, sizes), advice="buy more")
    assert [int(one) for one in encode(list(range(8)))] == list(range(8))
    assert sizes == [8, 4, 2, 2, 2, 2]
    sizes.clear()
    encode(list(range(5)))
    assert sizes == [2, 2, 1], "no second attempt with what was too many"


def test_each_size_has_a_limit_of_its_own():
    sizes = []
    encode = Halving(card_with_room_for(3, sizes), advice="buy more")
    encode([0] * 4, size=(64, 64))
    sizes.clear()
    encode([0] * 3, size=(32, 32))
    assert sizes == [3]


def test_when_not_even_one_fits_the_way_out_is_told():
    with pytest.raises(InputError, match="memory is too small: buy more"):
        Halving(card_with_room_for(0, []), advice="buy more")([1, 2])


def test_other_errors_are_not_swallowed():
    def encode(items):
        raise RuntimeError("shapes don't fit")

    with pytest.raises(RuntimeError, match="shapes"):
        Halving(encode, advice="")([1, 2])
