"""Over several workloads: performance profiles and the score that AlgoPerf gives to a submission."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sweeps.analysis.axes import ABSENT, SEED
from sweeps.analysis.contenders import contenders, value_of
from sweeps.analysis.time_to_target import Reached, Target, median_time, times_by_run, usual_target

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sweeps.analysis.contenders import Contender
    from sweeps.analysis.ranking import Comparison, Part, Setting


WORKLOAD_KEYS = ("data", "model")
SLOWEST = 4.0
"""A training that takes more than so many times as long as the fastest has missed."""


@dataclass(frozen=True)
class Workload:
    """One problem that every contender was trained on.

    Attributes:
        name: Its data and model, such as 'digits mlp'.
        target: What a training is to come to; None where only one contender has finished.
        entrants: The contenders, best first.
        times: When each contender reached the target, by its value.
    """

    name: str
    target: Target | None
    entrants: tuple[Contender, ...]
    times: Mapping[str, Reached]


@dataclass(frozen=True)
class Suite:
    """All workloads.

    Attributes:
        axis: Whose values are compared.
        keys: The settings that tell workloads apart.
        workloads: In the order of their names.
    """

    axis: str
    keys: tuple[str, ...]
    workloads: tuple[Workload, ...]

    @property
    def values(self) -> list[str]:
        """The values of the axis that are in any workload, the best score in steps first."""
        known = {value for workload in self.workloads for value in workload.times}
        scores = {value: self.score(value) for value in known}
        return sorted(known, key=lambda value: (-scores[value], value))

    def ratios(self, value: str, unit: str = "steps") -> list[float]:
        """Returns how many times as long as the fastest a value took on each workload."""
        found = []
        for workload in self.workloads:
            times = {name: getattr(time, unit) for name, time in workload.times.items()}
            found.append(ratio(times.get(value, math.inf), times.values()))
        return found

    def score(self, value: str, unit: str = "steps") -> float:
        """Returns AlgoPerf's score of a value, see `score`."""
        return score(self.ratios(value, unit))


def ratio(time: float, times: Iterable[float]) -> float:
    """Returns a time by the shortest; infinite where it is a miss, or 0 / 0."""
    fastest = min(times, default=math.inf)
    if not math.isfinite(time) or not math.isfinite(fastest):
        return math.inf
    return time / fastest if fastest else (1.0 if time == 0 else math.inf)


def share_solved(ratios: Sequence[float], within: float) -> float:
    """Returns the performance profile at one place: the share of workloads within so many times.

    Dolan and More 2002, https://arxiv.org/abs/cs/0102001.
    """
    return sum(r <= within for r in ratios) / len(ratios)


def score(ratios: Sequence[float]) -> float:
    """Returns the integral of the performance profile from 1 to 4, divided by 3.

    Dahl et al. 2023, "Benchmarking Neural Network Training Algorithms",
    https://arxiv.org/abs/2306.07179. The profile is a staircase, so its integral is exact here;
    AlgoPerf's own takes 100 places and differs by less than 0.01.
    """
    return math.fsum(max(SLOWEST - r, 0.0) for r in ratios) / (SLOWEST - 1) / len(ratios)


def find_suite(
    comparison: Comparison, axis: str, keys: Sequence[str], target: Target | None = None
) -> Suite:
    """Returns the workloads of a comparison.

    As in AlgoPerf each seed is a study, in which the setting that comes to the target first counts,
    and the median over the studies is the contender's time.

    Args:
        comparison: Of any number of parts.
        axis: Whose values are compared.
        keys: The settings that tell workloads apart.
        target: For all workloads; None takes that of each, see `usual_target`.
    """
    workloads = []
    for part in comparison.parts:
        groups: dict[str, list[Setting]] = defaultdict(list)
        for setting in part.settings:
            if value_of(setting, axis) != ABSENT:
                chosen = [value_of(setting, key) for key in keys]
                groups[" ".join(value for value in chosen if value != ABSENT)].append(setting)
        for name, settings in groups.items():
            workloads.append(_workload(name, part, contenders(settings, axis), target))
    workloads.sort(key=lambda workload: workload.name)
    return Suite(axis, tuple(keys), tuple(_named_apart(workloads)))


def _workload(name: str, part: Part, entrants: list[Contender], target: Target | None) -> Workload:
    aim = target or usual_target(entrants, part.objective)
    times = {entrant.value: _studied(entrant, aim) for entrant in entrants} if aim else {}
    return Workload(name, aim, tuple(entrants), times)


def _studied(entrant: Contender, target: Target) -> Reached:
    """Returns the median over seeds of the time of the setting that was first."""
    runs = [run for setting in entrant.settings for run in setting.runs]
    studies: dict[str, list[Reached]] = defaultdict(list)
    times = times_by_run(runs, target)
    for run in runs:
        if run.key in times:
            studies[run.settings.get(SEED, "")].append(times[run.key])
    if not studies:
        return Reached(math.inf, math.inf, math.inf)
    return median_time(Reached(*map(min, zip(*tried, strict=True))) for tried in studies.values())


def _named_apart(workloads: Sequence[Workload]) -> Iterable[Workload]:
    """Numbers workloads of one name, which differ in something else, such as the data's digest."""
    seen: dict[str, int] = defaultdict(int)
    for workload in workloads:
        seen[workload.name] += 1
        again = seen[workload.name]
        name = workload.name if again == 1 else f"{workload.name} {again}"
        yield Workload(name, workload.target, workload.entrants, workload.times)
