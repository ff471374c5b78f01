"""A search over a sweep's space: proposes runs, judges them while they train, takes up the best again."""

from __future__ import annotations

import dataclasses
import logging
import math
from typing import TYPE_CHECKING, Any

from sweeps.analysis.sources import Sources
from sweeps.config.identity import identity, labels_of
from sweeps.errors import BadInputError
from sweeps.files import lock_holder, locked
from sweeps.runs.metrics import maximised, read_points
from sweeps.runs.paths import RunPaths, SweepPaths
from sweeps.runs.record import now_ms
from sweeps.runs.resume import close_orphan
from sweeps.search.checks import refuse_search, samples, warn_of_falling
from sweeps.search.pruners import NeverStop, stopping
from sweeps.search.samplers import Proposer, is_fixed
from sweeps.search.space import bare
from sweeps.search.trial import Trial, reports_of
from sweeps.sweep.grid import due
from sweeps.sweep.reporter import Reported
from sweeps.sweep.strategy import WORDS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sweeps.search.dimensions import Dimension
    from sweeps.search.space import Space
    from sweeps.sweep.cell import Cell
    from sweeps.sweep.strategy import Facts


log = logging.getLogger(__name__)

TRIALS = 30
"""Where trials=auto and the space has no end of combinations."""

ORPHAN_WAIT_S = 30.0


