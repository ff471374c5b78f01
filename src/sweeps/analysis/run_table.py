"""The table of a sweep's runs in the order of the ranking, for the terminal, Markdown and CSV."""

from __future__ import annotations

import csv
import io
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sweeps.analysis import format as forms
from sweeps.analysis.format import show
from sweeps.analysis.tables import places
from sweeps.config.identity import labels_of
from sweeps.errors import sentence
from sweeps.runs.outcome import Outcome
from sweeps.runs.paths import RunPaths

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from sweeps.analysis.ranking import Comparison, Part
    from sweeps.runs.results import RunResult


COLUMNS = ("rank", "cell", "objective", "epoch", "test", "seconds", "outcome")


@dataclass(frozen=True)
class Row:
    """One run.

    Attributes:
        place: That of its setting, the same for all its seeds; '-' where the setting cannot win.
        label: The overrides in which it differs from the others.
        run: What is known of it.
    """

    place: str
    label: str
    run: RunResult


@dataclass(frozen=True)
class Block:
    """Rows that may be ranked together: the best setting first, within a setting by seed.

    Attributes:
        about: What sets them apart from the other blocks; '' where there is one.
        objective: The metric that ranks them.
        rows: One for each run.
    """

    about: str
    objective: str
    rows: Sequence[Row]

    @property
    def beside(self) -> str:
        """The metric shown beside the objective."""
        return "test_loss" if self.objective == "test_accuracy" else "test_accuracy"

    @property
    def titles(self) -> list[str]:
        """What stands above the columns."""
        return ["#", "cell", self.objective, "at epoch", self.beside, "seconds", "outcome"]

    @property
    def texts(self) -> list[list[str]]:
        """The cells as text, in the order of `COLUMNS`."""
        return [
            [
                row.place,
                row.label,
                show(row.run.value if row.run.outcome == Outcome.FINISHED else None),
                str(row.run.best_epoch or "-"),
                show(row.run.metrics.get(self.beside)),
                f"{row.run.seconds:.1f}",
                row.run.ending,
            ]
            for row in self.rows
        ]


def blocks(comparison: Comparison, only: Collection[Path] | None = None) -> list[Block]:
    """Returns the rows of every run, a block for each part of a comparison, or one without rows.

    Args:
        comparison: The ranking.
        only: Folders of the runs that are shown; they keep the places that they have among all.
    """
    placed = [
        [
            (place, run)
            for place, run in _placed(part, comparison)
            if only is None or run.folder in only
        ]
        for part in comparison.parts
    ]
    names = iter(labels_of([run.overrides for pairs in placed for _, run in pairs]))
    found = [
        Block(
            part.about if len(comparison.parts) > 1 else "",
            part.objective,
            [Row(place, next(names) or run.name, run) for place, run in pairs],
        )
        for part, pairs in zip(comparison.parts, placed, strict=True)
        if pairs
    ]
    return found or [Block("", "objective", [])]


def _placed(part: Part, comparison: Comparison) -> list[tuple[str, RunResult]]:
    ranked = zip(places(part), part.settings, strict=True)
    counted = {run.identity for run in part.runs}
    return [
        *((place, run) for place, setting in ranked for run in setting.runs),
        *(("-", run) for run in comparison.repeated if run.identity in counted),
    ]


def terminal_table(comparison: Comparison, only: Collection[Path] | None = None) -> str:
    """Returns the table for a terminal, with the cause below for each failed run."""
    left = (COLUMNS.index("cell"), COLUMNS.index("outcome"))
    lines = []
    for block in blocks(comparison, only):
        lines += ["", f"{forms.visible(block.about)}:"] if block.about else []
        lines += forms.terminal_lines(block.titles, block.texts, left=left)
        lines += [_failure(row.run) for row in block.rows if row.run.outcome == Outcome.FAILED]
    return "\n".join(lines).lstrip("\n")


def _failure(run: RunResult) -> str:
    said = f"failed: {run.name}: {sentence(str(run.error))}"
    return f"{said} Its log: {os.path.relpath(RunPaths(run.folder).log)}" if run.folder else said


def markdown_table(comparison: Comparison) -> str:
    """Returns the table in Markdown."""
    texts = []
    for block in blocks(comparison):
        texts += [f"**{forms.markdown_text(block.about)}**"] if block.about else []
        texts.append(forms.markdown_table(block.titles, block.texts))
    return "\n\n".join(texts) + "\n"


def csv_table(comparison: Comparison) -> str:
    """Returns the table as CSV with full precision and the folder of each run."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    found = blocks(comparison)
    beside = found[0].beside
    header = [beside if column == "test" else column for column in COLUMNS]
    writer.writerow([*header, "error", "folder"])
    for block in found:
        for row, text in zip(block.rows, block.texts, strict=True):
            exact = dict(zip(COLUMNS, text, strict=True)) | {
                "objective": row.run.value,
                "test": row.run.metrics.get(beside),
                "seconds": row.run.seconds,
                "outcome": row.run.outcome,
            }
            writer.writerow([*exact.values(), row.run.error or "", row.run.folder])
    return file.getvalue()
