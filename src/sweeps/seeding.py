"""Randomness is passed, one generator for each purpose, all derived from one seed."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def derive(seed: int, purpose: str, *parts: int) -> int:
    """Returns a seed of 63 bits for one purpose, independent of every other purpose's."""
    text = "/".join([str(seed), purpose, *map(str, parts)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, purpose: str, *parts: int) -> torch.Generator:
    """Returns a CPU generator seeded by `derive`."""
    import torch  # late: a sweep derives the seeds of its proposals without it

    return torch.Generator().manual_seed(derive(seed, purpose, *parts))
