"""What is to be added to a grid: settings that are one change away from a run that has ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sweeps.runs.results import RunResult


@dataclass(frozen=True)
class Change:
    """A run as another one is, but for one setting."""

    run: RunResult
    key: str
    value: str


@dataclass(frozen=True)
class Growth:
    """Runs that are added together or not at all, and why.

    Attributes:
        changes: What makes them.
        where: What they belong to, such as 'optimizer=adam'; '' where that is the whole grid.
        why: Half a sentence.
    """

    changes: tuple[Change, ...]
    where: str
    why: str


def in_words(growths: Sequence[Growth]) -> list[str]:
    """Returns a sentence for each reason, such as 'lr=1,10 for optimizer=adam, because ...'."""
    found: dict[tuple[str, str], dict[str, dict[str, None]]] = {}
    for growth in growths:
        values = found.setdefault((growth.where, growth.why), {})
        for change in growth.changes:
            values.setdefault(change.key, {})[change.value] = None
    return [
        " ".join(f"{key}={','.join(listed)}" for key, listed in values.items())
        + (f" for {where}" if where else "")
        + f", because {why}."
        for (where, why), values in found.items()
    ]
