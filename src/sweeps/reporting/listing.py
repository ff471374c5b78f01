"""The ranking as text: for a terminal with a chart, Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

from sweeps.reporting.answer import answers, show_estimate, show_p
from sweeps.results import is_finite

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sweeps.reporting.ranking import Comparison, Part, Setting

ROWS_ON_TERMINAL = 40
ROWS_IN_NOTE = 30
CHART_WIDTH = 24


def outcomes(setting: Setting) -> str:
    """Returns how the runs of a setting ended, such as '2 finished, 1 diverged'."""
    counts = Counter(run.outcome for run in setting.runs)
    if set(counts) == {"finished"}:
        return "finished"
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


def terminal(comparison: Comparison) -> str:
    """Returns the answer, the ranking and a compact chart for a terminal."""
    blocks = []
    if comparison.notices:
        blocks.append("\n".join(_visible(notice) for notice in comparison.notices))
    for answer, part in zip(answers(comparison), comparison.parts, strict=True):
        lines = [f"{answer.about}:"] if answer.about else []
        lines += [_visible(line) for line in answer.lines]
        for command in answer.commands:
            lines += [f"  {command.purpose}:", f"    {_visible(command.line)}"]
        blocks += ["\n".join(lines), _terminal_table(part)]
    return "\n\n".join(block for block in blocks if block)


def markdown(comparison: Comparison) -> str:
    """Returns the answer and the ranking in Markdown, best first, long tables cut."""
    blocks = [f"> {_markdown(notice)}" for notice in comparison.notices]
    for answer, part in zip(answers(comparison), comparison.parts, strict=True):
        if answer.about:
            blocks.append(f"**{_markdown(answer.about)}**")
        blocks.append("\n".join(f"- {_markdown(line)}" for line in answer.lines))
        blocks += [f"{c.purpose}:\n\n```\n{_visible(c.line)}\n```" for c in answer.commands]
        titles, rows = table(part)
        shown = [titles, ["---"] * len(titles), *rows[:ROWS_IN_NOTE]]
        blocks.append("\n".join(f"| {' | '.join(map(_markdown, row))} |" for row in shown))
        if len(rows) > ROWS_IN_NOTE:
            blocks.append(f"and {len(rows) - ROWS_IN_NOTE} more in the report")
    return "\n\n".join(blocks) + "\n"


def as_csv(comparison: Comparison) -> str:
    """Returns one line a setting with full precision."""
    axes = list(dict.fromkeys(axis for part in comparison.parts for axis in part.axes))
    file = io.StringIO()
    writer = csv.DictWriter(
        file,
        ["part", "rank", *axes, *_NUMBERS, "finished", "diverged", "failed", "other"],
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


def as_json(comparison: Comparison) -> str:
    """Returns everything for scripts: answers, commands, notices and every setting with its runs."""
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
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


_NUMBERS = ("objective", "mean", "low", "high", "n", "test_mean", "p", "seconds")
_COUNTED = ("finished", "diverged", "failed")


def _records(comparison: Comparison) -> list[dict[str, Any]]:
    return [
        {
            "part": number,
            "rank": int(place) if place != "-" else None,
            "settings": dict(setting.settings),
            "objective": part.objective,
            "mean": setting.result.mean if setting.result else None,
            "low": setting.result.low if setting.result and setting.result.half else None,
            "high": setting.result.high if setting.result and setting.result.half else None,
            "n": setting.result.n if setting.result else 0,
            "test_mean": setting.test.mean if setting.test else None,
            "p": setting.against_best.p if setting.against_best else None,
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


def _terminal_table(part: Part) -> str:
    from rich.bar import Bar
    from rich.console import Console
    from rich.table import Table

    titles, rows = table(part)
    low, high = _span(part.settings)
    grid = Table(box=None, header_style="bold", pad_edge=False)
    for title in titles[:3]:
        grid.add_column(title, justify="left" if title == "setting" else "right", no_wrap=True)
    grid.add_column(f"{low:.3g} .. {high:.3g}" if high > low else "", no_wrap=True)
    for title in titles[3:]:
        grid.add_column(title, justify="right" if title in titles[3:5] else "left", no_wrap=True)
    for row, setting in zip(rows[:ROWS_ON_TERMINAL], part.settings, strict=False):
        cells = [_visible(cell) for cell in row]
        chart: Bar | str = ""
        if setting.result is not None and high > low:
            start, end = setting.result.low - low, setting.result.high - low
            least = (high - low) / CHART_WIDTH
            middle = setting.result.mean - low
            start, end = min(start, middle - least / 2), max(end, middle + least / 2)
            chart = Bar(high - low, max(start, 0), min(end, high - low), width=CHART_WIDTH)
        grid.add_row(*cells[:3], chart, *cells[3:])
    console = Console(file=io.StringIO(), width=240, markup=False, highlight=False)
    console.print(grid)
    text = str(console.file.getvalue())  # type: ignore[attr-defined]
    lines = [line.rstrip() for line in text.splitlines()]
    if len(rows) > ROWS_ON_TERMINAL:
        lines.append(f"and {len(rows) - ROWS_ON_TERMINAL} more: --html FILE or --csv shows all")
    return "\n".join(lines)


def _span(settings: Sequence[Setting]) -> tuple[float, float]:
    found = [s.result for s in settings if s.result is not None]
    if not found:
        return 0.0, 0.0
    return min(r.mean for r in found), max(r.mean for r in found)


def _visible(text: str) -> str:
    """Returns text without what would steer a terminal."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f]", "?", text)


def _markdown(text: str) -> str:
    escaped = re.sub(r"([\\`*_{}\[\]<>|!~])", r"\\\1", _visible(text))
    return re.sub(r"(?<=\w)\\_(?=\w)", "_", escaped)
