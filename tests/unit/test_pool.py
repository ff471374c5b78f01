"""Processes of their own, however they are started."""

from __future__ import annotations

import os

import pytest

from sweeps.launching import Job, Pool, Slots
from sweeps.launching.pool import best_start_method
from sweeps.launching.slots import Slot
from sweeps.launching.worker import ask


@pytest.mark.parametrize("method", ["forkserver", "spawn"])
def test_jobs_run_elsewhere_and_ask_their_controller(method: str) -> None:
    pool = Pool(start_method=method)
    job = Job(0, lambda: lambda: (os.getpid(), ask("how much?")))
    jobs = iter([job])
    ended = pool.run(
        lambda: next(jobs, None),
        Slots(threads=1, free={"cpu": [Slot()]}),
        on_end=lambda _: False,
        on_tick=lambda _: None,
        on_question=lambda job, content: (job.number, content),
    )
    (pid, answer) = ended[0].returned
    assert pid != os.getpid()
    assert answer == (0, "how much?")


def test_nothing_is_forked_on_macos(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    assert best_start_method() == "spawn"
