"""How sure: intervals over seeds, and a paired test of the best against every other setting."""

from __future__ import annotations

import bisect
import functools
import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


LEVEL = 0.95
POWER = 0.8
MOST_SEEDS = 1000


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with its 95 % interval.

    Attributes:
        mean: Mean of the values.
        n: How many there are.
        deviation: Standard deviation of the values; 0 where n is 1.
    """

    mean: float
    n: int
    deviation: float = 0.0

    @property
    def half(self) -> float | None:
        """Half the width of Student's interval, see `scipy.stats.t`; None where n is 1."""
        if self.n == 1:
            return None
        return _quantile(self.n - 1) * self.deviation / math.sqrt(self.n)

    @property
    def low(self) -> float:
        """Lower end of the interval, or the value itself."""
        return self.mean - (self.half or 0.0)

    @property
    def high(self) -> float:
        """Upper end of the interval, or the value itself."""
        return self.mean + (self.half or 0.0)


@dataclass(frozen=True)
class PairedTest:
    """The best setting against another, seed by seed.

    Attributes:
        difference: Mean of best minus other, so that more than 0 is better.
        pairs: Seeds that both have.
        p: Two-sided p-value, corrected for all the comparisons made; None where it cannot be had.
        deviation: Standard deviation of the differences.
        comparisons: How many were made.
    """

    difference: float
    pairs: int
    p: float | None
    deviation: float = 0.0
    comparisons: int = 1

    @property
    def clear(self) -> bool:
        """Whether the difference is more than chance at 5 %."""
        return self.p is not None and self.p < 1 - LEVEL and self.difference > 0

    def seeds_needed(self) -> int | None:
        """Returns how many seeds would show this difference with a power of 80 %.

        None where there is no difference, or where more than `MOST_SEEDS` would be needed.
        """
        from statsmodels.stats.power import TTestPower

        if self.pairs < 2 or self.difference <= 0 or self.deviation <= 1e-9 * self.difference:
            return None
        effect, alpha, power = (
            self.difference / self.deviation,
            (1 - LEVEL) / self.comparisons,
            TTestPower(),
        )
        candidates = range(2, MOST_SEEDS + 1)
        place = bisect.bisect_left(candidates, POWER, key=lambda n: power.power(effect, n, alpha))
        return candidates[place] if place < len(candidates) else None


def estimate(values: Sequence[float]) -> Estimate:
    """Returns the mean of values and what Student's 95 % interval needs."""
    n, mean = len(values), math.fsum(values) / len(values)
    return Estimate(mean, n, _deviation(values) if n > 1 else 0.0)


def compare_paired(
    best: Mapping[str, float], others: Sequence[Mapping[str, float]], *, sign: int
) -> list[PairedTest]:
    """Tests the best setting against each other one with Holm's correction.

    Args:
        best: Value by seed.
        others: The same for each other setting.
        sign: 1 where more is better, -1 where less is.
    """
    differences = [
        [sign * (best[seed] - other[seed]) for seed in sorted(best.keys() & other.keys())]
        for other in others
    ]
    raw = [_p_value(values) for values in differences]
    tested = [p for p in raw if p is not None]
    corrected = iter(_holm(tested))
    return [
        PairedTest(
            difference=math.fsum(values) / len(values) if values else math.nan,
            pairs=len(values),
            p=None if p is None else float(next(corrected)),
            deviation=_deviation(values) if len(values) > 1 else 0.0,
            comparisons=max(len(tested), 1),
        )
        for values, p in zip(differences, raw, strict=True)
    ]


@functools.cache
def _quantile(freedom: int) -> float:
    from scipy import (
        stats,
    )  # late: a ranking alone needs no interval, and it takes most of a second

    return float(stats.t.ppf((1 + LEVEL) / 2, freedom))


def _holm(tested: Sequence[float]) -> Sequence[float]:
    """Returns p-values with Holm's correction for their number."""
    if not tested:
        return []
    from statsmodels.stats.multitest import multipletests

    corrected: Sequence[float] = multipletests(tested, method="holm")[1]
    return corrected


def _deviation(values: Sequence[float]) -> float:
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


def _p_value(differences: Sequence[float]) -> float | None:
    if len(differences) < 2:
        return None
    if max(differences) == min(differences) == 0:
        return 1.0
    from scipy import stats  # late: with one seed nothing is tested, and it takes most of a second

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # equal differences lose precision and are still different
        return float(stats.ttest_1samp(differences, 0.0).pvalue)
