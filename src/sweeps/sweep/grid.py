"""The grid: every combination that is not done."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from sweeps.config.identity import labels_of, targets
from sweeps.runs.provenance import code_digest
from sweeps.runs.resume import changes, restart, say_changes, standing
from sweeps.sweep.cell import without_duplicates
from sweeps.sweep.strategy import WORDS, Facts

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sweeps.runs.record import RunRecord
    from sweeps.sweep.cell import Cell


class GridAgenda:
    """Runs every combination that is not done.

    Args:
        asked: All combinations, repeated ones too.
        left_out: Which are left out.
    """

    def __init__(self, asked: Sequence[Cell], left_out: str = "") -> None:
        self._asked, self._left_out = asked, left_out
        self.samples: Sequence[Cell] = without_duplicates(asked)
        labels = labels_of([cell.overrides for cell in self.samples])
        self._labels = dict(zip((cell.folder for cell in self.samples), labels, strict=True))
        self._todo: deque[Cell] = deque()

    @property
    def left_out(self) -> str:
        """Which combinations are no runs."""
        return self._left_out

    @property
    def total(self) -> int:
        """How many runs there will be."""
        return len(self.samples)

    @property
    def cells(self) -> Sequence[Cell]:
        """All of them."""
        return self.samples

    @property
    def ahead(self) -> int:
        """All: nothing is learned in the meantime."""
        return self.total

    def open(self, facts: Facts) -> str:
        """Finds out which are to be run."""
        goes_on = sum(cell.standing() == "continue" for cell in self.samples)
        self._todo.extend(due(self.samples, facts))
        notes = [f"{len(self._todo)} to run"] if len(self._todo) < self.total else []
        if goes_on:
            notes.append(f"{goes_on} of them continued" if notes else f"{goes_on} continued")
        if self.total < len(self._asked):
            notes.append(f"{len(self._asked) - self.total} duplicate")
        shown = f" ({', '.join(notes)})" if notes else ""
        return f"{self.total} runs{shown}"

    def label(self, cell: Cell) -> str:
        """Returns the overrides in which the cells differ."""
        return self._labels[cell.folder]

    def next(self) -> Cell | None:
        """Returns the next cell in the order of the grid."""
        return self._todo.popleft() if self._todo else None

    def answer(self, cell: Cell, question: Any) -> Any:  # noqa: ARG002
        """Lets every run train on."""
        return True

    def ended(self, cell: Cell) -> str:  # noqa: ARG002
        """Notes nothing."""
        return ""

    def plan(self) -> list[tuple[str, str]]:
        """Returns where each cell stands, repeated ones too."""
        first = set(map(id, self.samples))
        labels = labels_of([cell.overrides for cell in self._asked])
        states = [_planned(cell) if id(cell) in first else "duplicate" for cell in self._asked]
        return list(zip(states, labels, strict=True))


def _planned(cell: Cell) -> str:
    """Returns where a cell stands; a plan reads no data, so what changed there is not seen."""
    state, record = cell.standing(), cell.load()
    if state == "done" and record is not None and cell.config.refresh and _changed(cell, record):
        state = "again"
    return WORDS[state]


def _changed(cell: Cell, record: RunRecord, digest: str | None = None) -> list[str]:
    return changes(record, code=code_digest(targets(cell.config)), digest=digest)


def due(cells: Iterable[Cell], facts: Facts) -> list[Cell]:
    """Returns which cells are to be run: those not done, and with refresh=true those that changed.

    What has changed is said once for all the cells that it concerns.
    """
    found: list[Cell] = []
    changed: dict[tuple[str, ...], list[Cell]] = {}
    for cell in cells:
        record = cell.load()
        if record is None or standing(record) != "done":
            found.append(cell)
        elif what := _changed(cell, record, facts.digest(cell)):
            changed.setdefault(tuple(what), []).append(cell)
            if cell.config.refresh:
                restart(cell.paths, record)
                found.append(cell)
    for kinds, those in changed.items():
        say_changes([cell.name for cell in those], kinds, refresh=those[0].config.refresh)
    return found
