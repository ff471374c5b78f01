"""The trials of a search with the cells that they train, as their folders tell."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from sweeps.files import lock_holder, locked
from sweeps.runs.paths import SweepPaths
from sweeps.search.trial import Trial, reports_of
from sweeps.training.objective import maximised

if TYPE_CHECKING:
    from pathlib import Path

    from sweeps.config import Config
    from sweeps.runs.paths import RunPaths
    from sweeps.sweep.cell import Cell
    from sweeps.sweep.search_cells import SearchCells


ORPHAN_WAIT_S = 30.0


class Trials:
    """All trials of one search, in the order of their numbers.

    Args:
        config: Of the search.
        cells: Makes the cells.
        folder: Of the sweep.

    Attributes:
        known: The trials so far.
        sign: What turns the objective into a score, of which more is better.
    """

    def __init__(self, config: Config, cells: SearchCells, folder: Path) -> None:
        self._config, self._make, self._folder = config, cells, folder
        self.known: list[Trial] = []
        self.sign = 1 if maximised(config.objective) else -1
        self._cells: dict[int, Cell] = {}
        self._by_folder: dict[Path, Trial] = {}

    @property
    def cells(self) -> list[Cell]:
        """The cells of the trials so far."""
        return [self._cells[trial.number] for trial in self.known]

    def cell(self, trial: Trial) -> Cell:
        """Returns what a trial trains."""
        return self._cells[trial.number]

    def of(self, cell: Cell) -> Trial:
        """Returns the trial that trains a cell."""
        return self._by_folder[cell.folder]

    def wait_for_orphans(self) -> None:
        """Waits for runs whose controller was killed: they end soon."""
        for paths in self._folders():
            if lock_holder(paths.lock) is not None:
                with locked(paths.lock, wait_s=ORPHAN_WAIT_S):
                    pass

    def restore(self) -> None:
        """Reads the trials of this search from their folders; others may live beside them."""
        for paths in self._folders():
            trial = Trial.load(paths)
            assert trial is not None
            cell = self._make.of(trial.chosen)
            if cell is not None and cell.folder == paths.folder:
                self._enter(trial, cell)
        self.known.sort(key=lambda trial: trial.number)

    def add(self, chosen: dict[str, str]) -> Trial:
        """Enters a proposal, as the next number; a grid of this name may have trained it already."""
        cell = self._make.of(chosen)
        assert cell is not None
        number = max((trial.number for trial in self.known), default=-1) + 1
        trial = Trial(number, chosen)
        trial.save(cell.paths)
        self._enter(trial, cell)
        return trial

    def take(self, trial: Trial) -> None:
        """Takes in what the run of a trial has come to, as its record and its points say."""
        cell = self.cell(trial)
        record, every = cell.record, cell.config.report_every
        trial.take(record, reports_of(cell.paths, record, every) if record else {}, self.sign)
        if record and every:
            self.set_length(trial, record.steps // every)

    def set_length(self, trial: Trial, of: int) -> None:
        """Takes how many reports a whole run has; a schedule's warmup is some of them."""
        config = self.cell(trial).config
        warmup = config.schedule.warmup_epochs * of / config.epochs
        trial.of = of
        trial.warmup = max(self._config.search.warmup, math.ceil(warmup))

    def _enter(self, trial: Trial, cell: Cell) -> None:
        within = [key for key in self._config.search.within if key in trial.chosen]
        trial.group = " ".join(f"{key}={trial.chosen[key]}" for key in within)
        self.known.append(trial)
        self._cells[trial.number] = cell
        self._by_folder[cell.folder] = trial
        self._make.enter(cell)
        if cell.config.report_every is None:
            self.set_length(trial, cell.config.epochs)
        cell.load()
        self.take(trial)

    def _folders(self) -> list[RunPaths]:
        return SweepPaths(self._folder).trials()
