from __future__ import annotations

from typing import Any

import pytest

from sweeps.launchers import slots as module
from sweeps.launchers.slots import Need, Slots


def plan(monkeypatch: pytest.MonkeyPatch, cores: int, **changes: Any) -> Slots:
    monkeypatch.setattr(module, "cpu_cores", lambda: cores)
    gpus = changes.pop("gpus", 0)
    return Slots.plan(Need(**({"runs": 8} | changes)), gpus)


@pytest.mark.parametrize(
    ("cores", "changes", "at_once", "threads"),
    [
        (2, {}, 2, 1),
        (8, {}, 8, 1),
        (8, {"runs": 2}, 2, 4),
        (8, {"runs": 1}, 1, 8),
        (8, {"workers": 3}, 3, 2),
        (8, {"threads": 4}, 2, 4),  # settled by the study's first start
        (2, {"threads": 4}, 1, 4),
        (1, {}, 1, 1),
    ],
)
def test_the_cores_are_divided(
    cores: int,
    changes: dict[str, Any],
    at_once: int,
    threads: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slots = plan(monkeypatch, cores, **changes)
    assert len(slots.free["cpu"]) == at_once
    assert slots.threads == threads


def test_each_run_on_a_gpu_sees_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    slots = plan(monkeypatch, 16, gpus=2, devices={"auto"}, runs_per_gpu=2)
    assert len(slots) == 4  # nothing of the CPU that no run would take
    taken = [slots.take("gpu") for _ in range(4)]
    seen = [slot.env["CUDA_VISIBLE_DEVICES"] for slot in taken if slot]
    assert seen == ["0", "1", "0", "1"]
    assert slots.take("gpu") is None
    assert taken[0] is not None
    slots.give_back("gpu", taken[0])
    assert slots.take("gpu") == taken[0]
    assert slots.threads == 4


def test_workers_count_runs_of_both_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    slots = plan(monkeypatch, 4, gpus=2, workers=2, devices={"cpu", "auto"})
    taken = [slots.take("cpu"), slots.take("gpu")]
    assert None not in taken
    assert slots.take("cpu") is None
    assert slots.take("gpu") is None
    assert taken[0] is not None
    slots.give_back("cpu", taken[0])
    assert slots.take("gpu") is not None


def test_gpus_are_counted_among_those_that_are_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    slots = plan(monkeypatch, 4, gpus=2, devices={"auto"})
    seen = [
        slot.env["CUDA_VISIBLE_DEVICES"] for slot in (slots.take("gpu"), slots.take("gpu")) if slot
    ]
    assert seen == ["5", "7"]
