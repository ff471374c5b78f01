"""Processes of their own, however they are started."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sweeps.errors import BadInputError, TryAgainError
from sweeps.launchers.launcher import Ended, Job
from sweeps.launchers.local.pool import Pool, best_start_method
from sweeps.launchers.slots import Slot, Slots

if TYPE_CHECKING:
    from pathlib import Path

    from sweeps.launchers.channel import Channel


def test_no_more_is_asked_for_than_can_start() -> None:
    asked: list[int] = []
    seen: list[int] = []

    def next_job() -> Job | None:
        asked.append(len(asked))
        return Job(asked[-1], lambda: lambda _: None) if len(asked) <= 4 else None

    def on_end(_: Ended) -> bool:
        seen.append(len(asked))
        return False

    slots = Slots(threads=1, free={"cpu": [Slot()], "gpu": [Slot(0)]})
    Pool().run(next_job, slots, on_end=on_end)
    assert seen[:3] == [2, 3, 4]  # one runs and one waits, though a GPU is free


@pytest.mark.parametrize(("error", "tries"), [(TryAgainError, 2), (BadInputError, 1)])
def test_what_may_pass_is_tried_again(error: type[Exception], tries: int, tmp_path: Path) -> None:
    def call(_: Channel | None) -> None:
        with (tmp_path / "tries").open("a") as file:
            file.write("x")
        raise error("full")

    jobs = iter([Job(0, lambda: call)])
    ended = Pool(retries=1).run(
        lambda: next(jobs, None),
        Slots(threads=1, free={"cpu": [Slot()]}),
        on_end=lambda ended: ended.raised is not None,
    )
    assert isinstance(ended[0].raised, error)
    assert (tmp_path / "tries").read_text() == "x" * tries


def test_nothing_is_forked_on_macos(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    assert best_start_method() == "spawn"
