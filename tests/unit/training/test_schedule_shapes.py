"""The shape of each schedule, and that it continues exactly."""

from pathlib import Path

import pytest
import torch

from sweeps.training.schedules import (
    Schedule,
    constant,
    cosine,
    exponential,
    linear,
    one_cycle,
    plateau,
)
from sweeps.training.schedules import step as step_schedule


def factors(schedule: Schedule, steps: int) -> list[float]:
    seen = []
    for _ in range(steps):
        seen.append(schedule.factor)
        schedule.advance()
    return seen


SHAPES = {
    "constant": constant,
    "step": lambda o: step_schedule(o, steps_per_epoch=4, every_epochs=1, gamma=0.5),
    "exponential": lambda o: exponential(o, steps_per_epoch=4, gamma=0.5),
    "cosine": lambda o: cosine(o, total_steps=8, final=0.0),
    "linear": lambda o: linear(o, total_steps=8, final=0.0),
    "one_cycle": lambda o: one_cycle(o, total_steps=8, peak_fraction=0.5, initial=0.1, final=0.01),
}


@pytest.mark.parametrize(
    ("name", "first", "fifth"),
    [
        ("constant", 1, 1),
        ("step", 1, 0.5),
        ("exponential", 1, 0.5),
        ("cosine", 1, 0.5),
        ("linear", 1, 0.5),
        ("one_cycle", 0.1, None),
    ],
)
def test_schedules(name: str, first: float, fifth: float | None) -> None:
    seen = factors(Schedule(SHAPES[name], warmup_steps=0), 8)
    assert seen[0] == pytest.approx(first)
    if fifth is not None:
        assert seen[4] == pytest.approx(fifth)


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_a_schedule_continues_exactly(name: str, tmp_path: Path) -> None:
    whole = factors(Schedule(SHAPES[name], warmup_steps=2), 8)
    before, after = (Schedule(SHAPES[name], warmup_steps=2) for _ in range(2))
    start = factors(before, 3)
    torch.save(before.state_dict(), tmp_path / "state.pt")
    after.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert start + factors(after, 5) == whole
    assert whole[:2] == [0.5, 1.0]


def test_plateau_falls_when_the_loss_does_not() -> None:
    schedule = Schedule(lambda o: plateau(o, factor=0.1, patience_epochs=1), warmup_steps=0)
    schedule.advance()
    for _ in range(2):
        schedule.epoch_end(1.0)
    assert schedule.factor == 1
    schedule.epoch_end(1.0)
    assert schedule.factor == pytest.approx(0.1)
