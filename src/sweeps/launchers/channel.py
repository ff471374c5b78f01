"""How a run speaks with its controller while it trains: it reports, and is told whether to go on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

Decision = Literal["continue", "stop"]
"""What becomes of a run that has reported; one that is stopped may be continued later."""


@dataclass(frozen=True)
class Reported:
    """What a run says on its way.

    Attributes:
        report: Number of the report, from 1.
        of: Reports of the whole run.
        value: The objective there.
    """

    report: int
    of: int
    value: float


class Channel(Protocol):
    """A run's way to its controller."""

    def ask(self, report: Reported) -> Decision:
        """Sends a report and waits for the decision; without a controller it is 'continue'."""
        ...
