"""What a sweep runs next: a list, or a search that decides as results come in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sweeps.sweep.cell import Cell


WORDS = {"new": "new", "continue": "to continue", "again": "to run again", "done": "done"}
"""What a plan calls the standing of a run."""


@dataclass(frozen=True)
class Facts:
    """What the check of the cells found out.

    Attributes:
        digests: By the settings of the data.
        hears: Whether runs can ask while they train, and be stopped early.
    """

    digests: Mapping[str, str]
    hears: bool = True

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

    def label(self, cell: Cell) -> str:
        """Returns what a run is called in this sweep."""
        ...

    def next(self) -> Cell | None:
        """Returns the next run to start or to continue, or None where there is none now."""
        ...

    def answer(self, cell: Cell, question: Any) -> Any:
        """Answers a run, see `sweeps.sweep.reporter.observer`."""
        ...

    def ended(self, cell: Cell) -> str:
        """Takes that a run has ended; returns a note on it, or ''."""
        ...

    def plan(self) -> list[tuple[str, str]]:
        """Returns where each run stands and what it is called."""
        ...
