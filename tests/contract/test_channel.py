"""What every channel between a run and its controller keeps to."""

from __future__ import annotations

import threading
from multiprocessing import Pipe
from typing import TYPE_CHECKING, Protocol, get_args

import pytest

from sweeps.launchers.channel import Decision, Reported
from sweeps.launchers.local.pipe import PipeChannel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sweeps.launchers.channel import Channel

REPORTS = [Reported(1, 3, 0.5), Reported(2, 3, float("inf"))]


class Ends(Protocol):
    """Both ends of a channel."""

    channel: Channel

    def hear(self, decisions: Sequence[Decision]) -> list[Reported]:
        """Is the controller: answers so many reports; returns them."""
        ...

    def die(self) -> None:
        """Is the controller's end."""
        ...


class PipeEnds:
    """A pipe, whose other end the pool has."""

    def __init__(self) -> None:
        self._ours, theirs = Pipe()
        self.channel = PipeChannel(theirs)

    def hear(self, decisions: Sequence[Decision]) -> list[Reported]:
        """Answers."""
        heard = []
        for decision in decisions:
            heard.append(self._ours.recv())
            self._ours.send(decision)
        return heard

    def die(self) -> None:
        """Closes the pool's end."""
        self._ours.close()


@pytest.mark.parametrize("kind", [PipeEnds])
class TestChannel:
    """The contract."""

    def test_each_report_gets_its_decision(self, kind: type[Ends]) -> None:
        ends, heard = kind(), list[Reported]()
        decisions: Sequence[Decision] = get_args(Decision)
        controller = threading.Thread(target=lambda: heard.extend(ends.hear(decisions)))
        controller.start()
        assert [ends.channel.ask(report) for report in REPORTS] == ["continue", "stop"]
        controller.join()
        assert heard == REPORTS

    def test_a_run_whose_controller_has_died_goes_on(self, kind: type[Ends]) -> None:
        ends = kind()
        ends.die()
        assert ends.channel.ask(REPORTS[0]) == "continue"
        assert ends.channel.ask(REPORTS[1]) == "continue"
