"""A search over a sweep's space: proposes runs, judges them while they train, takes up the best again."""

from __future__ import annotations

import dataclasses
import logging
import math
import time
from typing import TYPE_CHECKING, Any

from sweeps.agenda import WORDS, is_due
from sweeps.closing import close_orphan
from sweeps.config.schema import GROUPS
from sweeps.errors import BadInputError
from sweeps.launching.worker import ask, has_controller
from sweeps.paths import RunPaths, SweepPaths, lock_holder
from sweeps.records import RunRecord
from sweeps.reporting import labels
from sweeps.results import maximised
from sweeps.search import NeverStop, Proposer, Trial, stopping
from sweeps.search.proposals import is_fixed
from sweeps.search.trials import reports_of
from sweeps.sources import Sources

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sweeps.agenda import Facts
    from sweeps.config import Config
    from sweeps.loop import Report
    from sweeps.runner import Observer
    from sweeps.space import Dimension, Space
    from sweeps.study import Cell

log = logging.getLogger(__name__)

TRIALS = 30
"""Where trials=auto and the space has no end of combinations."""

MOST_SAMPLES = 64
"""Combinations of groups that are checked before a search starts."""


@dataclasses.dataclass(frozen=True)
class Standing:
    """What a run tells the search after a report.

    Attributes:
        report: Number of the report, from 1.
        of: Reports of the whole run.
        value: The objective there.
    """

    report: int
    of: int
    value: float


