"""What to try next: the samplers of Optuna over our spaces."""

from __future__ import annotations

import functools
import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sweeps.config.conditions import number as as_number
from sweeps.config.conditions import same
from sweeps.errors import BadInputError
from sweeps.search.optuna_study import frozen, make_study
from sweeps.seeding import derive

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler

    from sweeps.config import SearchConfig
    from sweeps.search.dimensions import Dimension, Interval
    from sweeps.search.space import Space
    from sweeps.search.trial import Trial


TRIES = 30
"""Proposals that repeat a trial or are excluded, before a finite space is looked through in order."""

MOST_LISTED = 10_000
"""Combinations that are looked through; of more than these a sampler finds a new one anyhow."""

DIGITS = 4
"""Significant digits of a proposed number: enough for any rate, and short in every table."""


@dataclass(frozen=True)
class Proposer:
    """Proposes settings.

    Each proposal is a function of the space, the search's seed and the trials before it: the study of
    Optuna is made anew for each, from the trials, so there is no state that a kill could lose.

    Args:
        space: What may be chosen.
        search: The settings of the search.
    """

    space: Space
    search: SearchConfig

    def propose(
        self,
        number: int,
        trials: Sequence[Trial],
        known: Sequence[Trial],
        is_new: Callable[[Mapping[str, str]], bool],
    ) -> dict[str, str] | None:
        """Returns what is chosen for the next trial, by key, or None where nothing new is found.

        Args:
            number: Of the trial, from 0.
            trials: All trials so far, in order.
            known: Results of other studies, which the sampler learns from.
            is_new: Whether complete choices are another run than each of the trials.
        """
        for whole in self._candidates(number, trials, known):
            if self.space.allowed(whole) and is_new(whole):
                return self._without_fixed(whole)
        return None

    def complete(self, chosen: Mapping[str, str]) -> dict[str, str] | None:
        """Returns the choices of a trial with what is fixed, or None where it is of another space."""
        whole: dict[str, str] = {}
        for dimension in self.space.dimensions:
            found = self._found(dimension, chosen, whole)
            if found is None:
                return None
            whole |= found
        fits = all(key in whole and same(whole[key], value) for key, value in chosen.items())
        return whole if fits else None

    @functools.cached_property
    def points(self) -> list[dict[str, str]]:
        """What a person wants tried first, completed by the first options.

        Raises:
            BadInputError: A point is not in the space.
        """
        return [self._checked(point) for point in self.search.points]

    @functools.cached_property
    def listed(self) -> list[dict[str, str]]:
        """Every combination, where they can be listed and are not too many."""
        if not self.space.finite:
            return []
        count = math.prod(len(dimension.options) for dimension in self.space.dimensions)
        return self.space.combinations() if count <= MOST_LISTED else []

    def _candidates(
        self, number: int, trials: Sequence[Trial], known: Sequence[Trial]
    ) -> Iterator[dict[str, str]]:
        yield from self.points
        if self.search.sampler != "grid":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Optuna's own, such as that a sampler is new
                yield from self._sampled(self.search.sampler, number, trials, known)
        yield from self.listed
        if not self.listed:  # near what is excluded a sampler may insist
            yield from self._sampled("random", number, [], [])

    def _found(
        self, dimension: Dimension, chosen: Mapping[str, str], before: Mapping[str, str]
    ) -> dict[str, str] | None:
        """Returns what was chosen of a dimension, in its own words, or None where it has no such."""
        if dimension.interval is None:
            for option in self.space.options(dimension, before):
                if is_fixed(dimension) or all(
                    key in chosen and same(chosen[key], value) for key, value in option.items()
                ):
                    return option
            return None
        key = dimension.keys[0]
        if not self.space.applies(dimension, before):
            return {}
        return {key: chosen[key]} if _inside(dimension.interval, chosen.get(key)) else None

    def _checked(self, point: Mapping[str, Any]) -> dict[str, str]:
        given = {str(key): _text(value) for key, value in point.items()}
        keys = [key for dimension in self.space.dimensions for key in dimension.keys]
        if strange := [key for key in given if key not in keys]:
            raise BadInputError(
                f"search.points has {strange[0]}, which is no axis of this search. Allowed:"
                f" {', '.join(keys)}."
            )
        whole: dict[str, str] = {}
        for dimension in self.space.dimensions:
            if dimension.interval is None:
                fits = [
                    option
                    for option in self.space.options(dimension, whole)
                    if all(same(given.get(key, value), value) for key, value in option.items())
                ]
                found = fits[0] if fits else None
            else:
                found = self._found(dimension, given, whole)
            if found is None:
                wanted = ", ".join(f"{k}={given.get(k, '?')}" for k in dimension.keys)
                raise BadInputError(
                    f"search.points has a point with {wanted}, which is not among its values."
                )
            whole |= found
        if not self.space.allowed(whole):
            raise BadInputError(f"search.points has {dict(point)}, which exclude leaves out.")
        return whole

    def _without_fixed(self, whole: Mapping[str, str]) -> dict[str, str]:
        """Returns what is chosen among several: what is fixed may be typed differently next time."""
        fixed = {k for d in self.space.dimensions if is_fixed(d) for k in d.keys}
        applying = self.space.applying(whole)
        return {key: value for key, value in applying.items() if key not in fixed}

    def _sampled(
        self, sampler: str, number: int, trials: Sequence[Trial], known: Sequence[Trial]
    ) -> Iterator[dict[str, str]]:
        """Yields proposals of a sampler, each the next of one stream of random numbers."""
        seed = derive(self.search.seed, f"trial {number}") % 2**32
        study = make_study(self._sampler(sampler, seed))
        study.add_trials([self._frozen(trial) for trial in [*known, *trials]])
        if sampler == "qmc":
            for _ in range(number):  # the points of a sequence that earlier trials took
                study.ask()
        for _ in range(TRIES):
            asked, chosen = study.ask(), dict[str, str]()
            for dimension in self.space.dimensions:
                if self.space.applies(dimension, chosen):
                    chosen |= _suggest(asked, dimension)
            yield chosen
            study.tell(asked, state=_failed())

    def _sampler(self, name: str, seed: int) -> BaseSampler:
        from optuna import samplers

        if name == "tpe":
            return samplers.TPESampler(seed=seed, constant_liar=True)
        if name == "random":
            return samplers.RandomSampler(seed=seed)
        if name == "gp":
            return samplers.GPSampler(seed=seed)
        # One sequence for the whole search.
        return samplers.QMCSampler(seed=derive(self.search.seed, "qmc") % 2**32, scramble=True)

    def _frozen(self, trial: Trial) -> Any:
        params: dict[str, Any] = {}
        distributions: dict[str, BaseDistribution] = {}
        for dimension in self.space.dimensions:
            param = None if is_fixed(dimension) else _param(dimension, trial.chosen)
            if param is not None:
                distributions[_name(dimension)] = _distribution(dimension)
                params[_name(dimension)] = param
        return frozen(trial, params, distributions)


