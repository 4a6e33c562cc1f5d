import time

import numpy as np
import pytest

from sanaflow.images.duplicates import near_duplicates


def written(hashes) -> list[str]:
    return [f"{value:016x}" for value in np.asarray(hashes, dtype=np.uint64).tolist()]


def flipped(hashes: np.ndarray, bits: int, random: np.random.Generator) -> np.ndarray:
    """With exactly `bits` of their bits turned over."""
    places = np.argsort(random.random((len(hashes), 64)), axis=1)[:, :bits].astype(np.uint64)
    return hashes ^ np.bitwise_or.reduce(np.uint64(1) << places, axis=1, initial=0)


def by_brute_force(hashes: np.ndarray, distance: int) -> list[int]:
    close = np.bitwise_count(hashes[:, None] ^ hashes) <= distance
    groups, count = [-1] * len(hashes), 0
    for start in range(len(hashes)):
        if groups[start] >= 0 or close[start].sum() == 1:
            continue
        waiting = [start]
        while waiting:
            if groups[one := waiting.pop()] < 0:
                groups[one] = count
                waiting += np.flatnonzero(close[one]).tolist()
        count += 1
    return groups


@pytest.mark.parametrize("distance", [0, 1, 3, 6, 10, 20, 31, 63, 64])
def test_groups_are_those_of_comparing_all_pairs(distance):
    random = np.random.default_rng(distance)
    hashes = random.integers(0, 2**64, 300, dtype=np.uint64)
    near = [flipped(random.choice(hashes, 40), bits, random) for bits in (0, 1, 2, distance, min(64, distance + 1))]
    hashes = random.permutation(np.concatenate([hashes, *near]))
    assert near_duplicates(written(hashes), distance=distance) == by_brute_force(hashes, distance)


@pytest.mark.parametrize("bits", [8, 16])
def test_crowded_hashes_are_grouped_exactly(bits):
    random = np.random.default_rng(bits)
    hashes = random.integers(0, 2**bits, 400, dtype=np.uint64) << np.uint64(29)  # all of them agree in most bands
    for distance in (1, 2, 4):
        assert near_duplicates(written(hashes), distance=distance) == by_brute_force(hashes, distance)


def test_groups_are_numbered_as_they_appear():
    far, other = 0xFFFF0000FFFF0000, 0x00FF00FF00FF00FF
    assert near_duplicates(written([far, 7, other, 5, far, other]), distance=1) == [0, 1, 2, 1, 0, 2]
    assert near_duplicates(written([far, 0, other, 1]), distance=1) == [-1, 0, -1, 0]


def test_a_chain_is_one_group():
    assert near_duplicates(written([0b0, 0b11, 0b1111, 0b111111]), distance=2) == [0, 0, 0, 0]


def test_exactly_the_distance_is_near_and_one_bit_more_is_not():
    random = np.random.default_rng(1)
    hashes = random.integers(0, 2**64, 50, dtype=np.uint64)
    for one, near, far in zip(hashes, flipped(hashes, 6, random), flipped(hashes, 7, random), strict=True):
        assert near_duplicates(written([one, near]), distance=6) == [0, 0]
        assert near_duplicates(written([one, far]), distance=6) == [-1, -1]


def test_nothing_and_one_are_fine():
    assert near_duplicates([], distance=6) == []
    assert near_duplicates(["0" * 16], distance=6) == [-1]


@pytest.mark.parametrize("wrong", ["", "12", "g" * 16, "0" * 17])
def test_what_is_not_a_fingerprint_is_refused(wrong):
    with pytest.raises(ValueError):
        near_duplicates(["0" * 16, wrong], distance=6)


@pytest.mark.parametrize("distance", [-1, 65])
def test_a_distance_that_cannot_be_is_refused(distance):
    with pytest.raises(ValueError, match="distance"):
        near_duplicates(["0" * 16], distance=distance)


@pytest.mark.parametrize("kind", ["scattered", "equal", "counted up"])
def test_a_hundred_thousand_are_grouped_in_seconds(kind):
    random = np.random.default_rng(0)
    hashes = {
        "scattered": random.integers(0, 2**64, 100_000, dtype=np.uint64),
        "equal": np.full(100_000, 42, dtype=np.uint64),
        "counted up": np.arange(100_000, dtype=np.uint64),
    }[kind]
    if kind == "scattered":
        hashes[90_000:] = flipped(hashes[:10_000], 6, random)
    texts = written(hashes)
    began = time.process_time()
    groups = np.array(near_duplicates(texts, distance=6))
    assert time.process_time() - began < 15  # takes about half a second
    if kind == "scattered":
        assert (groups[:10_000] >= 0).all() and (groups[:10_000] == groups[90_000:]).all()
    else:
        assert (groups == 0).all()
