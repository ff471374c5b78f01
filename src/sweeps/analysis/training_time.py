"""Seconds of training at each point of a run, also where it was interrupted and continued later."""

from __future__ import annotations

import itertools
import statistics
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sweeps.runs.metrics import Point
    from sweeps.runs.results import RunResult


def training_seconds(run: RunResult, points: Sequence[Point]) -> list[float]:
    """Returns the time that was spent training before each point.

    A run that was continued knows how long it trained, `run.seconds`, and its points say when. What
    is missing between the two are the pauses. They are taken out of the longest intervals between
    points, and none of those becomes shorter than the middle one.

    Args:
        run: The run of the points.
        points: Of one metric, by step.
    """
    times = [run.started_ms, *(point.time_ms for point in points)]
    intervals = [(after - before) / 1000 for before, after in itertools.pairwise(times)]
    over = run.outcome.is_well
    paused = max(sum(intervals) - run.seconds, 0.0) if over and run.seconds else 0.0
    middle = statistics.median_low(intervals)
    for place in sorted(range(len(intervals)), key=lambda place: -intervals[place]):
        pause = min(paused, max(intervals[place] - middle, 0.0))
        intervals[place] -= pause
        paused -= pause
    return list(itertools.accumulate(intervals))
