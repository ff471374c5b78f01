"""The grid: every combination that is not done."""

from __future__ import annotations

import functools
from collections import deque
from typing import TYPE_CHECKING

from sweeps.config.identity import labels_of, targets
from sweeps.runs.provenance import code_digest
from sweeps.runs.resume import changes, restart, say_changes
from sweeps.sweep.cell import without_duplicates
from sweeps.sweep.strategy import WORDS, Outline, Plan, Preflight

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sweeps.launchers.channel import Decision, Reported
    from sweeps.runs.record import RunRecord
    from sweeps.sweep.cell import Cell
    from sweeps.sweep.strategy import Rows


class Grid:
    """Runs every combination that is not done, in their order.

    Args:
        asked: All combinations, repeated ones too.
        left_out: Which are left out.
    """

    def __init__(self, asked: Sequence[Cell], left_out: str = "") -> None:
        cells = without_duplicates(asked)
        for cell, label in zip(cells, labels_of([c.overrides for c in cells]), strict=True):
            cell.label = label
        self.outline = Outline(cells, len(cells), left_out, functools.partial(_rows, asked, cells))
        self._repeated = len(asked) - len(cells)
        self._todo: deque[Cell] = deque()

    def open(self, preflight: Preflight) -> Plan:
        """Finds out which are to be run; all may be asked for, for nothing is learned meanwhile."""
        cells = self.outline.samples
        goes_on = sum(cell.load() is not None and cell.standing == "continue" for cell in cells)
        self._todo.extend(due(cells, preflight))
        notes = [f"{len(self._todo)} to run"] if len(self._todo) < len(cells) else []
        if goes_on:
            notes.append(f"{goes_on} of them continued" if notes else f"{goes_on} continued")
        if self._repeated:
            notes.append(f"{self._repeated} duplicate")
        shown = f" ({', '.join(notes)})" if notes else ""
        return Plan(f"{len(cells)} runs{shown}", cells, total=len(cells), ahead=len(cells))

    def ask(self) -> Cell | None:
        """Returns the next cell in the order of the grid."""
        return self._todo.popleft() if self._todo else None

    def report(self, cell: Cell, report: Reported) -> Decision:  # noqa: ARG002
        """Lets every run train on."""
        return "continue"

    def tell(self, cell: Cell) -> str:  # noqa: ARG002
        """Notes nothing."""
        return ""


def due(cells: Iterable[Cell], preflight: Preflight) -> list[Cell]:
    """Returns which cells are to be run: those not done, and with refresh=true those that changed.

    What has changed is said once for all the cells that it concerns.

    Args:
        cells: With their records as they are now.
        preflight: Knows their data.
    """
    found: list[Cell] = []
    changed: dict[tuple[str, ...], list[Cell]] = {}
    for cell in cells:
        if cell.record is None or cell.standing != "done":
            found.append(cell)
        elif what := _changed(cell, cell.record, preflight.digest(cell)):
            changed.setdefault(tuple(what), []).append(cell)
            if cell.config.refresh:
                cell.record = restart(cell.paths, cell.record)
                found.append(cell)
    for kinds, those in changed.items():
        say_changes([cell.name for cell in those], kinds, refresh=those[0].config.refresh)
    return found


def _rows(asked: Sequence[Cell], cells: Sequence[Cell]) -> Rows:
    """Returns where each cell stands, repeated ones too."""
    first = set(map(id, cells))
    states = [_planned(cell) if id(cell) in first else "duplicate" for cell in asked]
    return list(zip(states, labels_of([cell.overrides for cell in asked]), strict=True))


def _planned(cell: Cell) -> str:
    """Returns where a cell stands; a plan reads no data, so what changed there is not seen."""
    record, state = cell.load(), cell.standing
    if state == "done" and record is not None and cell.config.refresh and _changed(cell, record):
        state = "again"
    return WORDS[state]


def _changed(cell: Cell, record: RunRecord, digest: str | None = None) -> list[str]:
    return changes(record, code=code_digest(targets(cell.config)), digest=digest)
