"""Random numbers as functions of (seed, rank, step, purpose), never of how often a generator was called.

This is what makes a resumed run equal an uninterrupted one, whatever else drew random numbers in between.
"""

import hashlib

import torch


def generator(seed: int, rank: int, step: int, purpose: str) -> torch.Generator:
    """A CPU generator for one purpose in one step; the same on every device."""
    return torch.Generator().manual_seed(seed_of(seed, rank, step, purpose))


def seed_of(seed: int, rank: int, step: int, purpose: str) -> int:
    """64 bits for one purpose in one step."""
    digest = hashlib.sha256(f"{seed}/{rank}/{step}/{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "little", signed=True)
