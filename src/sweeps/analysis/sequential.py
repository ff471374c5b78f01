"""Looking again after more seeds: which settings are still tied, and what each look may claim.

Who tests after every few seeds and stops at the first p below 5 % claims too much: each look is a
further chance to be wrong. Here the looks are fixed beforehand, and each spends a share of the 5 %
(alpha spending, Lan and DeMets 1983, with Bonferroni's bound over the looks, which holds however they
depend on each other). A p-value over its share is one for all looks together: `LOOKS` sum to 1.

At a look the settings that are still tied are compared over the seeds that all of them have, as in any
comparison with a chosen best (`chosen_best`). What is clearly behind is not repeated and keeps what
that look said of it. So what is claimed can be found again from the values alone: a setting's last
look is the number of its seeds.
"""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import NormalDist
from typing import TYPE_CHECKING

from sweeps.analysis.chosen_best import BestTest, compare_with_best
from sweeps.analysis.statistics import LEVEL

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Values = Mapping[str, float]
    """Value by seed of one setting."""


LOOKS = {3: 0.1, 5: 0.2, 7: 0.2, 10: 0.5}
"""Seeds at each look, and the share of the 5 % that it spends: most of it where most is known."""
MOST_SEEDS = max(LOOKS)
HOPE = 0.5
"""Standard errors by which a difference may be larger than is seen."""
ALL = 1 - 1e-9


def next_look(seeds: int) -> int | None:
    """Returns with how many seeds to look again after a look with so many, or None after the last."""
    return next((n for n in LOOKS if n > (_look(seeds) if seeds >= min(LOOKS) else seeds)), None)


def still_tied(settings: Sequence[Values], *, sign: int, resolution: float = 0.0) -> list[int]:
    """Returns the places of the settings that the latest look cannot tell from its best.

    Args:
        settings: Value by seed of each, in any order.
        sign: 1 where more is better, -1 where less is.
        resolution: See `compare_with_best`.

    Returns:
        In ranked order, the best first; none where the look has settled it, or no later look can.
    """
    most = max(map(len, settings), default=0)
    racing = [place for place, values in enumerate(settings) if len(values) == most]
    ranked = sorted(racing, key=lambda place: -sign * _mean(settings[place]))
    tests = _look_at([settings[place] for place in ranked], sign, resolution)
    tied = [(place, t) for place, t in zip(ranked[1:], tests, strict=True) if not t.clear]
    if not any(_may_be_settled(test, most) for _, test in tied):
        return []
    return [ranked[0], *(place for place, _ in tied)]


def compare_over_looks(
    ranked: Sequence[Values], *, sign: int, resolution: float = 0.0
) -> list[BestTest]:
    """Tests the first of ranked settings against each of the others, for all looks together.

    Args:
        ranked: Value by seed of each setting, by the mean, the best first.
        sign: 1 where more is better, -1 where less is.
        resolution: See `compare_with_best`.

    Returns:
        A test for each setting but the first, as its last look had it.
    """
    means = [_mean(values) for values in ranked]
    found = [BestTest(sign * (means[0] - mean), None) for mean in means[1:]]
    for seeds in {frozenset(values) for values in ranked[1:] if len(values) > 1}:
        there = [place for place, values in enumerate(ranked) if seeds <= values.keys()]
        values = {place: {seed: ranked[place][seed] for seed in seeds} for place in there}
        order = sorted(there, key=lambda place: -sign * _mean(values[place]))
        tests = _look_at([values[place] for place in order], sign, resolution)
        first = BestTest(0.0, 1.0, len(seeds), len(order))
        for place, test in zip(order, [first, *tests], strict=True):
            if place and ranked[place].keys() == seeds:
                # Nothing is claimed against a best that was not there.
                p = None if test.p is None else min(1.0, test.p if 0 in there else 1.0)
                found[place - 1] = replace(test, difference=found[place - 1].difference, p=p)
    return found


def _may_be_settled(test: BestTest, seeds: int) -> bool:
    """Returns whether more seeds may tell two apart: what is seen, and half a standard error more.

    To stop where they will not (stochastic curtailment, Lan, Simon and Halperin 1982) claims
    nothing, and spares most of the runs that equal settings would get.
    """
    if test.p is None or next_look(seeds) is None:
        return next_look(seeds) is not None
    seen = NormalDist().inv_cdf(1 - min(test.p * LOOKS[_look(seeds)], ALL) / 2)
    needed = NormalDist().inv_cdf(1 - (1 - LEVEL) * LOOKS[MOST_SEEDS] / 2)
    return (seen + HOPE) * math.sqrt(MOST_SEEDS / seeds) >= needed


def _look_at(ranked: Sequence[Values], sign: int, resolution: float) -> list[BestTest]:
    """Returns the tests of one look, with p-values for all looks together."""
    tests = compare_with_best(ranked, sign=sign, resolution=resolution)
    share = LOOKS[_look(len(ranked[0]))] if ranked else 1.0
    return [replace(t, p=None if t.p is None else t.p / share) for t in tests]


def _look(seeds: int) -> int:
    """Returns the look to which so many seeds belong."""
    return next((n for n in LOOKS if n >= seeds), MOST_SEEDS)


def _mean(values: Values) -> float:
    return math.fsum(values.values()) / len(values)
