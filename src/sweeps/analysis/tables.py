"""The ranking as text: for a terminal with a chart, Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from typing import TYPE_CHECKING, Any

from sweeps.analysis import measure_tables
from sweeps.analysis.answer import answers
from sweeps.analysis.format import (
    markdown_table,
    markdown_text,
    show_estimate,
    show_p,
    terminal_lines,
    visible,
)
from sweeps.runs.metrics import is_finite
from sweeps.runs.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.bar import Bar

    from sweeps.analysis.measures import Measures
    from sweeps.analysis.ranking import Comparison, Part, Setting
    from sweeps.analysis.statistics import Estimate


ROWS_ON_TERMINAL = 40
ROWS_IN_NOTE = 30
CHART_WIDTH = 24


def outcomes(setting: Setting) -> str:
    """Returns how the runs of a setting ended, such as '2 finished, 1 diverged'."""
    counts = Counter(run.ending for run in setting.runs)
    if set(counts) == {Outcome.FINISHED} or (
        len(setting.runs) == 1 and setting.count(Outcome.PRUNED)
    ):
        return next(iter(counts))
    return ", ".join(f"{counts[name]} {name}" for name in sorted(counts))


def places(part: Part) -> list[str]:
    """Returns the place of each setting in words; only whole settings have one."""
    return [str(place) if s.whole else "-" for place, s in enumerate(part.settings, start=1)]


def behind(setting: Setting) -> str:
    """Returns whether a setting is a tie with the best or clearly behind it."""
    test = setting.against_best
    if test is None or test.p is None:
        return ""
    return f"{'behind' if test.clear else 'tie'}, {show_p(test.p)}"


def table(part: Part) -> tuple[list[str], list[list[str]]]:
    """Returns the titles and rows of the ranking as text."""
    titles = ["#", "setting", part.objective or "objective", part.test_metric, "n"]
    if part.test_metric == part.objective:
        titles[3] = f"{part.test_metric} "
    rows = [
        [
            place,
            setting.label,
            show_estimate(setting.result),
            show_estimate(setting.test),
            str(setting.result.n if setting.result else 0),
            behind(setting),
            f"{setting.seconds:.1f}",
            outcomes(setting),
        ]
        for place, setting in zip(places(part), part.settings, strict=True)
    ]
    return [*titles, "against the best", "seconds", "outcome"], rows


def terminal(comparison: Comparison, measures: Measures | None = None) -> str:
    """Returns the answer, the ranking with a compact chart and the measures for a terminal."""
    blocks = []
    if comparison.notices:
        blocks.append("\n".join(visible(notice) for notice in comparison.notices))
    of_parts = measures.parts if measures is not None else (None,) * len(comparison.parts)
    for answer, part, measured in zip(answers(comparison), comparison.parts, of_parts, strict=True):
        lines = [f"{answer.about}:"] if answer.about else []
        lines += [visible(line) for line in answer.lines]
        for command in answer.commands:
            lines += [f"  {command.purpose}:", f"    {visible(command.line)}"]
        blocks += ["\n".join(lines), _terminal_table(part)]
        blocks += [measure_tables.terminal(measured)] if measured is not None else []
    if measures is not None and measures.suite is not None:
        blocks.append(measure_tables.suite_terminal(measures.suite))
    return "\n\n".join(block for block in blocks if block)


def markdown(comparison: Comparison) -> str:
    """Returns the answer and the ranking in Markdown, best first, long tables cut."""
    blocks = [f"> {markdown_text(notice)}" for notice in comparison.notices]
    for answer, part in zip(answers(comparison), comparison.parts, strict=True):
        if answer.about:
            blocks.append(f"**{markdown_text(answer.about)}**")
        blocks.append("\n".join(f"- {markdown_text(line)}" for line in answer.lines))
        blocks += [f"{c.purpose}:\n\n```\n{visible(c.line)}\n```" for c in answer.commands]
        titles, rows = table(part)
        blocks.append(markdown_table(titles, rows[:ROWS_IN_NOTE]))
        if len(rows) > ROWS_IN_NOTE:
            blocks.append(f"and {len(rows) - ROWS_IN_NOTE} more in the report")
    return "\n\n".join(blocks) + "\n"


def as_csv(comparison: Comparison) -> str:
    """Returns one line a setting with full precision."""
    axes = list(dict.fromkeys(axis for part in comparison.parts for axis in part.axes))
    file = io.StringIO()
    writer = csv.DictWriter(
        file,
        ["part", "rank", *axes, *_NUMBERS, *_COUNTED, "other"],
        lineterminator="\n",
    )
    writer.writeheader()
    for record in _records(comparison):
        counts = record.pop("outcomes")
        rest = sum(counts.values()) - sum(counts.get(k, 0) for k in _COUNTED)
        row = {**record.pop("settings"), **{k: counts.get(k, 0) for k in _COUNTED}, "other": rest}
        record.pop("runs")
        writer.writerow({**record, **row})
    return file.getvalue()


def as_json(comparison: Comparison, measures: Measures | None = None) -> str:
    """Returns everything for scripts: answers, commands, notices, every setting and the measures."""
    said = [
        {
            "about": answer.about,
            "objective": part.objective,
            "axes": part.axes,
            "lines": answer.lines,
            "commands": [{"purpose": c.purpose, "line": c.line} for c in answer.commands],
        }
        for answer, part in zip(answers(comparison), comparison.parts, strict=True)
    ]
    content = {"answers": said, "notices": comparison.notices, "ranking": _records(comparison)}
    content |= measure_tables.as_json(measures) if measures is not None else {}
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


_NUMBERS = (
    *("objective", "mean", "low", "high", "n", "test_mean", "p"),
    *("difference", "test_low", "test_high", "seconds"),
)
_WORDS = (1, 3, 6, 7, 8)
"""Columns on a terminal that hold words or a chart."""
_COUNTED = (Outcome.FINISHED, Outcome.DIVERGED, Outcome.PRUNED, Outcome.FAILED)


def _records(comparison: Comparison) -> list[dict[str, Any]]:
    return [
        {
            "part": number,
            "rank": int(place) if place != "-" else None,
            "settings": dict(setting.settings),
            "objective": part.objective,
            **_interval("", setting.result),
            "n": setting.result.n if setting.result else 0,
            **_interval("test_", setting.test),
            "p": setting.against_best.p if setting.against_best else None,
            "difference": setting.against_best.difference if setting.against_best else None,
            "seconds": setting.seconds,
            "outcomes": dict(Counter(run.outcome for run in setting.runs)),
            "runs": [
                {
                    "name": run.name,
                    "outcome": run.outcome,
                    "value": run.value if is_finite(run.value) else None,
                    "best_epoch": run.best_epoch,
                    "folder": str(run.folder) if run.folder else None,
                    "mlflow_run_id": run.run_id,
                }
                for run in setting.runs
            ],
        }
        for number, part in enumerate(comparison.parts, start=1)
        for place, setting in zip(places(part), part.settings, strict=True)
    ]


def _interval(prefix: str, found: Estimate | None) -> dict[str, float | None]:
    repeated = found is not None and found.half is not None
    return {
        f"{prefix}mean": found.mean if found else None,
        f"{prefix}low": found.low if found and repeated else None,
        f"{prefix}high": found.high if found and repeated else None,
    }


def _terminal_table(part: Part) -> str:
    titles, rows = table(part)
    low, high = _span(part.settings)
    charted = [
        [*row[:3], _bar(setting, low, high), *row[3:]]
        for row, setting in zip(rows[:ROWS_ON_TERMINAL], part.settings, strict=False)
    ]
    span = f"{low:.3g} .. {high:.3g}" if high > low else ""
    lines = terminal_lines([*titles[:3], span, *titles[3:]], charted, left=_WORDS)
    if len(rows) > ROWS_ON_TERMINAL:
        lines.append(f"and {len(rows) - ROWS_ON_TERMINAL} more: --html FILE or --csv shows all")
    return "\n".join(lines)


def _bar(setting: Setting, low: float, high: float) -> Bar | str:
    from rich.bar import Bar

    if setting.result is None or high <= low:
        return ""
    least, middle = (high - low) / CHART_WIDTH, setting.result.mean - low
    start = min(setting.result.low - low, middle - least / 2)
    end = max(setting.result.high - low, middle + least / 2)
    return Bar(high - low, max(start, 0), min(end, high - low), width=CHART_WIDTH)


def _span(settings: Sequence[Setting]) -> tuple[float, float]:
    found = [s.result for s in settings if s.result is not None]
    if not found:
        return 0.0, 0.0
    return min(r.mean for r in found), max(r.mean for r in found)
