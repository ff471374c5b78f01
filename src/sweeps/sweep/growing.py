"""A grid that finishes itself: when its runs have ended, it adds those that they ask for."""

from __future__ import annotations

import dataclasses
import logging
from collections import deque
from typing import TYPE_CHECKING

from sweeps.analysis.sequential import MOST_SEEDS
from sweeps.errors import BadInputError
from sweeps.sweep.grid import due
from sweeps.sweep.rounds import EXTENSIONS, Rounds, has_ended
from sweeps.sweep.strategy import WORDS, Preflight

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sweeps.config.config import GrowthConfig
    from sweeps.launchers.channel import Decision, Reported
    from sweeps.search.space import Space
    from sweeps.sweep.cell import Cell
    from sweeps.sweep.grid import Grid
    from sweeps.sweep.rounds import Compose, Round
    from sweeps.sweep.strategy import Plan, Rows


log = logging.getLogger(__name__)


class Growing:
    """Runs a grid, and then round by round what it asks for.

    Nothing of the rounds is written down: who begins again goes through the same ones, of which the
    first have ended already.

    Args:
        grid: All combinations that were typed.
        growth: What may be added.
        compose: Makes the cells that are.
    """

    def __init__(self, grid: Grid, growth: GrowthConfig, compose: Compose) -> None:
        self._grid = grid
        self._rounds = Rounds(grid.outline.samples, growth, compose)
        self._following: Iterator[Round] = iter(())
        self._preflight = Preflight({})
        self._opened: list[Cell] = []
        self._todo: deque[Cell] = deque()
        self._under_way: set[str] = set()
        self._said: set[str] = set()
        self.outline = dataclasses.replace(
            grid.outline, rows=self._rows, may_add=_what_may_come(growth)
        )

    def open(self, preflight: Preflight) -> Plan:
        """Finds out what is to be run of the grid and of the rounds of earlier commands."""
        plan = self._grid.open(preflight)
        self._preflight, self._following = preflight, iter(self._rounds)
        self._opened = list(plan.cells)
        self._todo.extend(iter(self._grid.ask, None))
        self._grow()
        added = len(self._opened) - plan.total
        summary = f"{plan.summary}, and {added} that they have asked for" if added else plan.summary
        total = len(self._opened)
        return dataclasses.replace(plan, summary=summary, cells=self._opened, total=total)

    def ask(self) -> Cell | None:
        """Returns the next cell; None while the last ones of a round train, and at the end."""
        self._grow()
        if not self._todo:
            return None
        cell = self._todo.popleft()
        self._under_way.add(cell.identity)
        return cell

    def report(self, cell: Cell, report: Reported) -> Decision:  # noqa: ARG002
        """Lets every run train on."""
        return "continue"

    def tell(self, cell: Cell) -> str:
        """Takes that a round has one run less to wait for."""
        self._under_way.discard(cell.identity)
        return ""

    def _grow(self) -> None:
        """Adds rounds until there is something to run, or nothing is asked for any more."""
        while not self._todo and not self._under_way and not self._broken():
            following = next(self._following, None)
            if following is None:
                return
            for cell in following.cells:
                cell.load()
            self._opened += following.cells
            self._todo.extend(due(following.cells, self._preflight))
            if self._todo or not following.cells:  # what has been done was said then
                for sentence in following.words:
                    log.info("%s", sentence)

    def _broken(self) -> bool:
        """Returns whether a run has no result, and says once that nothing is added while it has not."""
        broken = next((cell for cell in self._opened if not has_ended(cell)), None)
        if broken is not None and broken.identity not in self._said:
            self._said.add(broken.identity)
            log.warning("Nothing is added while a run has no result: %s.", broken.name)
        return broken is not None

    def _rows(self) -> Rows:
        """Returns where each cell of the grid stands, and of the rounds that are known."""
        assert self._grid.outline.rows is not None
        rows = self._grid.outline.rows()
        for each in self._rounds:
            for cell in each.cells:
                cell.load()
            rows += [(WORDS[cell.standing], cell.label) for cell in each.cells]
        return rows


def refuse_growth(growth: GrowthConfig, space: Space) -> None:
    """Refuses what cannot be added to a space.

    Raises:
        BadInputError: Values are paired that would change alone, or there are seeds enough.
    """
    zipped = [key for each in space.dimensions if len(each.keys) > 1 for key in each.keys]
    if growth.extend and zipped:
        raise BadInputError(
            f"extend=auto changes one value alone, and zip pairs {' and '.join(zipped)}. Leave one of"
            " the two out."
        )
    if growth.seeds and "seed" in zipped:
        raise BadInputError(
            "seeds=auto repeats settings over further seeds, and zip pairs each seed with one value."
            " Leave seed out of zip."
        )
    seeds = max((len(d.options) for d in space.dimensions if d.keys == ("seed",)), default=1)
    if growth.seeds and seeds >= MOST_SEEDS:
        raise BadInputError(
            f"seeds=auto repeats what is tied over up to {MOST_SEEDS} seeds, and {seeds} are typed."
            " Type fewer, or leave seeds=auto out."
        )


def _what_may_come(growth: GrowthConfig) -> str:
    what = []
    if growth.extend:
        most = growth.max_cells or EXTENSIONS
        what.append(
            f"values beyond the edge that a best lies on, or longer trainings (at most {most} runs)"
        )
    if growth.seeds:
        most_words = f", at most {growth.max_cells} runs in all" if growth.max_cells else ""
        what.append(
            f"further seeds of settings that are tied (up to {MOST_SEEDS} each{most_words})"
        )
    return f"When these have ended may come: {', and '.join(what)}."
