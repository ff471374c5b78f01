"""What decides which run of a sweep comes next: the interface of a strategy, and what goes through it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sweeps.launchers.channel import Decision, Reported
    from sweeps.sweep.cell import Cell

    Rows = list[tuple[str, str]]
    """Where each run stands, in the words of a plan, and what it is called."""


WORDS = {"new": "new", "continue": "to continue", "again": "to run again", "done": "done"}
"""What a plan calls the standing of a run."""


@dataclass(frozen=True)
class Outline:
    """What is known of a sweep before it is opened.

    Attributes:
        samples: Cells that stand for all: they are checked before anything starts.
        total: How many runs there will be.
        left_out: Which combinations are no runs, in words, or ''.
        rows: Lists what there is and what is to come, and changes nothing; None: the samples.
        may_add: What may come besides, in words, or ''.
    """

    samples: Sequence[Cell]
    total: int
    left_out: str = ""
    rows: Callable[[], Rows] | None = None
    may_add: str = ""


@dataclass(frozen=True)
class Preflight:
    """What is known when a sweep may begin.

    Attributes:
        digests: Of the data, by its settings.
        hears: Whether runs can report while they train, and be stopped early.
    """

    digests: Mapping[str, str]
    hears: bool = True

    def digest(self, cell: Cell) -> str | None:
        """Returns the digest of a cell's data, or None where that was not read."""
        return self.digests.get(repr(cell.config.data))


@dataclass(frozen=True)
class Plan:
    """What is to be done in a sweep, once it is ours.

    Attributes:
        summary: In words.
        cells: The runs that are known; a strategy that comes upon more adds them.
        total: How many runs there will be.
        ahead: How many runs may be asked for before they can start.
    """

    summary: str
    cells: Sequence[Cell]
    total: int
    ahead: int = 1


class Strategy(Protocol):
    """Gives out the runs of a sweep one by one.

    Attributes:
        outline: What is known of the sweep before it is opened.
    """

    outline: Outline

    def open(self, preflight: Preflight) -> Plan:
        """Reads what earlier commands have left; may write, for the sweep is ours now."""
        ...

    def ask(self) -> Cell | None:
        """Returns the next run to start or to continue, or None where there is none now."""
        ...

    def report(self, cell: Cell, report: Reported) -> Decision:
        """Returns whether a run that has just reported trains on."""
        ...

    def tell(self, cell: Cell) -> str:
        """Takes that a run has ended, as `cell.record` says; returns a note on it, or ''."""
        ...
