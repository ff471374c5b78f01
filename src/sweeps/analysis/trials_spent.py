"""What was spent on each value of an axis, and whether that was the same for all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sweeps.analysis.axes import SEED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sweeps.analysis.contenders import Contender


@dataclass(frozen=True)
class Spent:
    """A budget.

    Attributes:
        trials: Settings that were tried.
        seeds: The largest number of seeds of one of them.
        epochs: The longest training that was asked for.
        trained_epochs: Epochs trained in all.
        seconds: Time trained in all.
    """

    trials: int
    seeds: int
    epochs: int
    trained_epochs: int
    seconds: float


def trials_spent(contender: Contender) -> Spent:
    """Returns the budget of a contender; runs that crashed count as what they were."""
    runs = [run for setting in contender.settings for run in setting.runs]
    seeds = [len({r.settings.get(SEED, r.key) for r in s.runs}) for s in contender.settings]
    return Spent(
        trials=len(contender.settings),
        seeds=max(seeds),
        epochs=max(run.epochs for run in runs),
        trained_epochs=sum(run.epochs_done for run in runs),
        seconds=sum(run.seconds for run in runs),
    )


def unequal_budgets(found: Sequence[Contender]) -> str:
    """Returns what differs between the budgets of contenders in a sentence, or ''."""
    budgets = {contender.name: trials_spent(contender) for contender in found}
    said = []
    for what in ("trials", "seeds", "epochs"):
        counts = {name: getattr(spent, what) for name, spent in budgets.items()}
        if len(set(counts.values())) > 1:
            said.append(", ".join(f"{name} {count}" for name, count in counts.items()) + f" {what}")
    if not said:
        return ""
    many = len({spent.trials for spent in budgets.values()}) > 1
    why = " More trials find a better best by chance alone." if many else ""
    return f"Unequal budgets: {'; '.join(said)}.{why}"
