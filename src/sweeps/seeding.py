"""Randomness is passed, one generator for each purpose, all derived from one seed."""

from __future__ import annotations

import hashlib

import torch


def derive(seed: int, purpose: str, *parts: int) -> int:
    """Returns a seed of 63 bits for one purpose, independent of every other purpose's."""
    text = "/".join([str(seed), purpose, *map(str, parts)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, purpose: str, *parts: int) -> torch.Generator:
    """Returns a CPU generator seeded by `derive`."""
    return torch.Generator().manual_seed(derive(seed, purpose, *parts))
