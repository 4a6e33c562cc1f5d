"""Which pictures are almost the same, by the Hamming distance of their fingerprints? Exact, without comparing all.

Two hashes that differ in at most `distance` of their bits agree in at least one of `distance + 1` bands of bits: only
what shares a band is compared.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

BITS = 64
BUFFERED_PAIRS = 1_000_000  # are kept before they are merged into groups


def near_duplicates(fingerprints: Sequence[str], *, distance: int) -> list[int]:
    """The group of each picture, counted from 0 in the order of appearance, and -1 where it has no near-duplicate.

    A group holds what is linked by steps of at most `distance` bits: its ends may be further apart.

    Args:
        fingerprints: 16 hex digits each, as `measure_quality` gives them.
        distance: 0, for equal fingerprints only, .. 64. 100,000 fingerprints take some seconds up to about 6.

    Raises:
        ValueError: A fingerprint is not 64 bits of hex digits, or the distance is not within 0 .. 64.
    """
    if not 0 <= distance <= BITS:
        raise ValueError(f"distance {distance} is not within 0 .. {BITS}")
    if wrong := next((text for text in fingerprints if len(text) != BITS // 4), None):
        raise ValueError(f"fingerprint '{wrong}' is not {BITS // 4} hex digits")
    hashes = np.array([int(text, 16) for text in fingerprints], dtype=np.uint64)
    distinct, which = np.unique(hashes, return_inverse=True)  # a thousand equal ones are half a million pairs
    linked = _components(distinct, distance)[which]
    sizes = np.bincount(linked, minlength=1)
    numbers: dict[int, int] = {}
    return [numbers.setdefault(group, len(numbers)) if sizes[group] > 1 else -1 for group in linked.tolist()]


def _components(hashes: np.ndarray, distance: int) -> np.ndarray:
    """The component of each of the distinct hashes."""
    groups = np.arange(len(hashes))
    if distance == 0:
        return groups
    if distance == BITS:
        return np.zeros_like(groups)
    edges = np.linspace(0, BITS, distance + 2).astype(int).tolist()
    for low, high in pairwise(edges):
        band = (hashes >> np.uint64(low)) & np.uint64((1 << (high - low)) - 1)
        groups = _join_within(hashes, band, distance, groups)
    return groups


def _join_within(hashes: np.ndarray, band: np.ndarray, distance: int, groups: np.ndarray) -> np.ndarray:
    """Join the groups of the close hashes that share their band. Holds a few arrays of their number at a time."""
    order = np.argsort(band, kind="stable")
    hashes, band = hashes[order], band[order]
    _, starts, sizes = np.unique(band, return_index=True, return_counts=True)
    end = np.repeat(starts + sizes, sizes)
    at = np.arange(len(hashes))
    pairs: list[tuple[np.ndarray, np.ndarray]] = []
    buffered = 0
    for step in range(1, len(hashes)):  # each with the next but `step` of its band
        at = at[at + step < end[at]]
        if not len(at):
            break
        close = at[np.bitwise_count(hashes[at] ^ hashes[at + step]) <= distance]
        pairs.append((order[close], order[close + step]))
        buffered += len(close)
        if buffered > BUFFERED_PAIRS or step.bit_count() == 1:
            groups, pairs, buffered = _join(groups, pairs), [], 0
            # A band that is one group by now has nothing left to join: frames of a film would be compared for minutes.
            joined = groups[order]
            several = np.minimum.reduceat(joined, starts) != np.maximum.reduceat(joined, starts)
            at = at[np.repeat(several, sizes)[at]]
    return _join(groups, pairs)


def _join(groups: np.ndarray, pairs: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    if not any(len(first) for first, _ in pairs):
        return groups
    first, second = (groups[np.concatenate(side)] for side in zip(*pairs, strict=True))
    graph = coo_array((np.ones(len(first), dtype=bool), (first, second)), shape=(len(groups), len(groups)))
    return connected_components(graph, directed=False)[1][groups]
