"""The best setting against every other one, where the data has chosen which is the best.

The best of several means is too good by chance, so a test as if it had been named before the runs
finds "clear" winners among equals: in 10 to 15 % of comparisons of 8 to 12 settings. The method here:

1. **Seeds are blocks.** Where all settings have the same seeds, what a seed does to all of them
   (initial weights, split, order) is taken out: settings x seeds is a two-way layout. A setting's
   variance is what is left in its row; for the noisier ones Grubbs' (1948) unbiased estimate.
   With unequal seeds nothing is taken out, and means over unequal seeds are compared.
2. **Variances are pooled as far as they agree.** Each is drawn towards all others with the weight
   that their spread supports (moderated variances, Smyth 2004), up to full pooling where they are
   alike, and never below its own: one setting that is five times noisier must not borrow from calm
   ones. The weight is bounded by the seeds (`_most_borrowed`): two or three cannot show who is noisy.
3. **A value is a count.** Accuracies on 144 images differ by whole images, and equal differences
   have no variance. So that of rounding, step**2 / 12, is added, and the larger of two p-values
   counts: that of the seeds, and that of d coin tosses in each seed for a difference of d images, for
   at least so many changed sides (as in McNemar's test, 1947, where no image went the other way).
4. **All pairs among the r best are allowed for.** The r-th best is behind when its distance from the
   best is more than the range of r equal means would be (the studentised range: Tukey's, with
   Welch's degrees of freedom for each pair: Games and Howell 1976), and when all that rank below it
   are behind as well. So the widest range is Tukey's test of all settings, and the last step, from
   the second to the best, is one plain t-test, as it may be for a chosen best (Gutmann and Maymin
   1987). Hsu's (1984) comparisons with the best say "no better than the best of the others", which
   for equal settings is true and tells a reader nothing.

What this keeps, and what it does not, is in docs/statistics.md, from benchmarks/significance.py.
"""

from __future__ import annotations

import bisect
import itertools
import math
import sys
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

from sweeps.analysis.statistics import LEVEL

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    Array = NDArray[Any]


POWER = 0.8
MOST_SEEDS = 100
REAL_SHARE = 1 / 3
"""Of a difference that was seen and is no proof: what is chosen looks further apart than it is."""
NEARLY = 0.1
"""A p-value below it is evidence enough to name a number of seeds; of equals at most 5 % are there."""


TOSSES = 1000.0
"""Degrees of freedom of a variance that is known."""


@dataclass(frozen=True)
class BestTest:
    """The best setting against another.

    Attributes:
        difference: Mean of best minus other, so that more than 0 is better.
        p: Adjusted for the choice of the best and for all settings; None where one has one seed.
        seeds: Of the one of the two that has fewer.
        settings: How many were compared.
    """

    difference: float
    p: float | None
    seeds: int = 1
    settings: int = 2

    @property
    def clear(self) -> bool:
        """Whether the difference is more than chance at 5 %."""
        return self.p is not None and self.p < 1 - LEVEL and self.difference > 0

    def seeds_needed(self) -> int | None:
        """Returns how many seeds show the difference with a power of 80 % if `REAL_SHARE` of it is real.

        What is seen is taken from the p-value, as the normal deviate that it stands for: with few
        seeds a difference is often nearly clear because its deviation came out too small.

        Returns:
            None where the difference is clear already, where it is no evidence, and where more than
            `MOST_SEEDS` would be needed: a number would promise what it cannot keep.
        """
        if self.p is None or self.clear or self.p >= NEARLY or self.difference <= 0:
            return None
        effect = REAL_SHARE * NormalDist().inv_cdf(1 - self.p / 2) / math.sqrt(self.seeds)
        candidates = range(self.seeds + 1, MOST_SEEDS + 1)
        place = bisect.bisect_left(candidates, POWER, key=lambda n: _power(effect, n))
        return candidates[place] if place < len(candidates) else None


