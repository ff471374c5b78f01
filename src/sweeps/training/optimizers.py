"""What an optimizer updates: the parameters of a model in groups, and what it asks of a loop."""

from __future__ import annotations

import fnmatch
import inspect
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import nn

from sweeps.errors import BadInputError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch.optim import Optimizer


@dataclass(frozen=True)
class Rule:
    """What holds for the parameters whose names match a pattern.

    Attributes:
        match: Such as 'head.*'; * stands for anything, ? for one letter.
        lr: Factor on the rate.
    """

    match: str
    lr: float

    @property
    def name(self) -> str:
        """The pattern without its symbols, by which the rate is logged."""
        return re.sub(r"[^\w.-]+", "_", self.match).strip("._") or "all"


def parameter_groups(
    model: nn.Module, *, decay: str, rules: Sequence[Rule], hidden: bool = False
) -> list[dict[str, Any]]:
    """Returns a model's parameters in groups, each parameter in one of them.

    Args:
        model: Whose parameters are updated.
        decay: 'all', or 'matrices' for no weight decay of biases, norms and embeddings.
        rules: Each makes groups of its own, which have its name as their 'rule'.
        hidden: Whether hidden matrices have groups of their own, marked as 'hidden'.

    Returns:
        Groups as torch's optimizers take them, what no rule names first.

    Raises:
        BadInputError: A pattern matches nothing, or two match the same parameter.
    """
    ruled = _ruled([name for name, _ in model.named_parameters()], rules)
    embedded, head = _embeddings(model), _head(model)
    members: dict[tuple[int, bool, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        matrix = parameter.ndim > 1 and id(parameter) not in embedded and "embed" not in name
        decays = matrix or decay == "all"
        inside = hidden and matrix and id(parameter) not in head
        members.setdefault((ruled.get(name, -1), not decays, inside), []).append(parameter)
    groups = list[dict[str, Any]]()
    for (number, undecayed, inside), parameters in sorted(
        members.items(), key=lambda item: item[0]
    ):
        own: dict[str, Any] = {"rule": rules[number].name} if number >= 0 else {}
        own |= {"weight_decay": 0.0} if undecayed else {}
        own |= {"hidden": inside} if hidden else {}
        groups.append({"params": parameters, **own})
    return groups


def read_rules(values: Sequence[Mapping[str, Any]]) -> list[Rule]:
    """Returns the rules that `optimizer.rules` holds.

    Raises:
        BadInputError: One has other keys than match and lr, or a factor that is none.
    """
    rules = list[Rule]()
    for value in values:
        typed = f"optimizer.rules has {dict(value)}:"
        form = "Type optimizer.rules='[{match: \"head.*\", lr: 0.1}]'."
        if set(value) != {"match", "lr"}:
            raise BadInputError(f"{typed} a rule has match and lr. {form}")
        factor = value["lr"]
        if isinstance(factor, bool) or not isinstance(factor, int | float):
            raise BadInputError(f"{typed} lr must be a number, the factor on the rate. {form}")
        if not (math.isfinite(factor) and factor > 0):
            raise BadInputError(f"{typed} lr must be a finite factor above 0. {form}")
        rules.append(Rule(str(value["match"]), float(factor)))
    names = [rule.name for rule in rules]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise BadInputError(
            f"optimizer.rules would log two rates as lr/{twice}. Join the two rules."
        )
    return rules


def scale_rates(optimizer: Optimizer, rules: Sequence[Rule]) -> None:
    """Multiplies the base rate of each group by the factor of its rule."""
    factors = {rule.name: rule.lr for rule in rules}
    for group in optimizer.param_groups:
        if "rule" in group:
            group["lr"] *= factors[group["rule"]]


def check_arguments(target: str, made_by: Any, arguments: Mapping[str, Any], *, ours: bool) -> None:
    """Refuses arguments that an optimizer's class does not have.

    Args:
        target: Its name.
        made_by: The class, or a function that returns an optimizer.
        arguments: As they are typed, by name.
        ours: Whether it is a shipped choice, whose open-ended arguments are none that can be meant.

    Raises:
        BadInputError: The class has no such argument.
    """
    parameters = list(inspect.signature(made_by).parameters.values())[1:]
    if not ours and any(each.kind is each.VAR_KEYWORD for each in parameters):
        return
    names = [p.name for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    for name in arguments:
        if name not in names and name != "params":
            near = did_you_mean(name, [*names, "decay", "rules"]).replace("'", "'optimizer.", 1)
            raise BadInputError(
                f"Unknown key optimizer.{name}.{near} {target} takes {', '.join(names)}."
            )


def needs_closure(kind: type[Optimizer]) -> bool:
    """Returns whether a step evaluates the loss itself, as LBFGS does."""
    closure = inspect.signature(kind.step).parameters.get("closure")
    return closure is not None and closure.default is closure.empty


def has_modes(optimizer: Optimizer) -> bool:
    """Returns whether an optimizer trains one point and is judged at another, as schedule-free ones."""
    return callable(getattr(optimizer, "train", None)) and callable(
        getattr(optimizer, "eval", None)
    )


def _ruled(names: Sequence[str], rules: Sequence[Rule]) -> dict[str, int]:
    """Returns which rule each parameter has that has one."""
    found: dict[str, int] = {}
    for number, rule in enumerate(rules):
        matched = fnmatch.filter(names, rule.match)
        if not matched:
            raise BadInputError(
                f"optimizer.rules: {rule.match!r} matches no parameter. The model has"
                f" {', '.join(names[:8])}{', ...' if len(names) > 8 else ''}."
            )
        if twice := next((name for name in matched if name in found), None):
            first = rules[found[twice]].match
            raise BadInputError(
                f"optimizer.rules: {twice} matches both {first!r} and {rule.match!r}. Make one of the"
                " patterns narrower."
            )
        found |= dict.fromkeys(matched, number)
    return found


def _embeddings(model: nn.Module) -> set[int]:
    kinds = (nn.Embedding, nn.EmbeddingBag)
    found = (module for module in model.modules() if isinstance(module, kinds))
    return {id(parameter) for module in found for parameter in module.parameters()}


def _head(model: nn.Module) -> set[int]:
    """Returns the matrices of the last layer that has some, in the order in which layers were made."""
    for module in reversed(list(model.modules())):
        own = [p for p in module.parameters(recurse=False) if p.ndim > 1]
        if own:
            return set(map(id, own))
    return set()
