"""The figures of the measures: the expected best after k trials, and the performance profile."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from sweeps.analysis.figures import (
    MOST_LINES,
    STYLE,
    Figure,
    _canvas,
    _legend,
    _look,
    _short,
    _svg,
    figures,
)
from sweeps.analysis.workloads import SLOWEST, share_solved

if TYPE_CHECKING:
    from sweeps.analysis.measures import Measures, PartMeasures
    from sweeps.analysis.ranking import Comparison
    from sweeps.analysis.workloads import Suite


def pictures(comparison: Comparison, measures: Measures) -> list[list[Figure]]:
    """Returns the figures of each part, those of its measures last."""
    found = []
    for part, measured in zip(comparison.parts, measures.parts, strict=True):
        expected = expected_best_figure(measured, part.objective)
        found.append([*figures(part), *([expected] if expected else [])])
    return found


def expected_best_figure(part: PartMeasures, objective: str) -> Figure | None:
    """Draws the expected best of each value of the axis, where at least two have a curve."""
    from matplotlib import rc_context
    from matplotlib.ticker import MaxNLocator

    rows = [row for row in part.rows if row.expected][:MOST_LINES]
    if len(rows) < 2 or max(len(row.expected) for row in rows) < 2:
        return None
    with rc_context(STYLE):  # type: ignore[arg-type]
        canvas, (panel,) = _canvas()
        for place, row in enumerate(rows):
            known = [(k, v) for k, v in enumerate(row.expected, start=1) if math.isfinite(v)]
            every = max(1, len(known) // 10)
            x, y = [k for k, _ in known], [v for _, v in known]
            panel.plot(x, y, **_look(place), markevery=every, label=_short(row.contender.name))
        panel.set_xlabel("trials")
        panel.set_ylabel(f"expected best {objective}")
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        _legend(panel)
        caption = (
            "The best that so many of the tried settings, drawn at random, are expected to hold"
            " (Tang et al. 2020); a setting that diverged is worth an untrained model."
        )
        return Figure("expected_best", caption, _svg(canvas))


def profile_figure(suite: Suite) -> Figure:
    """Draws for each value of the axis the share of workloads that it solves within a time."""
    from matplotlib import rc_context

    with rc_context(STYLE):  # type: ignore[arg-type]
        canvas, (panel,) = _canvas()
        for place, value in enumerate(suite.values[:MOST_LINES]):
            ratios = suite.ratios(value)
            x = sorted({1.0, SLOWEST, *(r for r in ratios if r < SLOWEST)})
            y = [share_solved(ratios, within) for within in x]
            name = f"{_short(value)}, score {suite.score(value):.3f}"
            panel.plot(x, y, **_look(place), drawstyle="steps-post", label=name)
        panel.set_xlabel("steps to the target, as a multiple of the fastest")
        panel.set_ylabel("share of the workloads")
        panel.set_ylim(-0.03, 1.03)
        panel.legend()
        caption = (
            f"Performance profile over {len(suite.workloads)} workloads; AlgoPerf's score is the area"
            " below it from 1 to 4, divided by 3."
        )
        return Figure("performance_profile", caption, _svg(canvas))
