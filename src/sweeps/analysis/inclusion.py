"""A general optimizer that loses to its own special case was tuned too little; it is not worse.

Choi et al. 2019, "On Empirical Comparisons of Optimizers for Deep Learning",
https://arxiv.org/abs/1910.05446: where one optimizer can take the steps of another at some setting,
it can be as good with enough trials, and in their experiments it always was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sweeps.analysis.axes import number
from sweeps.analysis.contenders import value_of
from sweeps.analysis.format import show
from sweeps.analysis.probability_of_improvement import MEANINGFUL, probability_of_improvement

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sweeps.analysis.contenders import Contender
    from sweeps.analysis.ranking import Part, Setting


LARGE_EPS = "a large eps, with lr as much larger"

SPECIAL_CASES: dict[str, dict[str, str]] = {
    "momentum": {"sgd": "momentum=0"},
    "nesterov": {"sgd": "momentum=0"},
    "rmsprop": {"sgd": LARGE_EPS, "momentum": f"{LARGE_EPS}, and its momentum"},
    "adam": {
        "sgd": f"{LARGE_EPS}, and betas=[0, ...]",
        "momentum": LARGE_EPS,
        "rmsprop": "betas=[0, alpha]",
    },
    "nadam": {"sgd": f"{LARGE_EPS}, and betas=[0, ...]", "nesterov": LARGE_EPS},
}
SPECIAL_CASES["adamw"] = {"adam": "weight_decay=0", **SPECIAL_CASES["adam"]}
"""By general optimizer: each special case, and the setting that makes it that, but for the bias
correction of the first steps, which a schedule of the rate takes up."""


def under_tuned(part: Part, found: Sequence[Contender]) -> list[str]:
    """Returns a sentence for each optimizer that loses to a special case of itself.

    Args:
        part: What ranks them.
        found: The optimizers, best first.
    """
    said = []
    for place, general in enumerate(found):
        for special in found[:place]:
            how = SPECIAL_CASES.get(kind(general), {}).get(kind(special))
            if how is not None and _loses(part, general.best, special.best):
                said.append(_sentence(general, special, how))
                break  # the best of its special cases says most
    return said


def kind(contender: Contender) -> str:
    """Returns the optimizer of a contender's best setting, SGD by its momentum; '' where unknown."""
    best = contender.best
    if best is None or contender.axis.partition(".")[0] != "optimizer":
        return ""
    name = value_of(best, "optimizer._target_").rpartition(".")[2].lower()
    if name != "sgd":
        return name
    if not number(value_of(best, "optimizer.momentum")):
        return "sgd"
    return "nesterov" if value_of(best, "optimizer.nesterov") == "true" else "momentum"


def _loses(part: Part, general: Setting | None, special: Setting | None) -> bool:
    """Returns whether the special case has the better mean and is better in most of the seeds."""
    if general is None or special is None or general.result is None or special.result is None:
        return False
    found = probability_of_improvement(special.values, general.values, sign=part.sign)
    ahead = part.sign * (special.result.mean - general.result.mean) > 0
    return ahead and found is not None and found.value >= MEANINGFUL


def _sentence(general: Contender, special: Contender, how: str) -> str:
    assert general.best is not None
    assert special.best is not None
    assert general.best.result is not None
    assert special.best.result is not None
    return (
        f"{general.name} ({show(general.best.result.mean)}) is behind {special.name}"
        f" ({show(special.best.result.mean)}), which is a special case of it ({how}): it was tuned"
        " too little for a comparison, and is not shown to be worse."
    )
