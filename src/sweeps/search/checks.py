"""What is checked of a space before its search begins."""

from __future__ import annotations

import itertools
import logging
from typing import TYPE_CHECKING, Any

from sweeps.config.schema import GROUPS
from sweeps.errors import BadInputError
from sweeps.search.samplers import ends, is_fixed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sweeps.config import Config, SearchConfig
    from sweeps.search.dimensions import Dimension
    from sweeps.search.samplers import Proposer
    from sweeps.search.space import Space


log = logging.getLogger(__name__)

MOST_SAMPLES = 64
"""Combinations of groups that are checked before a search starts."""

FALLING = ("step", "exponential", "cosine", "linear", "one_cycle")
"""Schedules of ours under which a run gains most near its end."""


def refuse_search(space: Space, search: SearchConfig) -> None:
    """Refuses what cannot be searched, before anything is composed.

    Raises:
        BadInputError: An axis is no matter of a search, or cannot be listed, or a name is unknown.
    """
    for dimension in space.dimensions:
        if "seed" in dimension.keys and len(dimension.options) != 1:
            raise BadInputError(
                "A search over seed would pick the luckiest seed. Search with one, then repeat the"
                " best settings: python -m sweeps.train -m ... seed=0,1,2,3,4"
            )
        if "objective" in dimension.keys and len(dimension.options) != 1:
            raise BadInputError("A search has one objective; type one, such as objective=val_loss.")
        if dimension.interval is not None and search.sampler == "grid":
            key = dimension.keys[0]
            raise BadInputError(
                f"{key} has no end of values, and search.sampler=grid tries a list. List values,"
                f" such as {key}=0.1,0.01, or type search=asha or search.sampler=tpe."
            )
    if all(map(is_fixed, space.dimensions)):
        raise BadInputError(
            "A search needs something to choose, and each setting has one value here. Type a list or"
            " an interval, such as optimizer=sgd,adam or lr='tag(log,interval(0.001,1))', or leave"
            " hydra/sweeper=search out."
        )
    keys = {key for dimension in space.dimensions for key in dimension.keys} | set(GROUPS)
    for key in search.within:
        if key not in keys:
            raise BadInputError(
                f"search.within={key} is no axis of this search. Allowed: {', '.join(sorted(keys))}."
            )


def refuse_losses(configs: Iterable[Config]) -> None:
    """Refuses to compare the values of two losses, which are numbers of two kinds.

    Raises:
        BadInputError: The objective is a loss, and there are several.
    """
    known = list(configs)
    losses = {repr(config.loss) for config in known}
    if len(losses) > 1 and known[0].objective.endswith("_loss"):
        raise BadInputError(
            f"objective={known[0].objective} cannot choose between {len(losses)} losses: their values are"
            " numbers of different kinds. Type objective=val_accuracy, or one loss."
        )


def warn_of_falling(configs: Iterable[Config], pruner: str) -> None:
    """Warns where early stopping judges runs before their rate has fallen."""
    targets = [str(config.schedule.target) for config in configs]
    names = dict.fromkeys(target.removeprefix("sweeps.schedules.") for target in targets)
    falling = [name for name in names if name in FALLING]
    if pruner == "none" or not falling:
        return
    log.warning(
        "search.pruner=%s judges runs early, and under schedule=%s they gain most at the end, those at"
        " large rates above all: the best may be stopped. To train each run whole, add"
        " search.pruner=none; to judge later, add search.first=N (reports before the first decision).",
        pruner,
        ",".join(falling),
    )


def samples(proposer: Proposer) -> list[list[str]]:
    """Returns combinations that stand for all: of the groups each with each, of the rest each once."""
    space = proposer.space
    options = {dimension.keys: _ends(dimension) for dimension in space.dimensions}
    wanted: list[dict[str, str]] = [{}]
    for keys, values in options.items():
        if keys[0] in GROUPS:
            pairs = [dict(zip(keys, option, strict=True)) for option in values]
            wanted = [known | pair for known in wanted for pair in pairs][:MOST_SAMPLES]
    for keys, values in options.items():
        if keys[0] not in GROUPS:
            wanted += [dict(zip(keys, option, strict=True)) for option in values]
    found: dict[tuple[str, ...], None] = {}
    for one in wanted:
        others = (c for c in proposer.listed if all(c.get(k) == v for k, v in one.items()))
        for whole in itertools.chain([_completed(space, options, one)], others):
            if space.allowed(whole):
                found[tuple(space.overrides(whole))] = None
                break
    if not found:  # the ends of all are excluded: any other combination
        chosen = proposer.propose(0, [], [], lambda _: True)
        any_other = None if chosen is None else proposer.complete(chosen)
        if any_other is None:
            raise BadInputError("exclude leaves nothing that was found; exclude less.")
        return [space.overrides(any_other)]
    return [list(overrides) for overrides in found]


def _completed(
    space: Space, options: Mapping[Any, Any], wanted: Mapping[str, str]
) -> dict[str, str]:
    """Returns a combination that has what is wanted where that applies, and else the first options."""
    chosen: dict[str, str] = {}
    for dimension in space.dimensions:
        if space.applies(dimension, chosen):
            pairs = [
                dict(zip(dimension.keys, option, strict=True)) for option in options[dimension.keys]
            ]
            fits = (p for p in pairs if all(wanted.get(k, v) == v for k, v in p.items()))
            chosen |= next(fits, pairs[0])
    return chosen


def _ends(dimension: Dimension) -> tuple[tuple[str, ...], ...]:
    """Returns all options, or the two ends of an interval."""
    if dimension.interval is None:
        return dimension.options
    return tuple((text,) for text in ends(dimension.interval))
