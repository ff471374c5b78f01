"""The report of a sweep: the answer, the table and the figures, in its folder."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sweeps.analysis.ranking import compare
from sweeps.files import replace_json, replace_text

if TYPE_CHECKING:
    from pathlib import Path

    from sweeps.runs.paths import SweepPaths
    from sweeps.runs.results import Collection


log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ReportSummary:
    """What a report says.

    Attributes:
        lines: The answer in words.
        note: The answer and the table in Markdown, for the parent run's description.
        files: What was written: the report, its figures, the note.
    """

    lines: tuple[str, ...]
    note: str
    files: tuple[Path, ...]


def write_report(paths: SweepPaths, collection: Collection) -> ReportSummary | None:
    """Writes the report of a sweep into its folder, from the runs that were read there.

    Training is done when this is called, so nothing here may make the sweep fail: what goes wrong
    is said in a warning.

    Returns:
        What it says, or None where it could not be written.
    """
    try:
        return _write_report(paths, collection)
    except Exception as error:
        log.warning(
            "The report could not be written (%s: %s). The runs are complete; try it again with:"
            " python -m sweeps.compare %s --html report.html",
            type(error).__name__,
            error,
            paths.folder.name,
        )
        log.debug("The report could not be written", exc_info=True)
        return None


def _write_report(paths: SweepPaths, collection: Collection) -> ReportSummary:
    from sweeps.analysis.answer import answers
    from sweeps.analysis.html import html_report
    from sweeps.analysis.measure_figures import pictures
    from sweeps.analysis.measure_tables import points
    from sweeps.analysis.measures import measure
    from sweeps.analysis.tables import markdown

    comparison = compare(collection)
    measures = measure(comparison)
    drawn = pictures(comparison, measures)
    report = html_report(
        comparison, drawn, measures=measures, title=paths.folder.name, beside=paths.folder
    )
    replace_json(paths.measures, {"points": points(measures)})
    note = markdown(comparison)
    files = [paths.report, paths.note]
    paths.figures.mkdir(exist_ok=True)
    for number, part in enumerate(drawn, start=1):
        for figure in part:
            prefix = f"{number}_" if len(drawn) > 1 else ""
            files.append(paths.figures / f"{prefix}{figure.name}.svg")
            replace_text(files[-1], figure.as_file())
    replace_text(paths.report, report)
    replace_text(paths.note, note)
    lines = tuple(line for answer in answers(comparison) for line in answer.lines)
    return ReportSummary(lines, note, tuple(files))
