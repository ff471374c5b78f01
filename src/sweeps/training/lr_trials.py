"""Finds a learning rate by a few short trainings: from a large rate down, until a smaller one is worse.

A range test tells cheaply where to begin, not where to stay: what the loss does while the rate grows lags
behind the rate, by another factor for each optimizer. A short training at one rate has no such lag. All
begin with the same weights and see the same batches, so that their losses can be compared.
"""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


SPACING = 10 ** (2 / 3)
"""Between two rates, about 4.6; the pick lies between them."""

MOST_RATES = 10
"""Six decades: what lies further below does not train."""

SHARE = 0.04
"""Of a whole training's steps, for each rate."""

FEWEST_STEPS = 12
JUDGED = 0.2
"""The last share of a short training, whose mean loss is its score."""

HOPELESS = 30.0
"""Times the first loss: adaptive optimizers recover from less, after a first step that is too large."""

SHARPNESS = 0.1
"""A rate that is behind by this share of the best one's fall counts 1/e as much."""

CAUTION = 0.6
"""A whole training wants a smaller rate than a short one, which need not settle."""


def trial_steps(total_steps: int, momentum: float) -> int:
    """Returns how many optimizer steps a short training has.

    More than a momentum remembers, within a tenth of the whole training: before, a rate that is too
    large does not show.

    Args:
        total_steps: Of the whole training.
        momentum: Of the optimizer, 0 for none.
    """
    memory = min(1.5 / (1 - momentum), total_steps / 10) if 0 < momentum < 1 else 0
    return max(FEWEST_STEPS, round(SHARE * total_steps), round(memory))


def score(losses: Sequence[float]) -> float:
    """Returns the mean of the last losses of a short training."""
    return statistics.fmean(losses[-max(3, round(JUDGED * len(losses))) :])


def hopeless(losses: Sequence[float]) -> bool:
    """Returns whether a short training need not go on: its loss is no number, or far above its first."""
    if not math.isfinite(losses[-1]):
        return True
    return len(losses) > 2 and statistics.fmean(losses[-3:]) > HOPELESS * losses[0]


def descend(score_at: Callable[[float], float | None], start: float) -> dict[float, float | None]:
    """Tries rates from `start` down, `SPACING` apart, until one is worse than another before it.

    Args:
        score_at: Trains a little at a rate; returns its score, or None where it was hopeless.
        start: The first rate.

    Returns:
        The score of each rate that was tried, in this order.
    """
    tried: dict[float, float | None] = {}
    for number in range(MOST_RATES):
        rate = start / SPACING**number
        known = [value for value in tried.values() if value is not None]
        tried[rate] = found = score_at(rate)
        if known and (found is None or found > min(known)):
            break
    return tried


def choose(
    tried: Mapping[float, float | None], *, first_loss: float, momentum: float, steps: int
) -> float | None:
    """Returns the rate for a whole training, or None where no short one had lowered the loss.

    It is the mean of the logarithms of the rates, those with a low score counting most, made smaller
    for a whole training, and for a momentum that a short training does not bring up to its speed.

    Args:
        tried: The score of each rate.
        first_loss: Before any training.
        momentum: Of the optimizer, 0 for none.
        steps: Of each short training.
    """
    scores = {rate: value for rate, value in tried.items() if value is not None}
    fall = first_loss - min(scores.values(), default=math.inf)
    if not fall > 0:
        return None
    best = first_loss - fall
    weights = {rate: math.exp((best - s) / (SHARPNESS * fall)) for rate, s in scores.items()}
    middle = sum(weight * math.log(rate) for rate, weight in weights.items())
    return CAUTION * _speed(momentum, steps) * math.exp(middle / sum(weights.values()))


def _speed(momentum: float, steps: int) -> float:
    """Returns the mean step length over the first steps with momentum, as a share of the later one.

    After step i it is 1 - momentum**i of what it will be, for a gradient that stays the same.
    """
    return statistics.fmean(1 - momentum**step for step in range(1, steps + 1))
