"""What to try beyond the edge of a grid: the next values in its steps, which the config allows."""

from __future__ import annotations

import itertools
import math
import statistics
from typing import TYPE_CHECKING, Any

import yaml

from sweeps.analysis.axes import number
from sweeps.errors import BadInputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sweeps.runs.results import RunResult


HOW_MANY = 2
LARGEST_FACTOR = 10.0
"""Between one value and the next: a gap in a grid is no step of it."""
UNEVEN = 1.5
"""Steps that differ by more than this factor have no pattern; 1, 3, 10 has one."""
FRACTIONS = (
    "alpha",
    "dropout",
    "factor",
    "final",
    "gamma",
    "label_smoothing",
    "momentum",
    "peak_fraction",
    "test_fraction",
    "val_fraction",
)
"""Settings between 0 and 1 by their last name: the next of 0.9 and 0.99 is 0.999."""


def next_values(
    axis: str,
    tried: Sequence[str],
    *,
    larger: bool,
    run: RunResult,
    least_factor: float = 0.0,
) -> list[str]:
    """Returns values beyond the largest or the smallest one tried; none where nothing can follow.

    Args:
        axis: The setting.
        tried: Its values, two or more.
        larger: Which end.
        run: One that was trained; what its config does not allow is left out.
        least_factor: Between one value and the next, where the steps of the grid are too small; 0:
            they are right.
    """
    found = sorted(n for n in map(number, tried) if n is not None)
    if len(found) < 2:
        return []
    steps = _fractions(found) if larger and _is_fraction(axis, found) else None
    steps = steps or _steps(found, larger=larger, least_factor=least_factor)
    if all(n == int(n) for n in found) and axis.rpartition(".")[2] != "lr":
        texts = [str(round(n)) for n in steps if n >= 1 or found[0] <= 0]
    else:
        texts = [_short(n) for n in steps]
    new = [text for text in dict.fromkeys(texts) if float(text) not in found]
    return [text for text in new if _is_allowed(axis, text, run)]


def _is_fraction(axis: str, found: Sequence[float]) -> bool:
    return axis.rpartition(".")[2] in FRACTIONS and found[-1] < 1


def _fractions(found: Sequence[float]) -> list[float]:
    """Returns values nearer to 1, each by the factor by which the last one came nearer."""
    factor = min((1 - found[-2]) / (1 - found[-1]), LARGEST_FACTOR)
    return [1 - (1 - found[-1]) / factor**i for i in range(1, HOW_MANY + 1)]


def _steps(found: Sequence[float], *, larger: bool, least_factor: float) -> list[float]:
    """Returns the next values: by the same factors, or by the same difference."""
    edge, sign = (found[-1], 1) if larger else (found[0], -1)
    differences = [b - a for a, b in itertools.pairwise(found)]
    even = max(differences) - min(differences) < 1e-6 * max(differences)
    if found[0] <= 0 or (even and len(found) > 2 and not least_factor):
        step = statistics.median_low(differences)
        following = [edge + sign * step * i for i in range(1, HOW_MANY + 1)]
        return [value for value in following if value > 1e-6 * step or found[0] < 0]
    ratios = [b / a for a, b in itertools.pairwise(found)]
    last = ratios[-2:][::-1] if larger else ratios[:2]
    if max(ratios) > UNEVEN * min(ratios):
        last = [min(statistics.median_low(ratios), LARGEST_FACTOR)]
    first, second = last[0], last[-1]  # 0.3, 0.1, 0.03 goes on with 0.01 and 0.003
    factors = [max(min(f, LARGEST_FACTOR), least_factor) for f in (second, first)]
    return [edge * factors[0] ** sign, edge * (factors[0] * factors[1]) ** sign]


def _short(value: float) -> str:
    """Returns a value as a person would type it: 0.0333 is 0.03, and 0.9875 stays apart from 1."""
    near_one = 0.9 < value < 1
    digits = 1 - math.floor(math.log10(1 - value)) if near_one else 2
    return f"{float(f'{value:.{digits}g}'):g}"  # 100, not 1e+02


def _is_allowed(axis: str, text: str, run: RunResult) -> bool:
    """Returns whether a run's config with one other value is a config."""
    if axis == "batch_size" and float(text) > float(run.data.get("train", "inf")):
        return False
    settings = {**run.settings, "objective": run.objective}
    try:
        _check(settings)
    except BadInputError:
        return True  # not a config of ours: of somebody else's run nothing is known
    try:
        _check({**settings, axis: text})
    except BadInputError:
        return False
    return True


def _check(settings: Mapping[str, str]) -> None:
    """Checks settings by dotted name as a config.

    Raises:
        BadInputError: They are none.
    """
    from sweeps.config import from_mapping
    from sweeps.config.saved import shipped_values
    from sweeps.config.schema import GROUPS

    values: dict[str, Any] = {**shipped_values(), "name": "advice", "tracking": {}}
    values |= {group: {} for group in GROUPS}
    for key, text in settings.items():
        group, _, inner = key.partition(".")
        if inner and group in GROUPS:
            values[group][inner] = _value(text)
        elif key in values and not isinstance(values[key], dict):
            values[key] = _value(text)
    from_mapping(values)


def _value(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text
