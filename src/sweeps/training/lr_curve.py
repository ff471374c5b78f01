"""Reads the curve of a learning rate range test: the loss at each step while the rate grows.

The curve is noisy, and its slope between two steps noisier, so the slope is that of a straight line
through all points of a stretch of rates.
"""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence


STRETCH = 1.0
"""Decades of the rate that one slope is taken over."""

CLEAR = 2.0
"""A fall counts from so many times the noise of the curve's beginning."""

FEWEST_POINTS = 20
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


def steepest(rates: Sequence[float], losses: Sequence[float]) -> float | None:
    """Returns the rate at which the loss falls fastest over the logarithm of the rate.

    Looked for below the rate where the smoothed loss is least: what falls after that recovers from
    an explosion.

    Args:
        rates: Growing, one a step.
        losses: The loss at each of them.

    Returns:
        The rate, or None where the loss never falls, or ends before it says anything.
    """
    points = [
        (math.log10(rate), loss)
        for rate, loss in zip(rates, losses, strict=True)
        if math.isfinite(loss)
    ]
    if len(points) < FEWEST_POINTS:
        return None
    lines = [_line(points, around=position) for position, _ in points]
    lowest = min(range(len(lines)), key=lambda i: lines[i].level)
    if lines[0].level - lines[lowest].level <= CLEAR * lines[0].noise:
        return None
    best = min(range(lowest + 1), key=lambda i: lines[i].slope)
    return 10 ** points[best][0]


class _Line(NamedTuple):
    """A straight line through a stretch of the curve: its middle, slope, and the points' distance."""

    level: float
    slope: float
    noise: float


def _line(points: Sequence[tuple[float, float]], *, around: float) -> _Line:
    near = [(x, y) for x, y in points if abs(x - around) <= STRETCH / 2]
    x_mean, level = (statistics.fmean(values) for values in zip(*near, strict=True))
    spread = sum((x - x_mean) ** 2 for x, _ in near)
    slope = sum((x - x_mean) * (y - level) for x, y in near) / spread if spread else 0.0
    return _Line(level, slope, statistics.pstdev(y - level - slope * (x - x_mean) for x, y in near))
