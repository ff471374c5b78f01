"""Successive halving that continues what it has stopped.

Every trial is stopped at the first rung; of those that have come to a rung the best 1 in `factor` go on
to the next, from their checkpoints. `asha` decides with those that are there already: whenever one that
has not gone on is among the best, it does, else a new trial starts (Li et al. 2020, "A System for
Massively Parallel Hyperparameter Tuning", arXiv:1810.05934, algorithm 2). `halving` waits until all are
there (Jamieson and Talwalkar 2016, arXiv:1502.07943). Optuna's pruner of this name never takes a stopped
trial up again.

The papers' searches have no last trial. Ours do, so where fewer than `factor` come to a rung the best of
them goes on once nothing more can come: a search ends with a whole run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sweeps.search.trial import in_group

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sweeps.search.trial import Trial


@dataclass(frozen=True)
class SuccessiveHalving:
    """Decides at rungs.

    Args:
        factor: One trial in so many goes on.
        first: The first rung comes after at least so many reports.
        wait: Whether a rung is decided only once every trial that can come to it has.
    """

    factor: int
    first: int
    wait: bool

    def rungs(self, trial: Trial) -> list[int]:
        """Returns the reports after which a trial is judged: of / factor, of / factor**2, ..."""
        least = max(self.first, trial.warmup + 1)
        found, report = [], trial.of
        while (report := report // self.factor) >= least:
            found.append(report)
        return found[::-1]

    def goes_on(self, trials: Sequence[Trial], trial: Trial, *, more: bool) -> bool:
        """Returns whether a trial that has just reported trains on now."""
        if trial.last not in self.rungs(trial):
            return True
        trial.rung, trial.stopped = self.rungs(trial).index(trial.last) + 1, 0
        chosen = dict(self._chosen(in_group(trials, trial.group), more=more))
        if trial in chosen.get(trial.last, []):
            return True
        here = [
            other.best(trial.last)
            for other in in_group(trials, trial.group)
            if trial.last in other.reports
        ]
        place = sum(score > trial.best(trial.last) for score in here) + 1
        trial.reason = (
            f"rung {trial.rung}, report {trial.last} of {trial.of}:"
            f" number {place} of {len(here)} so far"
        )
        trial.stopped = trial.last
        return False

    def promote(self, trials: Sequence[Trial], *, more: bool) -> Trial | None:
        """Returns the stopped trial that has the furthest to go on from, or None."""
        ready = [
            trial
            for group in dict.fromkeys(trial.group for trial in trials)
            for rung, chosen in self._chosen(in_group(trials, group), more=more)
            for trial in chosen
            if trial.state == "pruned" and not self._beyond(trial, rung)
        ]
        return max(ready, key=lambda t: (t.last, t.best(t.last), -t.number), default=None)

    def _chosen(self, members: Sequence[Trial], *, more: bool) -> Iterator[tuple[int, list[Trial]]]:
        """Yields each rung with the trials that may go on from it, the lowest rung first.

        Args:
            members: The trials that are judged together.
            more: Whether there will be further trials.
        """
        out: set[int] = set()
        settled = not more
        rungs = sorted({rung for trial in members for rung in self.rungs(trial)})
        for rung in rungs:
            coming = [t for t in members if rung in self.rungs(t) and t.number not in out]
            here = [t for t in coming if rung in t.reports or t.state == "diverged"]
            settled = settled and all(t.over or rung in t.reports for t in coming)
            count = len(here) // self.factor
            if settled:
                count = max(1, count)
            elif self.wait:
                count = 0
            ranked = sorted(here, key=lambda t: (-t.best(rung), t.number))
            chosen = [t for t in ranked[:count] if t.state not in ("diverged", "failed")]
            # Who has gone on stays in the race, though better ones have come since.
            on = ("running", "finished")
            gone_on = [t for t in here if t.state in on or self._beyond(t, rung)]
            out |= {t.number for t in coming} - {t.number for t in [*chosen, *gone_on]}
            yield rung, chosen

    def _beyond(self, trial: Trial, rung: int) -> bool:
        """Returns whether a trial has come to a higher rung of its own."""
        return any(higher > rung and higher in trial.reports for higher in self.rungs(trial))
