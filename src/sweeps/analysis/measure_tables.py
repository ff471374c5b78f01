"""The measures as text: tables for a terminal and a page, JSON, and points for a tracking store."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import TYPE_CHECKING, Any

from sweeps.analysis.format import terminal_lines, visible

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sweeps.analysis.confusion import Confusion
    from sweeps.analysis.lr_sensitivity import LrSensitivity
    from sweeps.analysis.measures import Measured, Measures, PartMeasures
    from sweeps.analysis.probability_of_improvement import Probability
    from sweeps.analysis.workloads import Suite, Workload


ROWS_ON_TERMINAL = 12
UNITS = ("epochs", "steps", "seconds")

Table = tuple[list[str], list[list[str]]]


def title(part: PartMeasures) -> str:
    """Returns what the table of a part shows."""
    to = f"; times are to {part.target}" if part.target is not None else ""
    return f"Measures of each {part.axis} at its own best{to}:"


def table(part: PartMeasures) -> Table:
    """Returns the titles and rows of a part's measures, without columns that nobody has."""
    titles = [part.axis, "trials", *(f"{unit} to target" for unit in UNITS)]
    titles += ["lr sensitivity", "P(the best beats it)"]
    rows = [
        [
            row.contender.value,
            str(row.spent.trials),
            *(_time(getattr(row.reached, unit, None)) for unit in UNITS),
            _sensitivity(row.sensitivity),
            _probability(row.beaten),
        ]
        for row in part.rows
    ]
    kept = [i for i in range(len(titles)) if i < 2 or any(row[i] != "-" for row in rows)]
    return [titles[i] for i in kept], [[row[i] for i in kept] for row in rows]


def suite_title(suite: Suite) -> str:
    """Returns what the table of a suite shows."""
    return f"Over {len(suite.workloads)} workloads, steps to the target of each:"


def suite_table(suite: Suite) -> Table:
    """Returns the titles and rows of a suite: AlgoPerf's score, and the steps on each workload."""
    titles = [suite.axis, "score", "score by seconds", *(_aim(w) for w in suite.workloads)]
    rows = [
        [
            value,
            f"{suite.score(value):.3f}",
            f"{suite.score(value, 'seconds'):.3f}",
            *(_time(w.times[value].steps if value in w.times else None) for w in suite.workloads),
        ]
        for value in suite.values
    ]
    return titles, rows


def terminal(part: PartMeasures) -> str:
    """Returns the measures of a part for a terminal; '' where there is nothing to compare."""
    titles, rows = table(part)
    if len(titles) < 3 and len(rows) < 2:
        return "\n".join(visible(line) for line in part.lines)
    lines = [visible(title(part)), *terminal_lines(titles, rows[:ROWS_ON_TERMINAL], left={0})]
    if len(rows) > ROWS_ON_TERMINAL:
        lines.append(f"and {len(rows) - ROWS_ON_TERMINAL} more: --html FILE or --json shows all")
    return "\n".join([*lines, *(visible(line) for line in part.lines)])


def suite_terminal(suite: Suite) -> str:
    """Returns the table of a suite for a terminal."""
    return "\n".join([suite_title(suite), *terminal_lines(*suite_table(suite), left={0})])


def as_json(measures: Measures) -> dict[str, Any]:
    """Returns everything for scripts; a time that is infinite is null, and `missed` says so."""
    suite = measures.suite
    return {
        "measures": [_part_json(part) for part in measures.parts],
        "workloads": None if suite is None else _suite_json(suite),
    }


def points(measures: Measures) -> list[dict[str, Any]]:
    """Returns what a tracking store shows of measures: finite numbers, with k as a curve's step."""
    found: list[tuple[str, float, int]] = []
    for number, part in enumerate(measures.parts, start=1):
        prefix = f"part{number}/" if len(measures.parts) > 1 else ""
        for row in part.rows:
            found += [(f"{prefix}{key}", value, step) for key, value, step in _row_points(row)]
    if measures.suite is not None:
        scores = ((value, measures.suite.score(value)) for value in measures.suite.values)
        found += [(f"algoperf_score/{value}", score, 0) for value, score in scores]
    return [
        {"key": re.sub(r"[^\w./ -]", "_", key), "value": value, "step": step}
        for key, value, step in found
        if math.isfinite(value)
    ]


def _time(time: float | None) -> str:
    if time is None or math.isnan(time):
        return "-"
    return "never" if math.isinf(time) else f"{time:.4g}"


def _sensitivity(found: LrSensitivity | None) -> str:
    if found is None:
        return "-"
    return f"{found.value:.3g} ({found.low:g} to {found.high:g})"


def _probability(found: Probability | None) -> str:
    if found is None:
        return "-"
    how = "" if found.paired else ", not paired"
    return f"{found.value:.2f} ({found.low:.2f} to {found.high:.2f}, n={found.pairs}{how})"


def _aim(workload: Workload) -> str:
    return f"{workload.name} to {workload.target.value:.4g}" if workload.target else workload.name


def _part_json(part: PartMeasures) -> dict[str, Any]:
    return {
        "axis": part.axis,
        "target": dataclasses.asdict(part.target) if part.target else None,
        "compared": part.compared,
        "values": [_row_json(row) for row in part.rows],
        "lines": part.lines,
        "classes": _classes_json(part.confusion) if part.confusion else None,
    }


def _row_json(row: Measured) -> dict[str, Any]:
    best = row.contender.best
    return {
        "value": row.contender.value,
        "best": dict(best.settings) if best is not None else None,
        "trials_spent": dataclasses.asdict(row.spent),
        "time_to_target": None if row.reached is None else _times_json(row.reached),
        "expected_best": [_finite(value) for value in row.expected],
        "lr_sensitivity": dataclasses.asdict(row.sensitivity) if row.sensitivity else None,
        "probability_best_beats_it": dataclasses.asdict(row.beaten)
        | {"verdict": row.beaten.verdict}
        if row.beaten
        else None,
    }


def _times_json(reached: Any) -> dict[str, Any]:
    times = {unit: _finite(getattr(reached, unit)) for unit in UNITS}
    return {**times, "missed": math.isinf(reached.steps)}


def _classes_json(found: Confusion) -> dict[str, Any]:
    return {
        "names": found.classes,
        "accuracies": found.accuracies,
        "confusion": found.counts,
        "runs": found.runs,
    }


def _suite_json(suite: Suite) -> dict[str, Any]:
    return {
        "axis": suite.axis,
        "keys": suite.keys,
        "scores": {
            value: {unit: suite.score(value, unit) for unit in UNITS} for value in suite.values
        },
        "workloads": [
            {
                "name": workload.name,
                "target": dataclasses.asdict(workload.target) if workload.target else None,
                "times": {value: _times_json(time) for value, time in workload.times.items()},
            }
            for workload in suite.workloads
        ],
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _row_points(row: Measured) -> Iterable[tuple[str, float, int]]:
    value = row.contender.value
    yield f"trials/{value}", float(row.spent.trials), 0
    if row.reached is not None:
        yield f"time_to_target_epochs/{value}", row.reached.epochs, 0
        yield f"time_to_target_seconds/{value}", row.reached.seconds, 0
    if row.sensitivity is not None:
        yield f"lr_sensitivity/{value}", row.sensitivity.value, 0
    if row.beaten is not None:
        yield f"probability_best_beats/{value}", row.beaten.value, 0
    for k, expected in enumerate(row.expected, start=1):
        yield f"expected_best/{value}", expected, k
