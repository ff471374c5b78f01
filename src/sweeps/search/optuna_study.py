"""Our trials as Optuna sees them: a study in memory, made anew for each question."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

    from sweeps.search.trial import Trial


def make_study(sampler: BaseSampler | None = None) -> Study:
    """Returns an empty study in memory that maximises scores."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna.create_study(direction="maximize", study_name="search", sampler=sampler)


def frozen(
    trial: Trial, params: Mapping[str, Any], distributions: Mapping[str, BaseDistribution]
) -> FrozenTrial:
    """Returns a trial in Optuna's form; one that diverged is complete and worst."""
    from optuna.trial import TrialState, create_trial

    states = {
        "finished": TrialState.COMPLETE,
        "diverged": TrialState.COMPLETE,
        "pruned": TrialState.PRUNED,
        "failed": TrialState.FAIL,
    }
    state = states.get(trial.state, TrialState.RUNNING)
    value = None
    if state == TrialState.COMPLETE:
        diverged = trial.state == "diverged" or trial.score is None
        value = float("-inf") if diverged else trial.score
    elif state == TrialState.PRUNED:
        value = trial.best(trial.last)
    return create_trial(
        state=state,
        value=value,
        params=dict(params),
        distributions=dict(distributions),
        intermediate_values=dict(trial.reports),
        system_attrs=dict(trial.marks),
    )
