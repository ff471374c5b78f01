"""The report: one HTML file that needs nothing else, with the answer first."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeps.analysis import measure_tables
from sweeps.analysis.answer import answers
from sweeps.analysis.axes import differing, in_order
from sweeps.analysis.format import show
from sweeps.analysis.tables import table
from sweeps.runs.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sweeps.analysis.confusion import Confusion
    from sweeps.analysis.figures import Figure
    from sweeps.analysis.measures import Measures, PartMeasures
    from sweeps.analysis.ranking import Comparison, Part
    from sweeps.runs.results import RunResult


TEMPLATE = Path(__file__).with_name("report.html.j2")
MOST_VALUES = 12
MOST_CLASSES = 30
"""A larger confusion matrix fits no page; the accuracies by class still do."""


def html_report(
    comparison: Comparison,
    pictures: Sequence[Sequence[Figure]],
    *,
    measures: Measures,
    title: str,
    beside: Path,
    tracking_uri: str = "",
) -> str:
    """Returns the report of a comparison.

    Args:
        comparison: What to report.
        pictures: The figures of each part.
        measures: Of each part, and over the workloads.
        title: Names of the sweeps.
        beside: The folder the file will lie in; links to run folders start from there.
        tracking_uri: A server's address, for links to its pages.
    """
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    server = tracking_uri.rstrip("/") if tracking_uri.startswith(("http://", "https://")) else ""
    parts = [
        {
            "answer": answer,
            "figures": _shown(figures),
            "measures": _measured(measured),
            "table": table(part),
            "runs": [_run_row(run, part, beside, server) for run in part.runs],
            "run_titles": _run_titles(part),
        }
        for part, answer, figures, measured in zip(
            comparison.parts, answers(comparison), pictures, measures.parts, strict=True
        )
    ]
    return environment.from_string(TEMPLATE.read_text()).render(
        title=title,
        notices=comparison.notices,
        parts=parts,
        suite=_suite(measures),
        sweeps=comparison.sweeps,
        differences=_differences(comparison.runs),
        shared=_shared(comparison.runs),
        about=_about(comparison.runs),
        data=_data(comparison.runs),
    )


def _shown(figures: Sequence[Figure]) -> list[tuple[Any, str, bool]]:
    from markupsafe import Markup

    return [(Markup(f.svg), f.caption, f.wide) for f in figures]  # noqa: S704 - matplotlib's


def _measured(part: PartMeasures) -> dict[str, Any]:
    return {
        "title": measure_tables.title(part),
        "lines": part.lines,
        "table": measure_tables.table(part),
        "classes": _classes(part.confusion) if part.confusion else None,
    }


def _suite(measures: Measures) -> dict[str, Any] | None:
    from sweeps.analysis.measure_figures import profile_figure

    suite = measures.suite
    if suite is None:
        return None
    return {
        "title": measure_tables.suite_title(suite),
        "table": measure_tables.suite_table(suite),
        "figures": _shown([profile_figure(suite)]),
    }


def _classes(found: Confusion) -> dict[str, Any]:
    """Returns the confusion matrix with the shade of each cell, its share of the true class."""
    rows = []
    for index, (name, counts) in enumerate(zip(found.classes, found.counts, strict=True)):
        total = sum(counts) or 1
        cells = [
            (count or "", round(count / total, 3), at == index) for at, count in enumerate(counts)
        ]
        accuracy = found.accuracies[index]
        rows.append((name, cells, "-" if accuracy is None else f"{accuracy:.3f}"))
    whole = len(found.classes) <= MOST_CLASSES
    return {"names": found.classes, "rows": rows, "runs": found.runs, "whole": whole}


def _run_titles(part: Part) -> list[str]:
    return [
        "run",
        part.objective or "objective",
        "at epoch",
        part.test_metric,
        "seconds",
        "outcome",
    ]


def _run_row(run: RunResult, part: Part, beside: Path, server: str) -> dict[str, Any]:
    link = ""
    if run.folder is not None:
        link = _link_to(run.folder, beside)
    elif server and run.run_id:
        link = f"{server}/#/experiments/{run.experiment_id}/runs/{run.run_id}"
    cells = [
        show(run.value if run.outcome != Outcome.DIVERGED else None),
        str(run.best_epoch or "-"),
        show(run.metrics.get(part.test_metric)),
        f"{run.seconds:.1f}",
        run.ending,
    ]
    path = f"#/experiments/{run.experiment_id}/runs/{run.run_id}" if run.run_id else ""
    return {"name": run.name, "link": link, "path": path, "error": run.error or "", "cells": cells}


def _link_to(folder: Path, beside: Path) -> str:
    from urllib.parse import quote

    try:
        relative = os.path.relpath(folder, beside)
    except ValueError:  # another drive
        return folder.absolute().as_uri()
    return f"{quote(Path(relative).as_posix())}/"


def _differences(runs: Sequence[RunResult]) -> list[tuple[str, str]]:
    found = []
    for key in differing(runs):
        values = in_order(run.settings.get(key, "-") for run in runs)
        more = f" and {len(values) - MOST_VALUES} more" if len(values) > MOST_VALUES else ""
        found.append((key, f"{', '.join(values[:MOST_VALUES])}{more}"))
    return found


def _shared(runs: Sequence[RunResult]) -> list[tuple[str, str]]:
    if not runs:
        return []
    different = set(differing(runs))
    return sorted((k, v) for k, v in runs[0].settings.items() if k not in different)


def _about(runs: Sequence[RunResult]) -> list[tuple[str, str]]:
    keys = list(dict.fromkeys(key for run in runs for key in run.about))
    return [(key, _counted([run.about.get(key, "-") for run in runs])) for key in keys]


def _data(runs: Sequence[RunResult]) -> list[tuple[str, str]]:
    described = Counter(", ".join(f"{k} {v}" for k, v in run.data.items()) for run in runs)
    return [(f"{count} runs", text or "not recorded") for text, count in sorted(described.items())]


def _counted(values: Sequence[str]) -> str:
    counts = Counter(values)
    if len(counts) == 1:
        return values[0]
    return "; ".join(f"{value} ({count} runs)" for value, count in sorted(counts.items()))