def _suggest(asked: Any, dimension: Dimension) -> dict[str, str]:
    if is_fixed(dimension):
        return dict(zip(dimension.keys, dimension.options[0], strict=True))
    name, interval = _name(dimension), dimension.interval
    if interval is None:
        label = asked.suggest_categorical(name, [_label(option) for option in dimension.options])
        option = next(option for option in dimension.options if _label(option) == label)
        return dict(zip(dimension.keys, option, strict=True))
    if interval.integer:
        low, high = int(interval.low), int(interval.high)
        return {name: str(asked.suggest_int(name, low, high, log=interval.log))}
    value = asked.suggest_float(name, interval.low, interval.high, log=interval.log)
    return {name: _written(value, interval)}


def is_fixed(dimension: Dimension) -> bool:
    """Returns whether a dimension leaves nothing to choose."""
    return dimension.interval is None and len(dimension.options) == 1


def _name(dimension: Dimension) -> str:
    return ",".join(dimension.keys)


def _label(option: tuple[str, ...]) -> str:
    return ",".join(option)


def _distribution(dimension: Dimension) -> BaseDistribution:
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    interval = dimension.interval
    if interval is None:
        return CategoricalDistribution([_label(option) for option in dimension.options])
    if interval.integer:
        return IntDistribution(int(interval.low), int(interval.high), interval.log)
    return FloatDistribution(interval.low, interval.high, interval.log)


def _param(dimension: Dimension, chosen: Mapping[str, str]) -> str | float | None:
    """Returns what Optuna calls the value, or None where a trial of another space has none here."""
    if dimension.interval is not None:
        text = chosen.get(dimension.keys[0])
        if not _inside(dimension.interval, text):
            return None
        value = float(text or "nan")
        return int(value) if dimension.interval.integer else value
    present = [(place, key) for place, key in enumerate(dimension.keys) if key in chosen]
    for option in dimension.options if present else ():
        if all(same(option[place], chosen[key]) for place, key in present):
            return _label(option)
    return None


def _inside(interval: Interval, text: str | None) -> bool:
    value = None if text is None else as_number(text)
    return value is not None and interval.low <= value <= interval.high


def ends(interval: Interval) -> list[str]:
    """Returns the smallest and the largest value of an interval, as they are typed."""
    if interval.integer:
        return [str(int(interval.low)), str(int(interval.high))]
    return [repr(float(interval.low)), repr(float(interval.high))]


def _written(value: float, interval: Interval) -> str:
    """Returns a number in few digits, within its interval."""
    rounded = float(f"{value:.{DIGITS}g}")
    return repr(min(max(rounded, interval.low), interval.high))


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) or value is None else str(value)


def _failed() -> Any:
    from optuna.trial import TrialState

    return TrialState.FAIL
