"""What is said of a search: what its trials are called, its plan, and what it begins with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sweeps.config.identity import labels_of
from sweeps.search.samplers import is_fixed
from sweeps.sweep.strategy import WORDS

if TYPE_CHECKING:
    from sweeps.search.dimensions import Dimension
    from sweeps.search.samplers import Proposer
    from sweeps.search.trial import Trial
    from sweeps.sweep.strategy import Rows
    from sweeps.sweep.trials import Trials


def label(trial: Trial, total: int) -> str:
    """Returns the number of a trial, as wide as the last one's, and what was chosen for it."""
    chosen = [f"{key}={value}" for key, value in trial.chosen.items()]
    return " ".join([f"{trial.number:>{len(str(total))}}", *chosen])


def summary(total: int, known: int, learned: int) -> str:
    """Returns how many trials there will be, and what they begin with."""
    earlier = f" ({known} known)" if known else ""
    return f"{total} trials{earlier}{f', learning from {learned} earlier runs,' if learned else ''}"


def rows(trials: Trials, proposer: Proposer, total: int, sampler: str) -> Rows:
    """Returns where each known trial stands, and how many are to come."""
    listed = []
    for trial in trials.known:
        state = "stopped early" if trial.state == "pruned" else WORDS[trials.cell(trial).standing]
        listed.append((state, label(trial, total)))
    if not listed and sampler == "grid":
        words = [proposer.space.overrides(chosen) for chosen in proposer.listed[:total]]
        return [("new", name) for name in labels_of(words)]
    axes = " ".join(_described(d) for d in proposer.space.dimensions if not is_fixed(d))
    return [*listed, *[("new", f"{axes}, chosen by {sampler}")] * (total - len(listed))]


def _described(dimension: Dimension) -> str:
    if dimension.interval is not None:
        low, high = dimension.interval.low, dimension.interval.high
        return f"{dimension.keys[0]}={low:g} to {high:g}"
    listed = "|".join(",".join(option) for option in dimension.options)
    return f"{','.join(dimension.keys)}={listed}"
