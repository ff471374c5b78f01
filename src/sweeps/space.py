"""The space of a sweep: its axes, which belong together, where each applies, what is left out."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import OverrideType
from omegaconf import DictConfig, OmegaConf

from sweeps.config.dimensions import Dimension, Interval, read_dimension
from sweeps.config.rules import (
    ORDER,
    Comparison,
    number,
    plain,
    read_exclude,
    read_only,
    read_sentences,
    read_zip,
)
from sweeps.errors import BadInputError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from hydra.core.config_loader import ConfigLoader
    from hydra.core.override_parser.types import Override
    from hydra.types import HydraContext

    from sweeps.config.rules import Rule

__all__ = ["Dimension", "Interval", "Space", "parse_space"]

BONDS = ("zip", "exclude", "only")
"""Keys that say which axes belong together."""

SETTINGS = (*BONDS, "trials", "search")
"""Keys that are about the sweep; its cells do not get them."""


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

    @property
    def finite(self) -> bool:
        """Whether its combinations can be listed."""
        return all(dimension.interval is None for dimension in self.dimensions)

    def applies(self, dimension: Dimension, chosen: Mapping[str, str]) -> bool:
        """Returns whether a dimension has a value, given those before it."""
        own = {_bare(key) for key in dimension.keys}
        return any(
            # Where one zipped key depends on another, the pair decides.
            not own.isdisjoint(_reads(self.conditions[key])) or self._has(key, chosen)
            if key in self.conditions
            else True
            for key in dimension.keys
        )

    def allowed(self, chosen: Mapping[str, str]) -> bool:
        """Returns whether no exclude sentence holds for a complete combination."""
        having = {key: value for key, value in chosen.items() if self._has(key, chosen)}
        return not any(rule.holds(lambda key: self._value(key, having)) for rule in self.excluded)

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
        combinations = self._combinations()
        cells = [self.overrides(chosen) for chosen in combinations if self.allowed(chosen)]
        if not cells:
            raise BadInputError(
                f"exclude leaves none of the {len(combinations)} combinations; exclude less."
            )
        return cells

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
                chosen | option for chosen in found for option in self._options(dimension, chosen)
            ]
        return found

    def _options(self, dimension: Dimension, chosen: dict[str, str]) -> list[dict[str, str]]:
        if not self.applies(dimension, chosen):
            return [{}]
        paired = [dict(zip(dimension.keys, option, strict=True)) for option in dimension.options]
        kept = [{k: v for k, v in p.items() if self._has(k, chosen | p)} for p in paired]
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
            if _bare(key) == name:
                return plain(text)
        return _look_up(self.compose(self.overrides(chosen)), name)


def parse_space(arguments: Sequence[str], hydra_context: HydraContext, master: DictConfig) -> Space:
    """Reads the axes that were typed, and zip, exclude and only, typed or from the config.

    Args:
        arguments: The overrides, some with several values.
        hydra_context: Hydra's; its config loader composes.
        master: The config of the sweep.

    Raises:
        BadInputError: An axis has no values, a sentence cannot be read, or one is about something
            that this sweep does not have.
    """
    loader = hydra_context.config_loader
    parsed = OverridesParser.create(config_loader=loader).parse_overrides(list(arguments))
    axes = _Axes({o.get_key_element(): o for o in parsed if not _is_setting(o)}, loader, master)
    zipped, excluded, only = (_setting(key, parsed, master) for key in BONDS)
    axes.check_presets()
    rules = [
        axes.checked(read_exclude(sentence), f"exclude={sentence!r}")
        for sentence in read_sentences("exclude", excluded)
    ]
    conditions = axes.implied() | axes.explicit(read_sentences("only", only))
    dimensions = axes.paired(read_zip(zipped))
    return Space(
        dimensions=_ordered(dimensions, conditions),
        typed={key: str(override.input_line) for key, override in axes.typed.items()},
        conditions=conditions,
        excluded=tuple(rules),
        compose=axes.compose,
    )


class _Axes:
    """What was typed, and what the config knows besides.

    Args:
        typed: The overrides by key.
        loader: Composes, and knows the groups.
        master: The config of the sweep.
    """

    def __init__(
        self, typed: dict[str, Override], loader: ConfigLoader, master: DictConfig
    ) -> None:
        self.typed = typed
        self.loader = loader
        self.master = master
        self.dimensions = {key: read_dimension(override) for key, override in typed.items()}
        groups = [key for key, override in typed.items() if self.choices(override.key_or_group)]
        self.swept = [key for key in groups if len(self.dimensions[key].options) > 1]
        self.fixed = [word for key in groups if key not in self.swept for word in self.words(key)]

    def compose(self, words: list[str]) -> DictConfig:
        """Returns the config of a cell."""
        return self.loader.load_sweep_config(self.master, words)

    def choices(self, group: str) -> list[str]:
        """Returns the choices of a group; none where it is no group."""
        return list(self.loader.get_group_options(group, results_filter=ObjectType.CONFIG))

    def words(self, key: str) -> list[str]:
        """Returns what can be chosen for a key, as overrides."""
        return [f"{key}={value}" for (value,) in self.dimensions[key].options]

    def check_presets(self) -> None:
        """Refuses presets that bring a zip, exclude or only of their own into a sweep over presets."""
        for word in self.words("experiment") if "experiment" in self.swept else ():
            config = self.compose([word])
            for key in BONDS:
                if config[key] != self.master[key]:
                    raise BadInputError(
                        f"{word} sets {key}, which belongs to a whole sweep. Sweep over one"
                        f" experiment, or type {key}=... for all."
                    )

    def implied(self) -> dict[str, Rule]:
        """Returns for each setting of a swept group the choices that have it, where not all have."""
        conditions: dict[str, Rule] = {}
        for key, override in self.typed.items():
            for group in self.swept:
                if override.type != OverrideType.CHANGE or not _is_inside(key, self.typed[group]):
                    continue
                words = self.words(group)
                having = [
                    word for word in words if _has_key(self.compose([*self.fixed, word]), key)
                ]
                if 0 < len(having) < len(words):
                    chosen = tuple(plain(word.partition("=")[2]) for word in having)
                    conditions[key] = Comparison(_bare(group), "is", chosen)
        return conditions

    def explicit(self, sentences: list[str]) -> dict[str, Rule]:
        """Returns when keys apply by the sentences of only."""
        conditions: dict[str, Rule] = {}
        for sentence in sentences:
            name, rule = read_only(sentence)
            key = self.find(name, f"only={sentence!r}")
            if key in conditions:
                raise BadInputError(f"only says twice when {key} applies; join the two with 'and'.")
            if _bare(key) in _reads(rule):
                raise BadInputError(f"only={sentence!r}: {key} cannot depend on itself.")
            conditions[key] = self.checked(rule, f"only={sentence!r}")
        return conditions

    def paired(self, zipped: list[list[str]]) -> tuple[Dimension, ...]:
        """Returns the axes; those that are zipped stand where the first of them was typed."""
        dimensions = dict(self.dimensions)
        for names in zipped:
            where = f"zip=[{','.join(names)}]"
            found = {self.find(name, where) for name in names}
            keys = tuple(key for key in self.typed if key in found)
            options = [[value for (value,) in dimensions[key].options] for key in keys]
            if len({*map(len, options)}) > 1 or not options[0]:
                counts = ", ".join(
                    f"{key} has {len(values) or 'no end of'}"
                    for key, values in zip(keys, options, strict=True)
                )
                raise BadInputError(f"{where} pairs lists of the same length; {counts} values.")
            dimensions[keys[0]] = Dimension(keys, tuple(zip(*options, strict=True)))
            for key in keys[1:]:
                del dimensions[key]
        return tuple(dimensions.values())

    def find(self, name: str, where: str) -> str:
        """Returns the typed key of an axis."""
        for key in self.typed:
            if _bare(key) == _bare(name):
                return key
        axes = ", ".join(map(_bare, self.typed)) or "none"
        near = did_you_mean(name, map(_bare, self.typed))
        raise BadInputError(
            f"{where}: {name} is no axis of this sweep.{near} Its axes: {axes}. Add {name}=... or"
            " leave it out."
        )

    def checked(self, rule: Rule, where: str) -> Rule:
        """Returns a rule whose settings exist and can have the values that it names."""
        for comparison in rule.comparisons():
            for key in comparison.keys:
                self._check_key(key, where)
            self._check_values(comparison, where)
        return rule

    def _check_key(self, name: str, where: str) -> None:
        if name in map(_bare, self.typed) or self.choices(name):
            return
        if any(_has_key(config, name) for config in self._variants()):
            return
        known = [*map(_bare, self.typed), *_keys(next(self._variants()))]
        raise BadInputError(
            f"{where}: {name} is no setting.{did_you_mean(name, known)}"
            " 'python -m sweeps.train --cfg job' shows every key."
        )

    def _variants(self) -> Iterator[DictConfig]:
        """Yields a config for each choice of the swept groups, after one of their defaults."""
        yield self.compose(self.fixed)
        for group in self.swept:
            for word in self.words(group):
                yield self.compose([*self.fixed, word])

    def _check_values(self, comparison: Comparison, where: str) -> None:
        """Refuses words that an axis never has; numbers compare whether they are on it or not."""
        key = next((key for key in self.typed if _bare(key) == comparison.key), None)
        dimension = self.dimensions[key] if key else Dimension((), ())
        words = [plain(value) for (value,) in dimension.options]
        choices = self.choices(comparison.key.partition("@")[0])
        if not choices and not dimension.interval and len(words) < 2:
            return
        words += [choice for choice in choices if choice not in words]
        numeric = dimension.interval is not None or any(number(w) is not None for w in words)
        if comparison.operator in ORDER and not numeric:
            raise BadInputError(
                f"{where}: {comparison.key} has words, {', '.join(words)}: compare it with 'is' or"
                " 'is not'."
            )
        for value in comparison.values if comparison.operator not in ORDER else ():
            if value not in words and not (numeric and number(value) is not None):
                raise BadInputError(
                    f"{where}: {comparison.key} is never {value}.{did_you_mean(value, words)}"
                    f" Allowed: {', '.join(words) or 'numbers'}."
                )


def _ordered(
    dimensions: Sequence[Dimension], conditions: Mapping[str, Rule]
) -> tuple[Dimension, ...]:
    """Returns the axes in typed order, but each after those that its conditions read."""
    free = {_bare(k) for d in dimensions if conditions.keys().isdisjoint(d.keys) for k in d.keys}
    typed = {_bare(key) for dimension in dimensions for key in dimension.keys}
    waiting, ordered = list(dimensions), list[Dimension]()
    while waiting:
        left = {_bare(key): dimension for dimension in waiting for key in dimension.keys}
        for dimension in waiting:
            read = {n for k in dimension.keys if k in conditions for n in _reads(conditions[k])}
            # A setting that was not typed is read from the config, which all free axes decide.
            needed = read | free if read - typed else read
            if all(left.get(name, dimension) is dimension for name in needed):
                break
        else:
            circle = ", ".join(key for dimension in waiting for key in dimension.keys)
            raise BadInputError(f"only goes in a circle: {circle} wait for each other.")
        waiting.remove(dimension)
        ordered.append(dimension)
    return tuple(ordered)


def _is_setting(override: Override) -> bool:
    return override.key_or_group.partition(".")[0] in SETTINGS


def _setting(key: str, parsed: Sequence[Override], master: DictConfig) -> Any:
    """Returns a setting of the sweep as plain values: the last one typed, or else the config's."""
    for override in reversed(parsed):
        if override.key_or_group == key:
            sweep = override.is_sweep_override()
            return [*map(plain, override.sweep_string_iterator())] if sweep else override.value()
    value = master[key]
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def _bare(key: str) -> str:
    """Returns a key as sentences name it, without Hydra's + and ~."""
    return key.lstrip("+~")


def _is_inside(key: str, group: Override) -> bool:
    package = group.package or group.key_or_group.replace("/", ".")
    return key.startswith(f"{package}.")


def _reads(rule: Rule) -> set[str]:
    return {key for comparison in rule.comparisons() for key in comparison.keys}


def _has_key(config: DictConfig, key: str) -> bool:
    parent, _, leaf = key.rpartition(".")
    node = OmegaConf.select(config, parent) if parent else config
    return isinstance(node, DictConfig) and leaf in list(node)


def _keys(config: DictConfig) -> list[str]:
    """Returns the keys that can be typed."""
    nested = [
        f"{g}.{k}"
        for g, node in config.items_ex(resolve=False)
        if isinstance(node, DictConfig)
        for k in node
    ]
    return [*map(str, config), *nested]


def _look_up(config: DictConfig, key: str) -> str | None:
    """Returns a group's choice or a setting's value, or None where the config has none."""
    choices = config.hydra.runtime.choices
    if key in choices:
        return plain(str(choices[key]))
    return plain(str(OmegaConf.select(config, key))) if _has_key(config, key) else None
