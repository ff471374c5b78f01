"""Which trials are stopped early: successive halving of our own, and the pruners of Optuna."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from sweeps.search.optuna_study import frozen, make_study
from sweeps.search.successive_halving import SuccessiveHalving
from sweeps.search.trial import in_group

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sweeps.config import SearchConfig
    from sweeps.search.trial import Trial


class Stopping(Protocol):
    """Decides about trials by their reports."""

    def goes_on(self, trials: Sequence[Trial], trial: Trial, *, more: bool) -> bool:
        """Returns whether a trial that has just reported trains on; sets its rung and reason.

        Args:
            trials: All trials so far, in order.
            trial: One of them.
            more: Whether there will be further trials.
        """
        ...

    def promote(self, trials: Sequence[Trial], *, more: bool) -> Trial | None:
        """Returns a trial that was stopped and is to go on after all, or None."""
        ...


def stopping(search: SearchConfig) -> Stopping:
    """Returns what the settings of a search ask for."""
    pruner, factor, first = search.pruner, search.factor, search.first
    if pruner == "none":
        return NeverStop()
    if pruner in ("asha", "halving"):
        return SuccessiveHalving(factor, first, wait=pruner == "halving")
    return OptunaPruner(pruner, factor, first)


@dataclass(frozen=True)
class NeverStop:
    """Trains every trial whole."""

    def goes_on(self, trials: Sequence[Trial], trial: Trial, *, more: bool) -> bool:  # noqa: ARG002
        """Returns true."""
        return True

    def promote(self, trials: Sequence[Trial], *, more: bool) -> Trial | None:  # noqa: ARG002
        """Returns None."""
        return None


@dataclass(frozen=True)
class OptunaPruner:
    """Asks a pruner of Optuna after each report.

    Args:
        name: 'hyperband' or 'median'.
        factor: Hyperband's reduction factor.
        first: Reports before the first decision.
    """

    name: str
    factor: int
    first: int

    def goes_on(self, trials: Sequence[Trial], trial: Trial, *, more: bool) -> bool:  # noqa: ARG002
        """Returns whether Optuna would not prune it."""
        if trial.last <= trial.warmup:
            return True
        study = make_study()
        members = in_group(trials, trial.group)
        study.add_trials([frozen(member, {}, {}) for member in members])
        known = study.get_trials(deepcopy=False)[members.index(trial)]
        stop = self._pruner(trial).prune(study, known)
        trial.marks = {
            key: value
            for key, value in study.get_trials(deepcopy=False)[known.number].system_attrs.items()
            if isinstance(value, float) and math.isfinite(value)
        }
        trial.rung = len(trial.marks)
        trial.stopped = trial.last if stop else 0
        if stop:
            trial.reason = f"{self.name} at report {trial.last} of {trial.of}"
        return not stop

    def promote(self, trials: Sequence[Trial], *, more: bool) -> Trial | None:  # noqa: ARG002
        """Returns None: Optuna stops for good."""
        return None

    def _pruner(self, trial: Trial) -> Any:
        from optuna import pruners

        if self.name == "median":
            return pruners.MedianPruner(n_warmup_steps=max(self.first - 1, trial.warmup))
        return pruners.HyperbandPruner(
            min_resource=self.first, max_resource=trial.of, reduction_factor=self.factor
        )
