"""What a sweep runs next: a list, or a search that decides as results come in."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from sweeps import reporting
from sweeps.config.identity import targets
from sweeps.standing import changes, code_digest, restart, say_changes, standing
from sweeps.study import without_duplicates

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sweeps.records import RunRecord
    from sweeps.study import Cell

WORDS = {"new": "new", "continue": "to continue", "again": "to run again", "done": "done"}
"""What a plan calls the standing of a run."""


@dataclass(frozen=True)
class Facts:
    """What the check of the cells found out.

    Attributes:
        digests: By the settings of the data.
        gpus: GPUs of this machine.
    """

    digests: Mapping[str, str]
    gpus: int

    def digest(self, cell: Cell) -> str | None:
        """Returns the digest of a cell's data, or None where that was not read."""
        return self.digests.get(repr(cell.config.data))


class Agenda(Protocol):
    """Gives out the runs of a sweep one by one."""

    samples: Sequence[Cell]
    """Cells that stand for all: they are checked before anything starts."""

    @property
    def left_out(self) -> str:
        """Which combinations are no runs, in words, or ''."""
        ...

    @property
    def total(self) -> int:
        """How many runs there will be."""
        ...

    @property
    def cells(self) -> Sequence[Cell]:
        """The runs that are known so far."""
        ...

    @property
    def ahead(self) -> int:
        """How many runs may be asked for before they can start."""
        ...

    def open(self, facts: Facts) -> str:
        """Reads what earlier commands have left, once the sweep is ours; says what is to be done."""
        ...

    def runs_tell_nothing(self) -> int:
        """Takes that no run will ask; returns how many may be given out at once."""
        ...

    def label(self, cell: Cell) -> str:
        """Returns what a run is called in this sweep."""
        ...

    def next(self) -> Cell | None:
        """Returns the next run to start or to continue, or None where there is none now."""
        ...

    def answer(self, cell: Cell, question: Any) -> Any:
        """Answers a run, see `sweeps.asking.observer`."""
        ...

    def ended(self, cell: Cell) -> str:
        """Takes that a run has ended; returns a note on it, or ''."""
        ...

    def plan(self) -> list[tuple[str, str]]:
        """Returns where each run stands and what it is called."""
        ...


class GridAgenda:
    """Runs every combination that is not done.

    Args:
        asked: All combinations, repeated ones too.
        left_out: Which are left out.
    """

    def __init__(self, asked: Sequence[Cell], left_out: str = "") -> None:
        self._asked, self._left_out = asked, left_out
        self.samples: Sequence[Cell] = without_duplicates(asked)
        labels = reporting.labels([cell.overrides for cell in self.samples])
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

    def runs_tell_nothing(self) -> int:
        """Gives out all."""
        return self.total

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
        labels = reporting.labels([cell.overrides for cell in self._asked])
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
