"""How sure a mean is: intervals over seeds, and over seeds and the finite set they were measured on."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


LEVEL = 0.95
PRECISION = 1e-6
"""Relative: what float32 leaves of a loss that was summed over a data set."""


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with its 95 % interval, which stays in the metric's range.

    Attributes:
        mean: Mean of the values.
        n: How many there are.
        deviation: Standard deviation of the values; 0 where n is 1.
        least: The metric cannot be below.
        most: The metric cannot be above.
        images: Of an accuracy to quote: on how many images it was measured.
    """

    mean: float
    n: int
    deviation: float = 0.0
    least: float = -math.inf
    most: float = math.inf
    images: int | None = None

    @property
    def half(self) -> float | None:
        """Half the width of Student's interval over seeds; None where n is 1."""
        if self.n == 1:
            return None
        return _quantile(self.n - 1) * self.deviation / math.sqrt(self.n)

    @property
    def low(self) -> float:
        """Lower end of the interval, or the value itself."""
        return max(self.mean - self._sides[0], self.least)

    @property
    def high(self) -> float:
        """Upper end of the interval, or the value itself."""
        return min(self.mean + self._sides[1], self.most)

    @property
    def _sides(self) -> tuple[float, float]:
        """How far the interval reaches below and above the mean.

        With images it is over seeds and over the choice of the images, which all seeds share: the
        two parts, t and Wilson's (1927), are added in squares (MOVER, Zou and Donner 2008).
        """
        if self.half is None:
            return 0.0, 0.0
        if self.images is None:
            return self.half, self.half
        low, high = _wilson(self.mean, self.images)
        return math.hypot(self.half, self.mean - low), math.hypot(self.half, high - self.mean)


def estimate(values: Sequence[float], *, metric: str = "", images: int | None = None) -> Estimate:
    """Returns the mean of values and what its interval needs.

    Args:
        values: One for each seed.
        metric: What they are, for its range: an accuracy lies in 0..1, a loss of positive values
            is not below 0.
        images: On how many an accuracy was measured, where its interval is to be quoted: for other
            images of the same kind, not only for other seeds on these.
    """
    accuracy = metric.endswith("accuracy")
    positive = metric.endswith(("accuracy", "loss")) and min(values) >= 0
    return Estimate(
        mean=_mean(values),
        n=len(values),
        deviation=_deviation(values) if len(values) > 1 else 0.0,
        least=0.0 if positive else -math.inf,
        most=1.0 if accuracy else math.inf,
        images=images if accuracy else None,
    )


def resolution(metric: str, data: Mapping[str, str], size: float) -> float:
    """Returns the smallest step in which a metric can differ: an image, or what float32 resolves.

    Args:
        metric: Such as val_accuracy.
        data: Sizes of the splits by name, see `RunResult.data`.
        size: How large the metric's values are.
    """
    images = measured_on(metric, data)
    step = 1 / images if images and metric.endswith("accuracy") else 0.0
    return max(step, PRECISION * abs(size))


def measured_on(metric: str, data: Mapping[str, str]) -> int | None:
    """Returns on how many images a metric was measured, or None where it is not known."""
    count = data.get(metric.partition("_")[0], "")
    return int(count) if count.isdecimal() and int(count) > 0 else None


def _deviation(values: Sequence[float]) -> float:
    mean = _mean(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


def _mean(values: Sequence[float]) -> float:
    if min(values) == max(values):
        return values[0]  # a sum and a division may miss it by its last bit
    return math.fsum(values) / len(values)


@functools.cache
def _quantile(freedom: int) -> float:
    from scipy import special  # late: it takes a fifth of a second, and ranking needs none of it

    return float(special.stdtrit(freedom, (1 + LEVEL) / 2))


def _wilson(share: float, n: int) -> tuple[float, float]:
    """Returns Wilson's interval of a share of n, which lies in 0..1."""
    z = NormalDist().inv_cdf((1 + LEVEL) / 2)
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return max(middle - half, 0.0), min(middle + half, 1.0)
