"""What the answer says of a comparison's fairness: budgets that differ, optimizers tuned too little."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sweeps.analysis.contenders import contenders
from sweeps.analysis.inclusion import under_tuned
from sweeps.analysis.trials_spent import unequal_budgets

if TYPE_CHECKING:
    from sweeps.analysis.ranking import Part


def cautions(part: Part, axis: str | None) -> list[str]:
    """Returns the sentences of a part whose settings are compared along an axis, if there is one."""
    if axis is None:
        return []
    found = contenders(part.settings, axis)
    budgets = unequal_budgets(found)
    return [*([budgets] if budgets else []), *under_tuned(part, found)]
