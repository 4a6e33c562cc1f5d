"""Random numbers as functions of (seed, rank, step, purpose), never of how often a generator was called.

This is what makes a resumed run equal an uninterrupted one, whatever else drew random numbers in between.
"""

import hashlib

import torch


def generator(seed: int, rank: int, step: int, purpose: str) -> torch.Generator:
    """A CPU generator for one purpose in one step; the same on every device."""
    digest = hashlib.sha256(f"{seed}/{rank}/{step}/{purpose}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little", signed=True))