def compare_with_best(
    ranked: Sequence[Mapping[str, float]], *, sign: int, resolution: float = 0.0
) -> list[BestTest]:
    """Tests the first of ranked settings against each of the others, see the module.

    Args:
        ranked: Value by seed of each setting, by the mean, the best first. Settings with one seed
            can stand anywhere behind the best; they are not tested.
        sign: 1 where more is better, -1 where less is.
        resolution: The smallest step in which the values can differ.

    Returns:
        A test for each setting but the first.
    """
    means = [math.fsum(values.values()) / len(values) for values in ranked]
    found = [BestTest(sign * (means[0] - mean), None) for mean in means[1:]]
    repeated = [place for place, values in enumerate(ranked) if len(values) > 1]
    if repeated[:1] != [0] or len(repeated) < 2:
        return found
    gaps = [max(found[place - 1].difference, 0.0) for place in repeated[1:]]
    p_values = _p_values([ranked[place] for place in repeated], gaps, resolution)
    for place, p in zip(repeated[1:], p_values, strict=True):
        seeds = min(len(ranked[0]), len(ranked[place]))
        found[place - 1] = BestTest(found[place - 1].difference, p, seeds, len(repeated))
    return found


def blocked_variances(values: Array, resolution: float) -> Array:
    """Returns each setting's variance without what a seed does to all settings.

    Args:
        values: Of shape (..., settings, seeds), two or more of each.
        resolution: See `compare_with_best`.

    Returns:
        Of shape (..., settings). The larger of two estimates: the share of the row in the residual
        sum of squares, right where variances are equal, and Grubbs' (1948), right where they are not.
    """
    import numpy as np

    k, n = values.shape[-2:]
    rest = values - values.mean(-1, keepdims=True)
    rest = rest - rest.mean(-2, keepdims=True)
    squares = (rest**2).sum(-1)
    alike = squares * k / (k - 1) / (n - 1)
    if k > 2:
        total = squares.sum(-1, keepdims=True)
        grubbs = (k * (k - 1) * squares - total) / ((k - 1) * (k - 2) * (n - 1))
        alike = np.maximum(alike, grubbs)
    return np.asarray(alike + resolution**2 / 12)


def moderated(variances: Array, freedom: Array) -> tuple[Array, Array]:
    """Draws variances towards each other as far as they agree (Smyth 2004, limma's squeezeVar).

    The logarithms of k variances with d degrees of freedom spread by trigamma(d / 2) where all are
    equal; what they spread beyond it says how many degrees of freedom the others are worth.

    Args:
        variances: Of shape (..., k), above 0.
        freedom: Of shape (k,).

    Returns:
        The variances, none below its own, and their degrees of freedom, each of shape (..., k).
    """
    import numpy as np
    from scipy.special import digamma, polygamma

    k = variances.shape[-1]
    logs = np.log(variances) - digamma(freedom / 2) + np.log(freedom / 2)
    middle = logs.mean(-1, keepdims=True)
    spread = ((logs - middle) ** 2).sum(-1, keepdims=True) / (k - 1)
    beyond = spread - polygamma(1, freedom / 2).mean()
    worth = 2 * _inverse_trigamma(np.maximum(beyond, 1e-8))
    typical = np.where(
        beyond > 0,
        np.exp(middle + digamma(worth / 2) - np.log(worth / 2)),
        variances.mean(-1, keepdims=True),
    )
    worth = np.minimum(worth, _most_borrowed(freedom, k))
    drawn = (worth * typical + freedom * variances) / (worth + freedom)
    return np.maximum(drawn, variances), worth + freedom


def standard_errors(
    variances: Array, freedom: Array, counts: Array, most: float
) -> tuple[Array, Array]:
    """Returns the standard errors of the best's mean minus each other's, with Welch's freedom.

    Args:
        variances: Of shape (..., k), the best first.
        freedom: Their degrees of freedom, of the same shape.
        counts: Seeds of each setting, of shape (k,).
        most: Degrees of freedom that all runs together have.

    Returns:
        Two arrays of shape (..., k - 1).
    """
    import numpy as np

    shares = variances / counts
    best, other = shares[..., :1], shares[..., 1:]
    squares = best**2 / freedom[..., :1] + other**2 / freedom[..., 1:]
    return np.sqrt(best + other), np.minimum((best + other) ** 2 / squares, most)


