"""A channel over the pipe between a process and the pool that started it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from sweeps.launchers.channel import Decision, Reported


@dataclass(frozen=True)
class PipeChannel:
    """The run's end of the pipe.

    Attributes:
        link: Sends a pickled `Reported`, and gets a pickled `Decision`.
    """

    link: Connection

    def ask(self, report: Reported) -> Decision:
        """Returns what the pool says; where it has died, this process is about to be stopped."""
        try:
            self.link.send(report)
            return cast("Decision", self.link.recv())
        except (EOFError, OSError):
            return "continue"
