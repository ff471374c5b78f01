"""The values of one axis, each at its own best: what the measures of the field compare."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sweeps.analysis.axes import ABSENT

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sweeps.analysis.ranking import Part, Setting


USUAL_AXIS = "optimizer"


@dataclass(frozen=True)
class Contender:
    """One value of the axis, such as optimizer=adam, with all that was tried for it.

    Attributes:
        axis: The axis.
        value: Its value.
        settings: Best first.
    """

    axis: str
    value: str
    settings: tuple[Setting, ...]

    @property
    def name(self) -> str:
        """The value as it is typed."""
        return f"{self.axis}={self.value}"

    @property
    def best(self) -> Setting | None:
        """Its best setting of which every seed came to its end, or None."""
        return next((setting for setting in self.settings if setting.whole), None)


def contenders(settings: Iterable[Setting], axis: str) -> list[Contender]:
    """Returns the values of an axis, the best first.

    Args:
        settings: Of one part, best first.
        axis: Any setting; those that do not have it are left out.
    """
    found: dict[str, list[Setting]] = {}
    for setting in settings:
        found.setdefault(value_of(setting, axis), []).append(setting)
    found.pop(ABSENT, None)
    return [Contender(axis, value, tuple(members)) for value, members in found.items()]


def usual_axis(part: Part) -> str:
    """Returns the axis whose values are compared where none is asked for."""
    return part.line_axis or USUAL_AXIS


def value_of(setting: Setting, key: str) -> str:
    """Returns what a setting has chosen, also where all have chosen the same."""
    return setting.runs[0].settings.get(key, ABSENT)
