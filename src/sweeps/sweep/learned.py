"""What a search learns from the sweeps that search.learn_from names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sweeps.analysis.sources import Sources
from sweeps.runs.outcome import Outcome
from sweeps.search.space import bare
from sweeps.search.trial import Trial
from sweeps.training.objective import maximised

if TYPE_CHECKING:
    from sweeps.config import Config
    from sweeps.search.space import Space


def earlier_trials(space: Space, config: Config) -> list[Trial]:
    """Returns the whole runs of earlier sweeps, as trials of this space."""
    sign = 1 if maximised(config.objective) else -1
    keys = {bare(key): key for d in space.dimensions for key in d.keys}
    found = Sources.of(config).read(config.search.learn_from).runs
    whole = [run for run in found if run.outcome.is_whole]
    return [
        Trial(
            number,
            {keys[name]: value for name, value in run.settings.items() if name in keys},
            state="finished" if run.outcome == Outcome.FINISHED else "diverged",
            score=None if run.value is None else sign * run.value,
        )
        for number, run in enumerate(whole)
        if run.objective == config.objective
    ]
