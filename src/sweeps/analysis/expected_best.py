"""The best result that k trials can be expected to find, for every k.

The best of many settings is better than the best of few by chance alone, so two optimizers are
compared at equal numbers of trials.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from sweeps.runs.metrics import is_finite
from sweeps.runs.outcome import Outcome
from sweeps.training.objective import maximised

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sweeps.analysis.contenders import Contender


def expected_best(values: Sequence[float], *, sign: int) -> list[float]:
    """Returns the expected best of k of the values, for k = 1 .. n.

    It is the mean over all subsets of k values, a U-statistic and so unbiased: Tang et al. 2020,
    "Showing Your Work Doesn't Always Work", https://arxiv.org/abs/2004.13705. The estimator of Dodge
    et al. 2019 draws with replacement and is too low for every k above 1.

    Args:
        values: One for each trial, in any order.
        sign: 1 where more is better, -1 where less is.
    """
    ordered = sorted(values, key=lambda value: -sign * value)
    return [
        math.fsum(
            weight * value
            for weight, value in zip(_weights(len(ordered), k), ordered, strict=False)
        )
        for k in range(1, len(ordered) + 1)
    ]


def trial_values(contender: Contender, objective: str, untrained: float | None) -> list[float]:
    """Returns the value of each trial, which is a setting: the mean over its seeds.

    A setting that diverged is worth what an untrained model is, one that a search stopped early what
    it had come to. Settings that failed or are not finished are no trials yet.

    Args:
        contender: The value of the axis whose trials these are.
        objective: The metric that ranks.
        untrained: The metric of an untrained model; None where it is not known.
    """
    worst = untrained
    if worst is None:
        worst = 0.0 if maximised(objective) else math.inf
    found = []
    for setting in contender.settings:
        if setting.count(Outcome.DIVERGED):
            found.append(worst)
        elif setting.result is not None and setting.count(Outcome.FINISHED, Outcome.PRUNED):
            found.append(setting.result.mean)
    return found


def trials_needed(curve: Sequence[float], level: float, *, sign: int) -> int | None:
    """Returns after how many trials a curve is as good as a level, or None where it never is."""
    places = enumerate(curve, start=1)
    return next((k for k, value in places if sign * value >= sign * level), None)


def crossings(first: Sequence[float], second: Sequence[float], *, sign: int) -> list[int]:
    """Returns each k from which the other of two curves is ahead; one that is never ahead has none."""
    leads = [sign * (a - b) for a, b in zip(first, second, strict=False)]
    found, leader = [], 0.0
    for k, lead in enumerate(leads, start=1):
        if lead and math.copysign(1, lead) != leader:
            if leader:
                found.append(k)
            leader = math.copysign(1, lead)
    return found


def in_words(curves: dict[str, list[float]], *, sign: int) -> list[str]:
    """Returns for the best curve and each other how many trials are worth how many.

    Args:
        curves: By name, the best first.
        sign: 1 where more is better, -1 where less is.
    """
    (name, best), *others = curves.items()
    said = []
    for other, curve in others:
        needed = trials_needed(best, curve[-1], sign=sign) if is_finite(curve[-1]) else None
        if needed is not None and len(best) + len(curve) > 2:
            trials = "1 trial" if needed == 1 else f"{needed} trials"
            said.append(f"{name} needs {trials} to be as good as {other} with {len(curve)}.")
        for k in crossings(best, curve, sign=sign):
            ahead = name if sign * (best[k - 1] - curve[k - 1]) > 0 else other
            said.append(f"{name} and {other} cross: {ahead} is ahead from {k} trials on.")
    return said


def _weights(n: int, k: int) -> Iterator[float]:
    """Yields the share of the subsets of k of n values of which each is the best, best value first."""
    weight = k / n
    for worse in range(n - 1, k - 2, -1):
        yield weight
        # From C(worse, k - 1) subsets to C(worse - 1, k - 1).
        weight *= (worse - k + 1) / worse if worse else 0.0
