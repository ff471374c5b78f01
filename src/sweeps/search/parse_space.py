"""From what was typed to a space: the axes, their bonds, and whether each sentence can be meant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from sweeps.config.conditions import (
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
from sweeps.search.dimensions import Dimension, read_dimension
from sweeps.search.space import Space, bare, has_key, reads

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from hydra.core.config_loader import ConfigLoader
    from hydra.core.override_parser.types import Override
    from hydra.types import HydraContext

    from sweeps.config.conditions import Rule


BONDS = ("zip", "exclude", "only")
"""Keys that say which axes belong together."""

SETTINGS = (*BONDS, "trials", "search", "extend", "seeds", "max_cells")
"""Keys that are about the sweep; its cells do not get them."""


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
    _refuse_lists(parsed)
    axes = _Axes({o.get_key_element(): o for o in parsed if not _is_setting(o)}, loader, master)
    zipped, excluded, only = (_setting(key, parsed, master) for key in BONDS)
    axes.check_presets(set(BONDS) - {override.key_or_group for override in parsed})
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

    def check_presets(self, settings: Iterable[str]) -> None:
        """Refuses presets that bring a zip, exclude or only of their own into a sweep over presets."""
        for word in self.words("experiment") if "experiment" in self.swept else ():
            config = self.compose([word])
            for key in sorted(settings):
                if config[key] != self.master[key]:
                    raise BadInputError(
                        f"{word} sets {key}, which belongs to a whole sweep. Sweep over one"
                        f" experiment, or type {key}=... for all."
                    )

    def implied(self) -> dict[str, Rule]:
        """Returns for each setting of a swept group the choices that have it, where not all have."""
        conditions: dict[str, Rule] = {}
        for key in self.typed:
            for group in self.swept:
                if not _is_inside(key, self.typed[group]):
                    continue
                words = self.words(group)
                having = [word for word in words if has_key(self.compose([*self.fixed, word]), key)]
                if 0 < len(having) < len(words):
                    chosen = tuple(plain(word.partition("=")[2]) for word in having)
                    conditions[key] = Comparison(bare(group), "is", chosen)
        return conditions

    def explicit(self, sentences: list[str]) -> dict[str, Rule]:
        """Returns when keys apply by the sentences of only."""
        conditions: dict[str, Rule] = {}
        for sentence in sentences:
            name, rule = read_only(sentence)
            key = self.find(name, f"only={sentence!r}")
            if key in conditions:
                raise BadInputError(f"only says twice when {key} applies; join the two with 'and'.")
            if bare(key) in reads(rule):
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
            if bare(key) == bare(name):
                return key
        axes = ", ".join(map(bare, self.typed)) or "none"
        near = did_you_mean(name, map(bare, self.typed))
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
        if name in map(bare, self.typed) or self.choices(name):
            return
        if any(has_key(config, name) for config in self._variants()):
            return
        known = [*map(bare, self.typed), *_keys(next(self._variants()))]
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
        key = next((key for key in self.typed if bare(key) == comparison.key), None)
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
    free = {bare(k) for d in dimensions if conditions.keys().isdisjoint(d.keys) for k in d.keys}
    typed = {bare(key) for dimension in dimensions for key in dimension.keys}
    waiting, ordered = list(dimensions), list[Dimension]()
    while waiting:
        left = {bare(key): dimension for dimension in waiting for key in dimension.keys}
        for dimension in waiting:
            read = {n for k in dimension.keys if k in conditions for n in reads(conditions[k])}
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


def _refuse_lists(parsed: Sequence[Override]) -> None:
    """Refuses several values for a setting of the sweep, which all its cells share."""
    for override in parsed:
        if _is_setting(override) and override.is_sweep_override():
            key = override.key_or_group
            if key == "seeds":
                raise BadInputError(
                    f"{override.input_line}: seeds are typed seed=...; seeds=auto repeats what is tied."
                )
            if key not in BONDS:
                raise BadInputError(
                    f"{override.input_line} has several values, and a sweep has one {key}. Type one;"
                    f" a list of names is typed '{key}=[a,b]'."
                )


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


def _is_inside(key: str, group: Override) -> bool:
    package = group.package or group.key_or_group.replace("/", ".")
    return key.startswith(f"{package}.")


def _keys(config: DictConfig) -> list[str]:
    """Returns the keys that can be typed."""
    nested = [
        f"{group!s}.{key!s}"
        for group, node in config.items_ex(resolve=False)
        if isinstance(node, DictConfig)
        for key in node
    ]
    return [*map(str, config), *nested]
