"""The ranked table at the end of a sweep, for the terminal, Markdown and CSV."""

from __future__ import annotations

import csv
import io
import math
import os
from typing import TYPE_CHECKING

from sweeps.errors import sentence
from sweeps.paths import RunPaths
from sweeps.records import ending
from sweeps.reporting import forms
from sweeps.reporting.words import show

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sweeps.records import RunRecord

COLUMNS = ("rank", "cell", "objective", "epoch", "test", "seconds", "outcome")

Entry = tuple["RunRecord", "Path"]


def rank(entries: Sequence[Entry]) -> list[Entry]:
    """Returns the runs, best objective first; then those pruned, diverged, unfinished and failed."""

    def key(entry: Entry) -> tuple[int, float, str]:
        record = entry[0]
        value = record.objective_value
        if record.outcome == "finished" and value is not None and math.isfinite(value):
            sign = -1 if record.objective.endswith("_accuracy") else 1
            return (0, sign * value, record.name)
        places = {"pruned": 1, "diverged": 2, "interrupted": 3}
        return (places.get(record.outcome or "", 4), 0.0, record.name)

    return sorted(entries, key=key)


def best(entries: Sequence[Entry]) -> Entry | None:
    """Returns the run that ranks first, or None where none finished."""
    ranked = rank(entries)
    return ranked[0] if ranked and ranked[0][0].outcome == "finished" else None


def cell_labels(records: Sequence[RunRecord]) -> list[str]:
    """Returns for each run the overrides in which it differs from the others."""
    short = labels([record.overrides for record in records])
    return [label or record.name for label, record in zip(short, records, strict=True)]


def labels(overrides: Sequence[Sequence[str]]) -> list[str]:
    """Returns for each list of overrides those that not all have, as a person reads them."""
    common = set.intersection(*map(set, overrides)) if len(overrides) > 1 else set()
    return [" ".join(item for item in own if item not in common) for own in overrides]


def rows(entries: Sequence[Entry]) -> list[list[str]]:
    """Returns the table's cells as text, one row a run, in the order of `COLUMNS`."""
    ranked = rank(entries)
    labels = cell_labels([record for record, _ in ranked])
    beside = _beside(entries)
    return [
        [
            str(place) if record.outcome == "finished" else "-",
            label,
            show(record.objective_value if record.outcome == "finished" else None),
            str(record.best_epoch or "-"),
            show(record.metrics.get(beside)),
            f"{record.seconds:.1f}",
            ending(record.outcome or "unfinished", record.epochs_done, record.epochs),
        ]
        for place, (label, (record, _)) in enumerate(zip(labels, ranked, strict=True), start=1)
    ]


def terminal_table(entries: Sequence[Entry]) -> str:
    """Returns the table for a terminal, with the cause below for each failed run."""
    left = (COLUMNS.index("cell"), COLUMNS.index("outcome"))
    lines = forms.terminal_lines(_titles(entries), rows(entries), left=left)
    lines += [
        f"failed: {record.name}: {sentence(str(record.error))}"
        f" Its log: {os.path.relpath(RunPaths(folder).log)}"
        for record, folder in rank(entries)
        if record.outcome == "failed"
    ]
    return "\n".join(lines)


def markdown_table(entries: Sequence[Entry]) -> str:
    """Returns the table in Markdown."""
    return forms.markdown_table(_titles(entries), rows(entries)) + "\n"


def csv_table(entries: Sequence[Entry]) -> str:
    """Returns the table as CSV with full precision and the folder of each run."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    beside = _beside(entries)
    header = [beside if column == "test" else column for column in COLUMNS]
    writer.writerow([*header, "error", "folder"])
    for row, (record, folder) in zip(rows(entries), rank(entries), strict=True):
        exact = dict(zip(COLUMNS, row, strict=True)) | {
            "objective": record.objective_value,
            "test": record.metrics.get(beside),
            "seconds": record.seconds,
            "outcome": record.outcome or "unfinished",
        }
        writer.writerow([*exact.values(), record.error or "", folder])
    return file.getvalue()


def _titles(entries: Sequence[Entry]) -> list[str]:
    objective = entries[0][0].objective if entries else "objective"
    return ["#", "cell", objective, "at epoch", _beside(entries), "seconds", "outcome"]


def _beside(entries: Sequence[Entry]) -> str:
    """Returns the metric shown beside the objective."""
    by_accuracy = bool(entries) and entries[0][0].objective == "test_accuracy"
    return "test_loss" if by_accuracy else "test_accuracy"
