"""Reads the curve of a learning rate range test: the loss at each step while the rate grows."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


MEMORY = 0.9
"""Of the moving average that tells whether the loss explodes."""

EXPLODED = 4.0
"""Times the best: what PyTorch Lightning and fast.ai stop at."""


def exploded(losses: Sequence[float]) -> bool:
    """Returns whether a loss, smoothed, has grown to a multiple of its best or is no number."""
    smooth, best = 0.0, math.inf
    for step, loss in enumerate(losses, start=1):
        smooth = MEMORY * smooth + (1 - MEMORY) * loss
        mean = smooth / (1 - MEMORY**step)
        best = min(best, mean)
    return bool(losses) and not mean <= EXPLODED * best


def lowest(curve: Sequence[tuple[float, float]]) -> float:
    """Returns the rate at which the loss was least; the first rate where no loss is a number.

    The loss lags behind the rate: a whole training needs a smaller one than this.

    Args:
        curve: The rate and the loss of each step.
    """
    finite = [(loss, rate) for rate, loss in curve if math.isfinite(loss)]
    return min(finite, default=(0.0, curve[0][0]))[1]
