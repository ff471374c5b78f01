"""How much a learning rate that is not the best one costs, over the range that was tried."""

from __future__ import annotations

import itertools
import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sweeps.analysis.axes import number
from sweeps.runs.metrics import is_finite
from sweeps.runs.outcome import Outcome
from sweeps.training.objective import maximised

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sweeps.analysis.contenders import Contender
    from sweeps.analysis.ranking import Part, Setting
    from sweeps.runs.results import RunResult


RATE = "lr"


@dataclass(frozen=True)
class LrSensitivity:
    """The sensitivity and the range it is about.

    Attributes:
        value: In units of the loss; 0 where every rate is as good as the best.
        low: The smallest rate.
        high: The largest rate.
        rates: How many there are.
    """

    value: float
    low: float
    high: float
    rates: int


def sensitivity(rates: Sequence[float], losses: Sequence[float], start: float) -> float:
    """Returns the mean over log(rate) of min(loss, loss at the start), above the best loss.

    Wortsman et al. 2023, "Small-scale proxies for large-scale Transformer training instabilities",
    section 2.2, https://arxiv.org/abs/2309.14322: E over the rates of min(loss, loss at
    initialization) - best loss, on rates evenly spaced in their logarithm. Here the expectation is the
    integral of the line through the points, divided by the width. So a point that is added on that
    line changes nothing: what counts is the curve and its range, not where the grid is dense.

    Args:
        rates: More than 0 and at least two different ones, ascending.
        losses: One for each rate; not finite where the training diverged, which counts as `start`.
        start: The loss before the first step.
    """
    kept = [min(loss, start) if math.isfinite(loss) else start for loss in losses]
    places = [math.log(rate) for rate in rates]
    area = math.fsum(
        (right - left) * (a + b) / 2
        for (left, a), (right, b) in itertools.pairwise(zip(places, kept, strict=True))
    )
    return area / (places[-1] - places[0]) - min(kept)


def lr_sensitivity(contender: Contender, part: Part) -> LrSensitivity | None:
    """Returns the sensitivity of a contender, everything but the rate as in its best setting.

    The loss of a setting is the mean over its seeds at their best epochs, on the images that choose.
    None where there is no second rate, or where the runs do not know their loss at the start.
    """
    best = contender.best
    start = start_loss(run for setting in contender.settings for run in setting.runs)
    if best is None or start is None or RATE not in part.axes:
        return None
    rest = [axis for axis in part.axes if axis != RATE]
    metric = f"{part.objective.partition('_')[0]}_loss"
    found: dict[float, float] = {}
    for setting in contender.settings:
        rate = number(setting.settings[RATE])
        same = all(setting.settings[axis] == best.settings[axis] for axis in rest)
        loss = _mean_loss(setting, metric, start)
        if same and rate is not None and rate > 0 and loss is not None:
            found[rate] = loss
    if len(found) < 2:
        return None
    rates = sorted(found)
    value = sensitivity(rates, [found[rate] for rate in rates], start)
    return LrSensitivity(value, rates[0], rates[-1], len(rates))


def start_loss(runs: Iterable[RunResult]) -> float | None:
    """Returns the loss of the first batch before the first step, the median over runs that know it."""
    known = [run.start_loss for run in runs if run.start_loss is not None]
    finite = [loss for loss in known if is_finite(loss)]
    return statistics.median(finite) if finite else None


def untrained(objective: str, runs: Sequence[RunResult]) -> float | None:
    """Returns what a model is worth before its first step: an accuracy by chance, or the first loss."""
    if not maximised(objective):
        return start_loss(runs)
    classes = {run.data.get("classes", "") for run in runs}
    counts = [int(count) for count in classes if count.isdecimal() and int(count)]
    return 1 / min(counts) if counts else None


def _mean_loss(setting: Setting, metric: str, start: float) -> float | None:
    losses = []
    for run in setting.runs:
        loss = run.metrics.get(metric)
        if run.outcome == Outcome.DIVERGED:
            losses.append(start)
        elif run.outcome == Outcome.FINISHED and loss is not None:
            losses.append(min(loss, start) if is_finite(loss) else start)
    return statistics.fmean(losses) if losses else None
