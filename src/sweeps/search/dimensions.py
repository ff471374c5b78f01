"""The axes of a sweep as they are typed: lists, ranges, globs of choices, and intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hydra.core.override_parser.types import IntervalSweep, RangeSweep

from sweeps.errors import BadInputError

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override


@dataclass(frozen=True)
class Interval:
    """All numbers between two.

    Attributes:
        low: The smallest.
        high: The largest.
        log: Spread evenly over orders of magnitude.
        integer: Whole numbers alone.
    """

    low: float
    high: float
    log: bool = False
    integer: bool = False


@dataclass(frozen=True)
class Dimension:
    """One axis: a key with its values, or several keys whose values are paired.

    Attributes:
        keys: What stands before the '=', such as 'lr' or '+optimizer.eps'.
        options: Each a value for each key, as text that Hydra takes; empty for an interval.
        interval: The range of numbers, where there is one.
    """

    keys: tuple[str, ...]
    options: tuple[tuple[str, ...], ...]
    interval: Interval | None = None


def read_dimension(override: Override) -> Dimension:
    """Returns the axis that an override is; a plain one has one option.

    Raises:
        BadInputError: It has no values.
    """
    keys = (override.get_key_element(),)
    if not override.is_sweep_override():
        return Dimension(keys, ((override.get_value_element_as_str(),),))
    if isinstance(sweep := override.value(), IntervalSweep):
        return Dimension(keys, (), _interval(override.input_line, sweep))
    if isinstance(sweep, RangeSweep) and not sweep.step:
        raise BadInputError(f"{override.input_line} has a step of 0; type range(START,STOP,STEP).")
    options = tuple((text,) for text in override.sweep_string_iterator())
    if not options:
        raise BadInputError(f"{override.input_line} holds no values; type a list, such as a,b.")
    return Dimension(keys, options)


def _interval(typed: str | None, sweep: IntervalSweep) -> Interval:
    low, high, log = sweep.start, sweep.end, "log" in sweep.tags
    assert low is not None
    assert high is not None
    if unknown := sweep.tags - {"log"}:
        raise BadInputError(f"{typed} has the tag {', '.join(sorted(unknown))}. Allowed: log.")
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise BadInputError(f"{typed} must go from a finite number to a larger one.")
    if log and low <= 0:
        raise BadInputError(f"{typed} must start above 0, because a logarithm does.")
    return Interval(low, high, log=log, integer=isinstance(low, int))
