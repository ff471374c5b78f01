"""A search over a sweep's space: proposes runs, judges them while they train, takes up the best again."""

from __future__ import annotations

import dataclasses
import logging
from typing import TYPE_CHECKING

from sweeps.files import lock_holder
from sweeps.runs.resume import close_orphan
from sweeps.search.checks import refuse_losses, refuse_search, samples, warn_of_falling
from sweeps.search.pruners import NeverStop, stopping
from sweeps.search.samplers import Proposer
from sweeps.sweep.grid import due
from sweeps.sweep.late_stop import end_stopped
from sweeps.sweep.learned import earlier_trials
from sweeps.sweep.search_cells import SearchCells
from sweeps.sweep.search_words import label, rows, summary
from sweeps.sweep.strategy import Outline, Plan
from sweeps.sweep.trials import Trials

if TYPE_CHECKING:
    from collections.abc import Callable

    from sweeps.config import SearchConfig
    from sweeps.launchers.channel import Decision, Reported
    from sweeps.search.space import Space
    from sweeps.search.trial import Trial
    from sweeps.sweep.cell import Cell
    from sweeps.sweep.strategy import Preflight, Rows


log = logging.getLogger(__name__)

TRIALS = 30
"""Where trials=auto and the space has no end of combinations."""


class Search:
    """Runs what a search proposes.

    Args:
        space: What may be chosen.
        search: Its settings.
        trials: How many, or 'auto'.
        compose: Makes a checked cell of overrides.
    """

    def __init__(
        self,
        space: Space,
        search: SearchConfig,
        trials: int | str,
        *,
        compose: Callable[[list[str]], Cell],
    ) -> None:
        refuse_search(space, search)
        self._proposer = Proposer(space, search)
        cells = SearchCells(self._proposer, compose)
        checked = [cells.required(words) for words in samples(self._proposer)]
        refuse_losses(cell.config for cell in checked)
        self._config = dataclasses.replace(checked[0].config, search=search, trials=trials)
        self._stopping = stopping(search)
        self._learned = earlier_trials(space, self._config)
        for point in self._proposer.points:
            cells.required(space.overrides(point))
        self._is_new = cells.is_new
        self._trials = Trials(self._config, cells, checked[0].folder.parent)
        self._opened: list[Cell] = []
        self._exhausted = False
        self._total = _total(trials, len(self._proposer.listed))
        left_out = space.left_out() if self._proposer.listed else ""
        self.outline = Outline(checked, self._total, left_out, self._rows)

    def open(self, preflight: Preflight) -> Plan:
        """Takes up the trials of earlier commands."""
        if not preflight.hears and self._config.search.pruner != "none":
            log.warning(
                "Only hydra/launcher=local can stop a run early: each trial is trained whole."
            )
            self._stopping = NeverStop()
        else:
            warn_of_falling(
                (cell.config for cell in self.outline.samples), self._config.search.pruner
            )
        self._restore()
        whole = [t for t in self._trials.known if t.state in ("finished", "diverged")]
        for cell in due([self._trials.cell(trial) for trial in whole], preflight):
            self._trials.of(cell).begin_anew()
        known = self._trials.known
        for trial in known:
            if trial.state == "failed":
                trial.state = "waiting"
        self._total = max(self._total, len(known))
        for trial in known:
            self._trials.cell(trial).label = label(trial, self._total)
            if trial.state == "waiting" and trial.reports:
                self._decide_again(trial)
        self._opened = self._trials.cells
        words = summary(self._total, len(known), len(self._learned))
        return Plan(words, self._opened, self._total)

    def ask(self) -> Cell | None:
        """Returns what was interrupted, else what is to go on, else a new trial."""
        while True:
            more = self._more
            waiting = (trial for trial in self._trials.known if trial.state == "waiting")
            trial = next(waiting, None) or self._stopping.promote(self._trials.known, more=more)
            if trial is None and more:
                trial = self._new_trial()
            if trial is not None:
                break
            if not more:  # promote was asked once more after the last trial
                return None
        cell = self._trials.cell(trial)
        if trial.reason:
            trial.reason = ""
            trial.save(cell.paths)
        trial.state = "running"
        return cell

    def report(self, cell: Cell, report: Reported) -> Decision:
        """Returns whether a run that has just reported trains on."""
        trial = self._trials.of(cell)
        trial.state = "running"  # it may have failed, and be tried again
        self._trials.set_length(trial, report.of)
        for known in self._trials.known:
            if not known.of:
                self._trials.set_length(known, report.of)
        # What was reported after the checkpoint that it went on from is reported again.
        trial.reports = {n: s for n, s in trial.reports.items() if n < report.report}
        trial.reports[report.report] = self._trials.sign * report.value
        before = (trial.rung, trial.reason, trial.stopped, trial.marks)
        goes_on = self._stopping.goes_on(self._trials.known, trial, more=self._more)
        if before != (trial.rung, trial.reason, trial.stopped, trial.marks):
            trial.save(cell.paths)
        return "continue" if goes_on else "stop"

    def tell(self, cell: Cell) -> str:
        """Takes in how a trial ended; returns why it was stopped."""
        trial = self._trials.of(cell)
        self._trials.take(trial)
        if trial.state == "waiting":  # it left no result
            trial.state = "failed"
        return trial.reason if trial.state == "pruned" else ""

    @property
    def _more(self) -> bool:
        return len(self._trials.known) < self._total and not self._exhausted

    def _rows(self) -> Rows:
        self._trials.restore()
        return rows(self._trials, self._proposer, self._total, self._config.search.sampler)

    def _restore(self) -> None:
        self._trials.wait_for_orphans()
        self._trials.restore()
        for cell in self._trials.cells:
            if cell.record is not None:
                close_orphan(cell.paths, cell.record)

    def _new_trial(self) -> Trial | None:
        """Enters the next proposal; returns it where it is still to be run."""
        known = self._trials.known
        number = max((trial.number for trial in known), default=-1) + 1
        chosen = self._proposer.propose(number, known, self._learned, self._is_new)
        if chosen is None:
            self._end_early()
            return None
        trial = self._trials.add(chosen)
        cell = self._trials.cell(trial)
        cell.label = label(trial, self._total)
        self._opened.append(cell)
        if trial.state == "failed":
            trial.state = "waiting"
        return trial if trial.state == "waiting" else None

    def _end_early(self) -> None:
        self._exhausted = True
        if self._proposer.listed:
            log.info("Every combination has been tried.")
        else:
            log.warning(
                "The search ends after %d of %d trials: what is proposed was tried already, is"
                " excluded, or cannot be run.",
                len(self._trials.known),
                self._total,
            )

    def _decide_again(self, trial: Trial) -> None:
        """Ends a run that was killed at a rung, before its end could be written down."""
        if trial.last >= trial.of:
            return
        if trial.stopped != trial.last and self._stopping.goes_on(
            self._trials.known, trial, more=self._more
        ):
            return
        cell = self._trials.cell(trial)
        if cell.record is not None and lock_holder(cell.paths.lock) is None:
            end_stopped(trial, cell, cell.record, self._trials.sign)


def _total(trials: int | str, count: int) -> int:
    """Returns how many trials there will be of a space with so many combinations, 0 for no end."""
    if trials == "auto":
        return count or TRIALS
    return min(int(trials), count or int(trials))