def observer(config: Config, paths: RunPaths) -> Observer | None:
    """Returns what asks the search after each report of a trial, or None where nobody can be asked."""
    if not paths.trial.exists() or not has_controller():
        return None
    latest = math.nan
    every, epochs, of = config.report_every, config.epochs, config.epochs

    def observe(report: Report) -> str | None:
        nonlocal latest, of
        latest = report.metrics.get(config.objective, latest)
        number = report.epoch if report.epoch_done else 0
        if every is not None:
            record = RunRecord.load(paths)
            of = record.steps // every if record else 0
            at = report.step % every == 0 and config.objective in report.metrics
            number = report.step // every if at else 0
        whole = number >= of or report.epoch >= epochs
        if not number or whole or not math.isfinite(latest):
            return None
        return "pruned" if ask(Standing(number, of, latest)) is False else None

    return observe


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
        _refuse(space, search)
        self.samples: Sequence[Cell] = [compose(overrides) for overrides in _samples(space)]
        config = dataclasses.replace(self.samples[0].config, search=search, trials=trials)
        self._config = config
        self._proposer = Proposer(space, search)
        self._stopping = stopping(search)
        self._sign = 1 if maximised(config.objective) else -1
        self._known = self._earlier_results()
        self._trials: list[Trial] = []
        self._cells: dict[int, Cell] = {}
        self._exhausted = False
        self._composed: dict[tuple[str, ...], Cell | None] = {}
        self.left_out = space.left_out() if space.finite else ""
        self.total = self._total()

    @property
    def cells(self) -> list[Cell]:
        """The cells of the trials so far."""
        return [self._cells[trial.number] for trial in self._trials]

    def open(self, facts: Facts) -> str:
        """Takes up the trials of earlier commands."""
        self._restore()
        for trial in self._trials:
            cell = self._cells[trial.number]
            close_orphan(cell.paths)
            if trial.state in ("finished", "diverged") and is_due(cell, facts):
                trial.state, trial.reports = "waiting", {}
            elif trial.state == "failed":
                trial.state = "waiting"
        for trial in self._trials:
            if trial.state == "waiting" and trial.reports:
                self._decide_again(trial)
        earlier = f" ({len(self._trials)} known)" if self._trials else ""
        learned = f", learning from {len(self._known)} earlier runs," if self._known else ""
        return f"{self.total} trials{earlier}{learned}"

    def runs_tell_nothing(self) -> int:
        """Stops no trial early; gives out as many as run at once."""
        if self._config.search["pruner"] != "none":
            log.warning(
                "Only hydra/launcher=local can stop a run early: each trial is trained whole."
            )
            self._stopping = NeverStop()
        return self._config.workers if isinstance(self._config.workers, int) else 1

    def label(self, cell: Cell) -> str:
        """Returns its number and what was chosen for it."""
        trial = self._trial_of(cell)
        chosen = [f"{key}={value}" for key, value in trial.chosen.items()]
        return " ".join([f"{trial.number:>{len(str(self.total))}}", *chosen])

    def next(self) -> Cell | None:
        """Returns what was interrupted, else what is to go on, else a new trial."""
        waiting = (trial for trial in self._trials if trial.state == "waiting")
        trial = next(waiting, None) or self._stopping.promote(self._trials, more=self._more)
        while trial is None and self._more:
            trial = self._new_trial()
        if trial is None:
            return None
        trial.state = "running"
        return self._cells[trial.number]

    def answer(self, cell: Cell, question: Any) -> bool:
        """Returns whether a run that has just reported trains on."""
        assert isinstance(question, Standing)
        trial = self._trial_of(cell)
        for known in self._trials:
            known.of = known.of or question.of
        trial.reports[question.report] = self._sign * question.value
        before = (trial.rung, trial.reason, trial.marks)
        goes_on = self._stopping.goes_on(self._trials, trial, more=self._more)
        if before != (trial.rung, trial.reason, trial.marks):
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
            return [("new", name) for name in labels(self._space.grid()[: self.total])]
        left = self.total - len(self._trials)
        axes = " ".join(_described(d) for d in self._space.dimensions if not is_fixed(d))
        return [*listed, *[("new", f"{axes}, chosen by {self._config.search['sampler']}")] * left]

    @property
    def _more(self) -> bool:
        return len(self._trials) < self.total and not self._exhausted

    def _total(self) -> int:
        count = len(self._space.grid()) if self._space.finite else None
        if self._config.trials != "auto":
            return min(int(self._config.trials), count or int(self._config.trials))
        return count or TRIALS

    def _earlier_results(self) -> list[Trial]:
        """Returns the whole runs of the sweeps that search.learn_from names."""
        keys = {key.lstrip("+") for d in self._space.dimensions for key in d.keys}
        found = Sources.of(self._config).read(self._config.search["learn_from"]).runs
        whole = [run for run in found if run.outcome in ("finished", "diverged")]
        return [
            Trial(
                number,
                {key: value for key, value in run.settings.items() if key in keys},
                state="finished" if run.outcome == "finished" else "diverged",
                score=None if run.value is None else self._sign * run.value,
            )
            for number, run in enumerate(whole)
            if run.objective == self._config.objective
        ]

    def _restore(self) -> None:
        """Reads the trials of this search from their folders; others may live beside them."""
        for paths in SweepPaths(self.samples[0].folder.parent).trials():
            trial = Trial.load(paths)
            assert trial is not None
            cell = self._cell_of(trial.chosen)
            if cell is not None and cell.folder == paths.folder:
                self._enter(trial, cell)
                self._take(trial, cell)
        self._trials.sort(key=lambda trial: trial.number)

    def _new_trial(self) -> Trial | None:
        """Enters the next proposal; returns it where it is still to be run."""
        number = max((trial.number for trial in self._trials), default=-1) + 1
        chosen = self._proposer.propose(number, self._trials, self._known, self._is_new)
        if chosen is None:
            self._exhausted = True
            listed = "Every combination has been tried."
            found = "No more trials: what is proposed was tried already, or is excluded."
            log.info(listed if self._space.finite else found)
            return None
        cell = self._cell_of(chosen)
        assert cell is not None
        trial = Trial(number, chosen)
        self._enter(trial, cell)
        trial.save(cell.paths)
        self._take(trial, cell)  # a grid of this name may have trained it already
        return trial if trial.state == "waiting" else None

    def _enter(self, trial: Trial, cell: Cell) -> None:
        settings = {
            key: str(getattr(cell.config, key, "")) for key in self._config.search["within"]
        }
        trial.group = " ".join(f"{k}={trial.chosen.get(k, v)}" for k, v in settings.items())
        warmup = cell.config.schedule.get("warmup_epochs", 0)
        trial.warmup = max(self._config.search["warmup"], math.ceil(warmup))
        if cell.config.report_every is None:
            trial.of = cell.config.epochs
        self._trials.append(trial)
        self._cells[trial.number] = cell

    def _take(self, trial: Trial, cell: Cell) -> None:
        record = cell.load()
        reports = reports_of(cell.paths, record, cell.config.report_every) if record else {}
        trial.take(record, reports, self._sign)
        if record and cell.config.report_every:
            trial.of = record.steps // cell.config.report_every

    def _decide_again(self, trial: Trial) -> None:
        """Ends a run that was killed at a rung, before its end could be written down."""
        if trial.last >= trial.of or self._stopping.goes_on(self._trials, trial, more=self._more):
            return
        cell = self._cells[trial.number]
        record = cell.load()
        if record is None or lock_holder(cell.paths.lock) is not None:
            return
        values = {number: self._sign * score for number, score in trial.reports.items()}
        best = max(trial.reports, key=lambda number: (trial.reports[number], -number))
        record.status, record.outcome = "FINISHED", "pruned"
        record.objective_value = values[best]
        record.best_epoch = best if cell.config.report_every is None else None
        record.epochs_done = trial.last
        record.ended_ms = max(time.time_ns() // 1_000_000, record.started_ms)
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
        return cell is not None and all(cell.folder != known.folder for known in self.cells)


def _refuse(space: Space, search: Mapping[str, Any]) -> None:
    for dimension in space.dimensions:
        if "seed" in dimension.keys and len(dimension.options) != 1:
            raise BadInputError(
                "A search over seed would pick the luckiest seed. Search with one, then repeat the"
                " best settings: python -m sweeps.train -m ... seed=0,1,2,3,4"
            )
        if "objective" in dimension.keys and len(dimension.options) != 1:
            raise BadInputError("A search has one objective; type one, such as objective=val_loss.")
        if dimension.interval is not None and search["sampler"] == "grid":
            key = dimension.keys[0]
            raise BadInputError(
                f"{key} has no end of values, and search.sampler=grid tries a list. List values,"
                f" such as {key}=0.1,0.01, or type search=asha or search.sampler=tpe."
            )
    keys = {key for dimension in space.dimensions for key in dimension.keys} | set(GROUPS)
    for key in search["within"]:
        if key not in keys:
            raise BadInputError(
                f"search.within={key} is no axis of this search. Allowed: {', '.join(sorted(keys))}."
            )


def _samples(space: Space) -> list[list[str]]:
    """Returns combinations that stand for all: of the groups each with each, of the rest each once."""
    options = {dimension.keys: _ends(dimension) for dimension in space.dimensions}

    def complete(wanted: Mapping[str, str]) -> list[str]:
        chosen: dict[str, str] = {}
        for dimension in space.dimensions:
            if space.applies(dimension, chosen):
                pairs = [
                    dict(zip(dimension.keys, option, strict=True))
                    for option in options[dimension.keys]
                ]
                fits = (p for p in pairs if all(wanted.get(k, v) == v for k, v in p.items()))
                chosen |= next(fits, pairs[0])
        return space.overrides(chosen)

    wanted: list[dict[str, str]] = [{}]
    for keys, values in options.items():
        if keys[0] in GROUPS:
            pairs = [dict(zip(keys, option, strict=True)) for option in values]
            wanted = [known | pair for known in wanted for pair in pairs][:MOST_SAMPLES]
    for keys, values in options.items():
        if keys[0] not in GROUPS:
            wanted += [dict(zip(keys, option, strict=True)) for option in values]
    found = {tuple(complete(one)): None for one in wanted}
    return [list(overrides) for overrides in found]


def _ends(dimension: Dimension) -> tuple[tuple[str, ...], ...]:
    """Returns all options, or the two ends of an interval."""
    if dimension.interval is None:
        return dimension.options
    return tuple((f"{value:g}",) for value in (dimension.interval.low, dimension.interval.high))


def _described(dimension: Dimension) -> str:
    if dimension.interval is not None:
        low, high = dimension.interval.low, dimension.interval.high
        return f"{dimension.keys[0]}={low:g} to {high:g}"
    listed = "|".join(",".join(option) for option in dimension.options)
    return f"{','.join(dimension.keys)}={listed}"
