"""How long a training takes to come to a target: in epochs, in optimizer steps and in seconds."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from sweeps.analysis.axes import number
from sweeps.analysis.training_time import training_seconds
from sweeps.errors import BadInputError
from sweeps.runs.outcome import Outcome
from sweeps.runs.results import curves
from sweeps.training.objective import maximised

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sweeps.analysis.contenders import Contender
    from sweeps.analysis.ranking import Setting
    from sweeps.runs.metrics import Point
    from sweeps.runs.results import RunResult


class Reached(NamedTuple):
    """When a target was reached; infinite where it was missed."""

    epochs: float
    steps: float
    seconds: float


MISSED = Reached(math.inf, math.inf, math.inf)


@dataclass(frozen=True)
class Target:
    """A value of a metric that a training is to come to."""

    metric: str
    value: float

    def met_by(self, value: float) -> bool:
        """Returns whether a value is as good as the target."""
        return value >= self.value if maximised(self.metric) else value <= self.value

    def __str__(self) -> str:
        return f"{self.metric} {self.value:.4g}"


def read_target(typed: str) -> tuple[str, float]:
    """Reads 'val_accuracy=0.95', or '0.95', which is about the objective.

    Returns:
        The metric, '' for the objective, and the value.

    Raises:
        BadInputError: It is no finite number, or no accuracy where one is asked for.
    """
    metric, equals, text = typed.rpartition("=")
    value = number(text)
    if value is None or (equals and not metric):
        raise BadInputError(
            f"--target {typed} must be a number or METRIC=NUMBER, such as --target 0.95 or"
            " --target val_loss=0.3."
        )
    check_reachable(metric, value)
    return metric, value


def check_reachable(metric: str, value: float) -> None:
    """Refuses an accuracy in percent."""
    if maximised(metric) and not 0 < value <= 1:
        hint = f" Type --target {value / 100:g} for {value:g} %." if 1 < value <= 100 else ""
        raise BadInputError(f"--target {value:g} is no {metric}, which lies in 0..1.{hint}")


def usual_target(found: Sequence[Contender], objective: str) -> Target | None:
    """Returns the target where none is given: what the best of the others than the winner comes to.

    That is the median over its seeds of their best epochs. For an even number of seeds it is the worse
    of the two in the middle: then more than half of the seeds reach it, and its own median time is
    finite.

    Args:
        found: The contenders, best first.
        objective: The metric that ranks.
    """
    median = statistics.median_low if maximised(objective) else statistics.median_high
    bests = [contender.best for contender in found]
    levels = [median(best.values.values()) for best in bests if best is not None]
    if len(levels) < 2:
        return None
    return Target(objective, max(levels[1:]) if maximised(objective) else min(levels[1:]))


def time_to_target(setting: Setting, target: Target) -> Reached | None:
    """Returns the median over the seeds of a setting; None where no run can tell.

    A miss is infinite and stays infinite: where half of the seeds miss, so does the median.
    """
    times = times_by_run(setting.runs, target)
    return median_time(times.values()) if times else None


def times_by_run(runs: Iterable[RunResult], target: Target) -> dict[str, Reached]:
    """Returns when each run first reached a target, by its key.

    Runs that are under way, crashed or were interrupted without having reached it say nothing. One
    that diverged or was stopped early has missed what it had not reached by then.
    """
    runs = list(runs)
    found = curves(runs, target.metric)
    lengths = _epoch_lengths(runs, found)
    times = {}
    for run in runs:
        reached = _first(run, found.get(run.key, []), target, lengths.get(_batches(run)))
        if reached is not MISSED or run.outcome.is_well:
            times[run.key] = reached
    return times


def median_time(times: Iterable[Reached]) -> Reached:
    """Returns the median of each unit."""
    return Reached(*map(statistics.median, zip(*times, strict=True)))


def _first(
    run: RunResult, points: Sequence[Point], target: Target, steps_per_epoch: float | None
) -> Reached:
    place = next((i for i, point in enumerate(points) if target.met_by(point.value)), None)
    if place is None:
        return MISSED
    step = points[place].step
    epochs = step / steps_per_epoch if steps_per_epoch else math.nan
    return Reached(epochs, step, training_seconds(run, points)[place])


def _epoch_lengths(
    runs: Sequence[RunResult], found: Mapping[str, Sequence[Point]]
) -> dict[str, float]:
    """Returns the steps of an epoch by batch size: a run that finished ends with one."""
    return {
        _batches(run): found[run.key][-1].step / run.epochs_done
        for run in runs
        if run.outcome == Outcome.FINISHED and run.epochs_done and run.key in found
    }


def _batches(run: RunResult) -> str:
    return run.settings.get("batch_size", "")
