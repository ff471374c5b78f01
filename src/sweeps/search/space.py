"""The combinations of a sweep: which there are, where each setting applies, what is left out."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf

from sweeps.config.conditions import plain
from sweeps.errors import BadInputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sweeps.config.conditions import Rule
    from sweeps.search.dimensions import Dimension


@dataclass(frozen=True)
class Space:
    """All combinations that a sweep is about.

    Methods take the values chosen so far, by key, such as {'optimizer': 'sgd', 'lr': '0.1'}.

    Attributes:
        dimensions: In typed order, but after those they depend on; a fixed override has one option.
        typed: The words of each key, in typed order.
        conditions: When a key applies; a key without one always does.
        excluded: Combinations of which one of these holds are no cells.
        compose: Gives the config of some overrides.
    """

    dimensions: tuple[Dimension, ...]
    typed: dict[str, str]
    conditions: dict[str, Rule]
    excluded: tuple[Rule, ...]
    compose: Callable[[list[str]], DictConfig] = field(repr=False)
    _looked_up: dict[tuple[str, ...], str | None] = field(
        default_factory=dict, repr=False, compare=False
    )

    @property
    def finite(self) -> bool:
        """Whether its combinations can be listed."""
        return all(dimension.interval is None for dimension in self.dimensions)

    def applies(self, dimension: Dimension, chosen: Mapping[str, str]) -> bool:
        """Returns whether a dimension has a value, given those before it."""
        return any(self._has(key, chosen) for key in dimension.keys)

    def allowed(self, chosen: Mapping[str, str]) -> bool:
        """Returns whether no exclude sentence holds for a complete combination."""
        having = self.applying(chosen)
        return not any(rule.holds(lambda key: self._value(key, having)) for rule in self.excluded)

    def applying(self, chosen: Mapping[str, str]) -> dict[str, str]:
        """Returns a combination without the keys that do not apply in it."""
        return {key: value for key, value in chosen.items() if self._has(key, chosen)}

    def overrides(self, chosen: Mapping[str, str]) -> list[str]:
        """Returns a combination as overrides in typed order."""
        keys = (key for key in self.typed if key in chosen and self._has(key, chosen))
        return [f"{key}={chosen[key]}" for key in keys]

    def grid(self) -> list[list[str]]:
        """Returns the overrides of each cell: the product of all values, the last axis fastest.

        Raises:
            BadInputError: An axis has no end of values, or everything is excluded.
        """
        for dimension in self.dimensions:
            if dimension.interval is not None:
                key = dimension.keys[0]
                raise BadInputError(
                    f"{self.typed[key]} has no end of values; a grid needs a list, such as"
                    f" {key}=0.1,0.01, or a range such as {key}='range(1,4)'."
                )
        return [self.overrides(chosen) for chosen in self.combinations()]

    def combinations(self) -> list[dict[str, str]]:
        """Returns the choices of each cell of a space without intervals, see `grid`."""
        combinations = self._combinations()
        allowed = [chosen for chosen in combinations if self.allowed(chosen)]
        if not allowed:
            raise BadInputError(
                f"exclude leaves none of the {len(combinations)} combinations; exclude less."
            )
        return allowed

    def left_out(self) -> str:
        """Returns how many combinations of a grid's product are no cells, and why, or ''."""
        total = math.prod(len(dimension.options) for dimension in self.dimensions)
        combinations = self._combinations()
        excluded = sum(not self.allowed(chosen) for chosen in combinations)
        reasons = {
            "excluded": excluded,
            "with a setting that does not apply": total - len(combinations),
        }
        shown = ", ".join(f"{count} {reason}" for reason, count in reasons.items() if count)
        return (
            f"{sum(reasons.values())} of {total} combinations left out: {shown}." if shown else ""
        )

    def _combinations(self) -> list[dict[str, str]]:
        found: list[dict[str, str]] = [{}]
        for dimension in self.dimensions:
            found = [
                chosen | option for chosen in found for option in self.options(dimension, chosen)
            ]
        return found

    def options(self, dimension: Dimension, chosen: Mapping[str, str]) -> list[dict[str, str]]:
        """Returns what a listed dimension may add to the values chosen before it."""
        if not self.applies(dimension, chosen):
            return [{}]
        paired = [dict(zip(dimension.keys, option, strict=True)) for option in dimension.options]
        kept = [{k: v for k, v in p.items() if self._has(k, {**chosen, **p})} for p in paired]
        # Pairs may become equal where one of their keys does not apply; what was typed twice stays.
        return paired if kept == paired else [p for i, p in enumerate(kept) if p not in kept[:i]]

    def _has(self, key: str, chosen: Mapping[str, str]) -> bool:
        if key not in self.conditions:
            return True
        others = {other: value for other, value in chosen.items() if other != key}
        return self.conditions[key].holds(lambda name: self._value(name, others))

    def _value(self, name: str, chosen: Mapping[str, str]) -> str | None:
        """Returns what a setting is in a combination: chosen, or else as its config has it."""
        for key, text in chosen.items():
            if bare(key) == name:
                return plain(text)
        words = self.overrides(chosen)
        if (name, *words) not in self._looked_up:
            self._looked_up[name, *words] = _look_up(self.compose(words), name)
        return self._looked_up[name, *words]


def bare(key: str) -> str:
    """Returns a key as sentences name it, without Hydra's + and ~."""
    return key.lstrip("+~")


def reads(rule: Rule) -> set[str]:
    """Returns the settings that a condition reads."""
    return {key for comparison in rule.comparisons() for key in comparison.keys}


def has_key(config: DictConfig, key: str) -> bool:
    """Returns whether a key could be typed for a config."""
    parent, _, leaf = key.rpartition(".")
    node = OmegaConf.select(config, parent) if parent else config
    return isinstance(node, DictConfig) and leaf in list(node)


def _look_up(config: DictConfig, key: str) -> str | None:
    """Returns a group's choice or a setting's value, or None where the config has none."""
    choices = config.hydra.runtime.choices
    if key in choices:
        return plain(str(choices[key]))
    return plain(str(OmegaConf.select(config, key))) if has_key(config, key) else None