class SearchAgenda:
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
        search: dict[str, Any],
        trials: int | str,
        *,
        compose: Callable[[list[str]], Cell],
    ) -> None:
        self._space, self._compose = space, compose
        refuse_search(space, search)
        self._proposer = Proposer(space, search)
        self.samples: Sequence[Cell] = [compose(words) for words in samples(self._proposer)]
        config = dataclasses.replace(self.samples[0].config, search=search, trials=trials)
        self._config = config
        self._stopping = stopping(search)
        self._sign = 1 if maximised(config.objective) else -1
        self._known = self._earlier_results()
        self._trials: list[Trial] = []
        self._cells: dict[int, Cell] = {}
        self._exhausted = False
        self._composed: dict[tuple[str, ...], Cell | None] = {}
        self._identities: set[str] = set()
        for point in self._proposer.points:
            compose(space.overrides(point))
        self.total = self._total()

    @property
    def left_out(self) -> str:
        """Which combinations are no runs, where they can be listed."""
        return self._space.left_out() if self._proposer.listed else ""

    @property
    def cells(self) -> list[Cell]:
        """The cells of the trials so far."""
        return [self._cells[trial.number] for trial in self._trials]

    @property
    def ahead(self) -> int:
        """One: what is proposed later knows more."""
        return 1

    def open(self, facts: Facts) -> str:
        """Takes up the trials of earlier commands."""
        if not facts.hears and self._config.search["pruner"] != "none":
            log.warning(
                "Only hydra/launcher=local can stop a run early: each trial is trained whole."
            )
            self._stopping = NeverStop()
        else:
            warn_of_falling((cell.config for cell in self.samples), self._config.search["pruner"])
        for paths in self._folders():
            if lock_holder(paths.lock) is not None:  # a run whose controller was killed ends soon
                with locked(paths.lock, wait_s=ORPHAN_WAIT_S):
                    pass
            close_orphan(paths)
        self._restore()
        whole = [t for t in self._trials if t.state in ("finished", "diverged")]
        for cell in due([self._cells[trial.number] for trial in whole], facts):
            self._trial_of(cell).begin_anew()
        for trial in self._trials:
            if trial.state == "failed":
                trial.state = "waiting"
        self.total = max(self.total, len(self._trials))
        for trial in self._trials:
            if trial.state == "waiting" and trial.reports:
                self._decide_again(trial)
        earlier = f" ({len(self._trials)} known)" if self._trials else ""
        learned = f", learning from {len(self._known)} earlier runs," if self._known else ""
        return f"{self.total} trials{earlier}{learned}"

    def label(self, cell: Cell) -> str:
        """Returns its number and what was chosen for it."""
        trial = self._trial_of(cell)
        chosen = [f"{key}={value}" for key, value in trial.chosen.items()]
        return " ".join([f"{trial.number:>{len(str(self.total))}}", *chosen])

    def next(self) -> Cell | None:
        """Returns what was interrupted, else what is to go on, else a new trial."""
        while True:
            more = self._more
            waiting = (trial for trial in self._trials if trial.state == "waiting")
            trial = next(waiting, None) or self._stopping.promote(self._trials, more=more)
            if trial is None and more:
                trial = self._new_trial()
            if trial is not None:
                break
            if not more:  # promote was asked once more after the last trial
                return None
        cell = self._cells[trial.number]
        if trial.reason:
            trial.reason = ""
            trial.save(cell.paths)
        trial.state = "running"
        return cell

    def answer(self, cell: Cell, question: Any) -> bool:
        """Returns whether a run that has just reported trains on."""
        assert isinstance(question, Reported)
        trial = self._trial_of(cell)
        trial.state = "running"  # it may have failed, and be tried again
        self._set_length(trial, cell, question.of)
        for known in self._trials:
            if not known.of:
                self._set_length(known, self._cells[known.number], question.of)
        # What was reported after the checkpoint that it went on from is reported again.
        trial.reports = {n: s for n, s in trial.reports.items() if n < question.report}
        trial.reports[question.report] = self._sign * question.value
        before = (trial.rung, trial.reason, trial.stopped, trial.marks)
        goes_on = self._stopping.goes_on(self._trials, trial, more=self._more)
        if before != (trial.rung, trial.reason, trial.stopped, trial.marks):
            trial.save(cell.paths)
        return goes_on

    def ended(self, cell: Cell) -> str:
        """Takes in how a trial ended; returns why it was stopped."""
        trial = self._trial_of(cell)
        self._take(trial, cell)
        if trial.state == "waiting":  # it left no result
            trial.state = "failed"
        return trial.reason if trial.state == "pruned" else ""

    def plan(self) -> list[tuple[str, str]]:
        """Returns where each known trial stands, and how many are to come."""
        self._restore()
        listed = []
        for trial in self._trials:
            cell = self._cells[trial.number]
            state = "stopped early" if trial.state == "pruned" else WORDS[cell.standing()]
            listed.append((state, self.label(cell)))
        if not self._trials and self._config.search["sampler"] == "grid":
            listed_cells = [self._space.overrides(c) for c in self._proposer.listed[: self.total]]
            return [("new", name) for name in labels_of(listed_cells)]
        left = self.total - len(self._trials)
        axes = " ".join(_described(d) for d in self._space.dimensions if not is_fixed(d))
        return [*listed, *[("new", f"{axes}, chosen by {self._config.search['sampler']}")] * left]

    @property
    def _more(self) -> bool:
        return len(self._trials) < self.total and not self._exhausted

    def _total(self) -> int:
        count, trials = len(self._proposer.listed), self._config.trials
        if trials == "auto":
            return count or TRIALS
        return min(int(trials), count or int(trials))

    def _earlier_results(self) -> list[Trial]:
        """Returns the whole runs of the sweeps that search.learn_from names."""
        keys = {bare(key): key for d in self._space.dimensions for key in d.keys}
        found = Sources.of(self._config).read(self._config.search["learn_from"]).runs
        whole = [run for run in found if run.outcome in ("finished", "diverged")]
        return [
            Trial(
                number,
                {keys[name]: value for name, value in run.settings.items() if name in keys},
                state="finished" if run.outcome == "finished" else "diverged",
                score=None if run.value is None else self._sign * run.value,
            )
            for number, run in enumerate(whole)
            if run.objective == self._config.objective
        ]

    def _restore(self) -> None:
        """Reads the trials of this search from their folders; others may live beside them."""
        for paths in self._folders():
            trial = Trial.load(paths)
            assert trial is not None
            cell = self._cell_of(trial.chosen)
            if cell is not None and cell.folder == paths.folder:
                self._enter(trial, cell)
                self._take(trial, cell)
        self._trials.sort(key=lambda trial: trial.number)

    def _folders(self) -> list[RunPaths]:
        return SweepPaths(self.samples[0].folder.parent).trials()

    def _new_trial(self) -> Trial | None:
        """Enters the next proposal; returns it where it is still to be run."""
        number = max((trial.number for trial in self._trials), default=-1) + 1
        chosen = self._proposer.propose(number, self._trials, self._known, self._is_new)
        if chosen is None:
            self._exhausted = True
            if self._proposer.listed:
                log.info("Every combination has been tried.")
            else:
                log.warning(
                    "The search ends after %d of %d trials: what is proposed was tried already, is"
                    " excluded, or cannot be run.",
                    len(self._trials),
                    self.total,
                )
            return None
        cell = self._cell_of(chosen)
        assert cell is not None
        trial = Trial(number, chosen)
        self._enter(trial, cell)
        trial.save(cell.paths)
        self._take(trial, cell)  # a grid of this name may have trained it already
        if trial.state == "failed":
            trial.state = "waiting"
        return trial if trial.state == "waiting" else None

    def _enter(self, trial: Trial, cell: Cell) -> None:
        within = [key for key in self._config.search["within"] if key in trial.chosen]
        trial.group = " ".join(f"{key}={trial.chosen[key]}" for key in within)
        if cell.config.report_every is None:
            self._set_length(trial, cell, cell.config.epochs)
        self._trials.append(trial)
        self._cells[trial.number] = cell
        self._identities.add(identity(cell.config))

    def _set_length(self, trial: Trial, cell: Cell, of: int) -> None:
        """Takes how many reports a whole run has; a schedule's warmup is some of them."""
        warmup = cell.config.schedule.get("warmup_epochs", 0) * of / cell.config.epochs
        trial.of = of
        trial.warmup = max(self._config.search["warmup"], math.ceil(warmup))

    def _take(self, trial: Trial, cell: Cell) -> None:
        record = cell.load()
        reports = reports_of(cell.paths, record, cell.config.report_every) if record else {}
        trial.take(record, reports, self._sign)
        if record and cell.config.report_every:
            self._set_length(trial, cell, record.steps // cell.config.report_every)

    def _decide_again(self, trial: Trial) -> None:
        """Ends a run that was killed at a rung, before its end could be written down."""
        if trial.last >= trial.of:
            return
        if trial.stopped != trial.last and self._stopping.goes_on(
            self._trials, trial, more=self._more
        ):
            return
        cell = self._cells[trial.number]
        record = cell.load()
        if record is None or lock_holder(cell.paths.lock) is not None:
            return
        points = read_points(cell.paths.metrics)
        epochs = reports_of(cell.paths, record, None)
        last = max(epochs, default=None)
        best = max(epochs, key=lambda epoch: (self._sign * epochs[epoch], -epoch), default=None)
        picked = last if cell.config.pick == "last" else best
        record.status, record.outcome, record.error = "FINISHED", "pruned", None
        record.objective_value = None if picked is None else epochs[picked]
        record.best_epoch, record.epochs_done = picked, last or 0
        record.metrics = {point["key"]: point["value"] for point in points}
        record.ended_ms = max(now_ms(), record.started_ms)
        record.save(cell.paths)
        trial.state = "pruned"
        trial.save(cell.paths)

    def _trial_of(self, cell: Cell) -> Trial:
        return next(t for t in self._trials if self._cells[t.number].folder == cell.folder)

    def _cell_of(self, chosen: Mapping[str, str]) -> Cell | None:
        whole = self._proposer.complete(chosen)
        return None if whole is None else self._cell(whole)

    def _cell(self, whole: Mapping[str, str]) -> Cell | None:
        """Composes a cell, once; returns None where its settings do not go together."""
        overrides = self._space.overrides(whole)
        key = tuple(overrides)
        if key not in self._composed:
            try:
                self._composed[key] = self._compose(overrides)
            except BadInputError as error:
                log.warning("Not tried: %s", error)
                self._composed[key] = None
        return self._composed[key]

    def _is_new(self, whole: Mapping[str, str]) -> bool:
        cell = self._cell(whole)
        return cell is not None and identity(cell.config) not in self._identities


def _described(dimension: Dimension) -> str:
    if dimension.interval is not None:
        low, high = dimension.interval.low, dimension.interval.high
        return f"{dimension.keys[0]}={low:g} to {high:g}"
    listed = "|".join(",".join(option) for option in dimension.options)
    return f"{','.join(dimension.keys)}={listed}"