def _p_values(
    settings: Sequence[Mapping[str, float]], gaps: Sequence[float], resolution: float
) -> list[float]:
    """Returns adjusted p-values of gaps between the first of ranked settings and the others."""
    import numpy as np  # late: with one seed nothing is tested

    counts = np.array([len(values) for values in settings])
    variances, freedom, most = _variances(settings, resolution)
    errors, freedoms = standard_errors(variances, freedom, counts, most)
    seeds = np.minimum(counts[0], counts[1:])
    tosses = np.sqrt(np.array(gaps) * resolution / seeds)
    own = [
        max(_tail(gap, error, rank, f), _tail(gap, toss, rank, TOSSES) if toss > error else 0.0)
        for rank, (gap, error, f, toss) in enumerate(
            zip(gaps, errors, freedoms, tosses, strict=True), start=2
        )
    ]
    # Stepping down: none is behind where one that ranks below it is not.
    return list(itertools.accumulate(reversed(own), max))[::-1]


def _tail(gap: float, error: float, rank: int, freedom: float) -> float:
    """Returns how likely the range of the `rank` best of equal settings exceeds a gap."""
    return range_tail(gap / error * math.sqrt(2), rank, float(freedom))


def _variances(
    settings: Sequence[Mapping[str, float]], resolution: float
) -> tuple[Array, Array, float]:
    """Returns moderated variances, their degrees of freedom, and those of all runs together."""
    import numpy as np

    freedom = np.array([len(values) - 1 for values in settings])
    seeds = sorted(settings[0])
    if all(values.keys() == settings[0].keys() for values in settings):
        table = np.array([[values[seed] for seed in seeds] for values in settings])
        own = blocked_variances(table, resolution)
        most = (len(settings) - 1) * (len(seeds) - 1)
    else:
        own = np.array([np.var(list(values.values()), ddof=1) for values in settings])
        own, most = own + resolution**2 / 12, int(freedom.sum())
    return *moderated(np.maximum(own, np.finfo(float).tiny), freedom), most


def _most_borrowed(freedom: Array, settings: int) -> Array:
    """Returns the most degrees of freedom that a setting may take from the others.

    By simulation: with it one setting that is five times noisier, or deviations from 0.3 to 3, stay
    at 5 % false claims for any number of seeds and settings, where full pooling has 10 to 20 %.
    """
    bound: Array = (freedom - 1) ** 2 * (settings - 2) / settings + 1e-9
    return bound


def _inverse_trigamma(values: Array) -> Array:
    """Returns x with trigamma(x) = value, by Newton's method on 1 / trigamma (Smyth 2004)."""
    import numpy as np
    from scipy.special import polygamma

    found = 0.5 + 1 / values
    for _ in range(8):
        slope = polygamma(1, found)
        found = found + slope * (1 - slope / values) / polygamma(2, found)
    return np.asarray(found)


def range_tail(quantile: float, means: int, freedom: float) -> float:
    """Returns how likely the studentised range of normal means exceeds a quantile.

    The textbook's double integral, by the trapezoidal rule in the logarithm of the deviation and in
    the largest value, in half a millisecond. `scipy.stats.studentized_range` agrees to 1e-4 for 12
    means and one degree of freedom, to 1e-6 for four or more, and takes 10 to 60 ms: seconds for
    each look at a large sweep.
    """
    import numpy as np
    from scipy.special import gammaln, ndtr

    width, half = 1 / math.sqrt(2 * freedom), freedom / 2
    log_s, step = np.linspace(-24 / freedom - 6 * width, 8 * width, 96, retstep=True)
    constant = math.log(2) + half * math.log(half) - float(gammaln(half))
    weight = np.exp(constant + freedom * log_s - half * np.exp(2 * log_s))
    largest, dz = np.linspace(-8, 8, 81, retstep=True)
    below = ndtr(largest) - ndtr(largest - quantile * np.exp(log_s)[:, None])
    density = np.exp(-(largest**2) / 2) / math.sqrt(2 * math.pi)
    inside = means * (density * below ** (means - 1)).sum(-1) * dz
    tail = float(((1 - inside) * weight).sum() * step)
    return min(max(tail, sys.float_info.epsilon), 1.0)


def _power(effect: float, n: int) -> float:
    """Returns the power of a paired t-test of n seeds; the effect is in deviations of the difference."""
    from scipy.special import nctdtr, stdtrit

    quantile = stdtrit(n - 1, (1 + LEVEL) / 2)
    return 1 - float(nctdtr(n - 1, effect * math.sqrt(n), quantile))
