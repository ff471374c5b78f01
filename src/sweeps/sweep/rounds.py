"""The rounds by which a grid grows: each is a function of what the runs before it have come to."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sweeps.analysis.extension import extensions
from sweeps.analysis.growth import in_words
from sweeps.analysis.ranking import rank
from sweeps.analysis.repeats import repeats, verdict
from sweeps.config.identity import key_of
from sweeps.runs.results import Collection, FolderHistory, result_of
from sweeps.sweep.cell import without_duplicates

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sweeps.analysis.growth import Change, Growth
    from sweeps.analysis.ranking import Part
    from sweeps.config.config import GrowthConfig
    from sweeps.sweep.cell import Cell

    Compose = Callable[[list[str]], Cell | None]
    """Makes a checked cell of overrides; None where the sweep leaves it out."""
    Rule = Callable[[Part], list[Growth]]


EXTENSIONS = 12
"""Runs that extend=auto adds at most, where max_cells does not say it."""


@dataclass(frozen=True)
class Round:
    """What is added at once.

    Attributes:
        cells: With labels, and without records.
        words: Why.
    """

    cells: Sequence[Cell]
    words: Sequence[str]


class Rounds:
    """Works out what is to be added to a grid.

    Args:
        typed: The cells of the grid.
        growth: What may be added.
        compose: Makes the cells that are.
    """

    def __init__(self, typed: Sequence[Cell], growth: GrowthConfig, compose: Compose) -> None:
        self._typed, self._growth, self._compose = typed, growth, compose
        self._common = set.intersection(*(set(cell.overrides) for cell in typed))

    def __iter__(self) -> Iterator[Round]:
        """Yields each round, which is asked for when all cells before it have their records.

        Values are found before seeds, and never after: a setting that comes late would be compared
        at a look that has been taken.
        """
        cells, identities = list(self._typed), {cell.identity for cell in self._typed}
        if self._growth.extend:
            most = self._growth.max_cells or EXTENSIONS
            yield from self._grow(cells, lambda p: extensions(p, identities), "Extending", most)
        if self._growth.seeds:
            yield from self._grow(cells, repeats, "Repeating", self._growth.max_cells)
            if all(map(has_ended, cells)):
                yield Round((), [word for part in _ranked(cells) for word in verdict(part)])

    def _grow(self, cells: list[Cell], rule: Rule, word: str, most: int | None) -> Iterator[Round]:
        """Yields what a rule asks for until it asks for nothing, or all that may be added is."""
        while all(map(has_ended, cells)):
            asked = [growth for part in _ranked(cells) for growth in rule(part)]
            made = [(growth, new) for growth in asked if (new := self._made(growth, cells))]
            left = None if most is None else most - (len(cells) - len(self._typed))
            fitting = _fitting([len(new) for _, new in made], left)
            words = [f"{word}: {each}" for each in in_words([g for g, _ in made[:fitting]])]
            if fitting < len(made):
                open_ = " ".join(in_words([growth for growth, _ in made[fitting:]]))
                words.append(f"max_cells={most} is spent; with a larger one would come {open_}")
            added = without_duplicates([cell for _, new in made[:fitting] for cell in new])
            if words:
                yield Round(added, words)
            if not added:
                return
            cells += added

    def _made(self, growth: Growth, known: Sequence[Cell]) -> list[Cell]:
        """Returns the new cells of a growth; none where one of them cannot be."""
        by_folder = {cell.folder: cell for cell in known}
        identities = {cell.identity for cell in known}
        made: list[Cell] = []
        for change in growth.changes:
            assert change.run.folder is not None
            cell = self._compose(_changed(by_folder[change.run.folder].overrides, change))
            if cell is None:
                return []
            if cell.identity not in identities:
                cell.label = " ".join(item for item in cell.overrides if item not in self._common)
                identities.add(cell.identity)
                made.append(cell)
        return made


def has_ended(cell: Cell) -> bool:
    """Returns whether a cell's run has come to a result."""
    outcome = cell.record.outcome if cell.record else None
    return outcome is not None and outcome.is_whole


def _ranked(cells: Sequence[Cell]) -> Sequence[Part]:
    history = FolderHistory()
    runs = [result_of(cell.record, cell.paths, history) for cell in cells if cell.record]
    return rank(Collection(tuple(runs))).parts


def _fitting(sizes: Sequence[int], left: int | None) -> int:
    """Returns how many of the first fit into what is left."""
    sums = itertools.accumulate(sizes)
    return len(sizes) if left is None else sum(total <= left for total in sums)


def _changed(overrides: Sequence[str], change: Change) -> list[str]:
    """Returns overrides with another value, in its place or at the end."""
    found = [
        f"{o.partition('=')[0]}={change.value}" if key_of(o) == change.key else o for o in overrides
    ]
    return found if found != list(overrides) else [*found, f"{change.key}={change.value}"]
