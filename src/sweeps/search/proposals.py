"""What to try next: the samplers of Optuna over our spaces."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sweeps.errors import BadInputError
from sweeps.search.optuna_trials import frozen, make_study
from sweeps.seeding import derive

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler

    from sweeps.search.trials import Trial
    from sweeps.space import Dimension, Interval, Space

TRIES = 30
"""Proposals that repeat a trial or are excluded, before a finite space is looked through in order."""

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
    search: Mapping[str, Any]

    def propose(
        self,
        number: int,
        trials: Sequence[Trial],
        known: Sequence[Trial],
        is_new: Callable[[Mapping[str, str]], bool],
    ) -> dict[str, str] | None:
        """Returns what is chosen for the next trial, by key, or None where all has been tried.

        Args:
            number: Of the trial, from 0.
            trials: All trials so far, in order.
            known: Results of other studies, which the sampler learns from.
            is_new: Whether complete choices are another run than each of the trials.
        """
        for point in self._points()[number:]:
            if is_new(point):
                return self._without_fixed(point)
        if self.search["sampler"] != "grid":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Optuna's own, such as that a sampler is new
                for chosen in self._sampled(number, trials, known):
                    if self.space.allowed(chosen) and is_new(chosen):
                        return self._without_fixed(chosen)
        if not self.space.finite:
            return None
        found = next((point for point in self._listed() if is_new(point)), None)
        return None if found is None else self._without_fixed(found)

    def complete(self, chosen: Mapping[str, str]) -> dict[str, str] | None:
        """Returns the choices of a trial with what is fixed, or None where it is of another space."""
        whole: dict[str, str] = {}
        for dimension in self.space.dimensions:
            if not self.space.applies(dimension, whole):
                continue
            if is_fixed(dimension):
                whole |= zip(dimension.keys, dimension.options[0], strict=True)
            elif _fits(dimension, chosen):
                whole |= {key: chosen[key] for key in dimension.keys}
            else:
                return None
        return whole if all(whole.get(key) == value for key, value in chosen.items()) else None

    def _without_fixed(self, whole: Mapping[str, str]) -> dict[str, str]:
        """Returns what is chosen among several: what is fixed may be typed differently next time."""
        fixed = {k for d in self.space.dimensions if is_fixed(d) for k in d.keys}
        return {key: value for key, value in whole.items() if key not in fixed}

    def _listed(self) -> list[dict[str, str]]:
        """Returns every combination of a finite space."""
        return [
            dict(override.split("=", maxsplit=1) for override in overrides)
            for overrides in self.space.grid()
        ]

    def _points(self) -> list[dict[str, str]]:
        """Returns the points that a person wants tried first, completed by the first options."""
        return [self._completed(point) for point in self.search["points"]]

    def _completed(self, point: Mapping[str, Any]) -> dict[str, str]:
        given = {str(key): _text(value) for key, value in point.items()}
        keys = [key for dimension in self.space.dimensions for key in dimension.keys]
        if strange := [key for key in given if key not in keys]:
            raise BadInputError(
                f"search.points has {strange[0]}, which is no axis of this search. Allowed:"
                f" {', '.join(keys)}."
            )
        chosen: dict[str, str] = {}
        for dimension in self.space.dimensions:
            if not self.space.applies(dimension, chosen):
                continue
            for place, key in enumerate(dimension.keys):
                if key not in given and dimension.interval is not None:
                    raise BadInputError(
                        f"search.points has a point without {key}, which is an interval; add it."
                    )
                chosen[key] = given.get(key) or dimension.options[0][place]
        return chosen

    def _sampled(
        self, number: int, trials: Sequence[Trial], known: Sequence[Trial]
    ) -> Iterator[dict[str, str]]:
        """Yields proposals of the sampler, each the next of one stream of random numbers."""
        seed = derive(self.search["seed"], f"trial {number}") % 2**32
        study = make_study(self._sampler(seed))
        study.add_trials([self._frozen(trial) for trial in [*known, *trials]])
        if self.search["sampler"] == "qmc":
            for _ in range(number):  # the points of a sequence that earlier trials took
                study.ask()
        for _ in range(TRIES):
            asked, chosen = study.ask(), dict[str, str]()
            for dimension in self.space.dimensions:
                if self.space.applies(dimension, chosen):
                    chosen |= _suggest(asked, dimension)
            yield chosen
            study.tell(asked, state=_failed())

    def _sampler(self, seed: int) -> BaseSampler:
        from optuna import samplers

        name = self.search["sampler"]
        if name == "tpe":
            return samplers.TPESampler(seed=seed, constant_liar=True)
        if name == "random":
            return samplers.RandomSampler(seed=seed)
        if name == "gp":
            return samplers.GPSampler(seed=seed)
        # One sequence for the whole search.
        return samplers.QMCSampler(seed=derive(self.search["seed"], "qmc") % 2**32, scramble=True)

    def _frozen(self, trial: Trial) -> Any:
        params: dict[str, Any] = {}
        distributions: dict[str, BaseDistribution] = {}
        for dimension in self.space.dimensions:
            if not is_fixed(dimension) and _fits(dimension, trial.chosen):
                name = _name(dimension)
                distributions[name] = _distribution(dimension)
                params[name] = _param(dimension, trial.chosen)
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
        low, high, step = int(interval.low), int(interval.high), int(interval.step or 1)
        return {name: str(asked.suggest_int(name, low, high, step=step, log=interval.log))}
    value = asked.suggest_float(
        name, interval.low, interval.high, step=interval.step, log=interval.log
    )
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
        step = int(interval.step or 1)
        return IntDistribution(int(interval.low), int(interval.high), interval.log, step)
    return FloatDistribution(interval.low, interval.high, interval.log, interval.step)


def _fits(dimension: Dimension, chosen: Mapping[str, str]) -> bool:
    """Returns whether a trial, which may be of an earlier and wider space, has a value here."""
    if not all(key in chosen for key in dimension.keys):
        return False
    if dimension.interval is None:
        return tuple(chosen[key] for key in dimension.keys) in dimension.options
    return dimension.interval.low <= float(chosen[dimension.keys[0]]) <= dimension.interval.high


def _param(dimension: Dimension, chosen: Mapping[str, str]) -> Any:
    if dimension.interval is None:
        return _label(tuple(chosen[key] for key in dimension.keys))
    value = float(chosen[dimension.keys[0]])
    return int(value) if dimension.interval.integer else value


def _written(value: float, interval: Interval) -> str:
    """Returns a number in few digits, within its interval."""
    rounded = float(f"{value:.{DIGITS}g}")
    return repr(min(max(rounded, interval.low), interval.high))


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) or value is None else str(value)


def _failed() -> Any:
    from optuna.trial import TrialState

    return TrialState.FAIL
