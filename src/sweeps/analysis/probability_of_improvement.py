"""How probable it is that one setting beats another when both are trained once more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sweeps.analysis.axes import SEED
from sweeps.runs.metrics import is_finite
from sweeps.runs.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sweeps.analysis.ranking import Setting


LEVEL = 0.95
MEANINGFUL = 0.75


@dataclass(frozen=True)
class Probability:
    """P(A > B) with its interval.

    Attributes:
        value: Share of the pairs in which A is better; a tie is half a win.
        low: Lower end of the 95 % interval.
        high: Upper end.
        pairs: Seeds that both have; the smaller number of seeds where they share none.
        paired: Whether the pairs are of one seed each.
    """

    value: float
    low: float
    high: float
    pairs: int
    paired: bool

    @property
    def verdict(self) -> str:
        """What may be said: 'not shown', 'shown, but rarely matters' or 'shown'."""
        if self.low <= 0.5:
            return "not shown"
        return "shown" if self.high > MEANINGFUL else "shown, but rarely matters"


def probability_of_improvement(
    a: Mapping[str, float], b: Mapping[str, float], *, sign: int
) -> Probability | None:
    """Returns the probability that A is better than B, see Bouthillier et al. 2021.

    "Accounting for Variance in Machine Learning Benchmarks", https://arxiv.org/abs/2103.03098: better
    means that the interval lies above 0.5, and that it matters that it reaches above 0.75. The interval
    is Clopper and Pearson's for a share, where the paper resamples: of five wins in five its bootstrap
    makes the interval from 1 to 1, and this one that from 0.48 to 1. Runs of two settings with one seed
    share weights, order and split and are paired; where no two seeds are shared, each run meets each,
    and the interval is that of as many pairs as the smaller side has runs, for the variance is at most
    theirs (Birnbaum and Klose 1957).

    Args:
        a: Value by seed.
        b: The same of the other.
        sign: 1 where more is better, -1 where less is.
    """
    shared = sorted(a.keys() & b.keys())
    if len(shared) >= 2 or (shared and len(a) == len(b) == 1):
        meetings = [sign * (a[seed] - b[seed]) for seed in shared]
        pairs, paired = len(shared), True
    else:
        meetings = [sign * (x - y) for x in a.values() for y in b.values()]
        pairs, paired = min(len(a), len(b)), False
    if not meetings:
        return None
    value = sum((m > 0) + (m == 0) / 2 for m in meetings) / len(meetings)
    low, high = _interval(value * pairs, pairs)
    return Probability(value, low, high, pairs, paired)


def values_by_seed(setting: Setting, metric: str) -> dict[str, float]:
    """Returns a metric of the runs that finished, by seed."""
    return {
        run.settings.get(SEED, run.key): run.metrics[metric]
        for run in setting.runs
        if run.outcome == Outcome.FINISHED and is_finite(run.metrics.get(metric))
    }


def _interval(wins: float, pairs: int) -> tuple[float, float]:
    from statsmodels.stats.proportion import proportion_confint

    low, high = proportion_confint(wins, pairs, alpha=1 - LEVEL, method="beta")
    return float(low), float(high)
