"""What may stand where a learning rate does: auto, around(auto, 5), around(0.01, 5, 2), space.

Such a word becomes plain numbers before there is a run: an identity, a folder and a param know
numbers alone.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from omegaconf import OmegaConf

from sweeps.errors import BadInputError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from omegaconf import DictConfig


HALF_DECADE = 10**0.5
"""From one rate to the next, where no other factor is given."""

CALL = re.compile(r"(?<![\w'\"])around\([^()]*\)")
SPACE_COUNT = 5
"""Rates over the space of an optimizer."""

FORM = "Type lr=auto, lr='around(auto, 5)', lr='around(0.01, 5)' or lr='around(0.01, 5, 2)'."


@dataclass(frozen=True)
class OpenRate:
    """One rate or several that are still to be worked out.

    Attributes:
        center: The rate in the middle, or 'auto' for what a range test picks, or 'space' where the
            optimizer is not known yet, over whose space they lie.
        count: How many rates; odd, so that one is in the middle.
        factor: From one rate to the next.
    """

    center: float | Literal["auto", "space"]
    count: int = 1
    factor: float = HALF_DECADE

    def rates(self, pick: float | None = None) -> list[float]:
        """Returns the rates, from small to large.

        Args:
            pick: The range test's, where the center is 'auto'.
        """
        middle = pick if self.center == "auto" else self.center
        assert isinstance(middle, float)
        half = self.count // 2
        return [rounded(middle * self.factor**power) for power in range(-half, half + 1)]


def rounded(rate: float) -> float:
    """Returns a rate with two significant digits: it reads well and is no less good."""
    return float(f"{rate:.2g}")


def quote_rates(arguments: Iterable[str]) -> list[str]:
    """Returns a command line that Hydra can read: its grammar knows no function of ours.

    What stands in lr=around(auto, 5) becomes a quoted text.
    """
    return [
        CALL.sub(lambda call: f"'{call.group()}'", argument)
        if argument.startswith("lr=")
        else argument
        for argument in arguments
    ]


def open_rate(cfg: DictConfig) -> OpenRate | None:
    """Returns what the lr of a composed config asks for, see `parse_rate`."""
    rate = None if OmegaConf.is_missing(cfg, "lr") else parse_rate(cfg.lr)
    return _over_space(cfg) if rate is not None and rate.center == "space" else rate


def _over_space(cfg: DictConfig) -> OpenRate:
    """Returns the rates from one end of the optimizer's space to the other."""
    space = cfg.optimizer.get("space")
    ends = space.get("lr") if OmegaConf.is_dict(space) else space
    try:
        low, high = map(float, ends)
    except (TypeError, ValueError):
        low, high = math.nan, math.nan
    if not (math.isfinite(high) and 0 < low < high):
        raise BadInputError(
            f"lr=space: {cfg.optimizer.get('_target_')} has"
            f" {'no space' if ends is None else f'the space {ends}'}. Type 'optimizer.space="
            "{lr: [1e-4, 1e-2]}', the smallest and the largest rate, or another lr."
        )
    return OpenRate(math.sqrt(low * high), SPACE_COUNT, (high / low) ** (1 / (SPACE_COUNT - 1)))


def parse_rate(value: object) -> OpenRate | None:
    """Returns what a value of lr asks for, or None where it is no word of ours.

    Raises:
        BadInputError: around(...) without a count, or with arguments that make no rates.
    """
    text = str(value).strip().strip("'\"").strip()
    if text == "auto":
        return OpenRate("auto")
    if text == "space":
        return OpenRate("space")
    if not (call := re.fullmatch(r"around\(([^()]*)\)", text)):
        return None
    arguments = [argument.strip() for argument in call.group(1).split(",")]
    if len(arguments) not in (2, 3):
        raise BadInputError(
            f"lr={text} needs a rate (or auto), how many rates, and may have the factor between"
            f" them. {FORM}"
        )
    center = "auto" if arguments[0] == "auto" else _number(text, "rate", arguments[0], above=0)
    factor = _number(text, "factor", arguments[2], above=1) if arguments[2:] else HALF_DECADE
    return OpenRate(center, _odd(text, arguments[1]), factor)  # type: ignore[arg-type]


def _number(text: str, what: str, argument: str, *, above: float) -> float:
    try:
        number = float(argument)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number > above):
        raise BadInputError(
            f"lr={text}: the {what} is {argument!r}; it must be a number above {above:g}. {FORM}"
        )
    return number


def _odd(text: str, argument: str) -> int:
    count = int(argument) if re.fullmatch(r"\d{1,4}", argument) else 0
    if count % 2 == 0:
        raise BadInputError(
            f"lr={text}: the count is {argument!r}; it must be odd, such as 3, 5 or 7, so that the"
            " rate in the middle is one of them."
        )
    return count
