"""Schedules as factors: known values, warmup, and exact resumption."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import OneCycleLR

from sweeps.errors import BadInputError
from sweeps.training import schedules
from sweeps.training.schedules import Schedule, Scheduler

Make = Callable[[Optimizer], Scheduler]
STEPS = 8

SHAPES: dict[str, Make] = {
    "constant": schedules.constant,
    "step": lambda o: schedules.step(o, steps_per_epoch=4, every_epochs=0.5, gamma=0.5),
    "exponential": lambda o: schedules.exponential(o, steps_per_epoch=4, gamma=0.5),
    "cosine": lambda o: schedules.cosine(o, total_steps=STEPS, final=0.2),
    "linear": lambda o: schedules.linear(o, total_steps=STEPS, final=0.2),
    "one_cycle": lambda o: schedules.one_cycle(
        o, total_steps=STEPS, peak_fraction=5 / 8, initial=0.1, final=0.01
    ),
    "plateau": lambda o: schedules.plateau(o, factor=0.1, patience_epochs=1),
    "range_test": lambda o: schedules.range_test(o, total_steps=STEPS, start=1e-7, steps=None),
}


def factors(schedule: Schedule, steps: int) -> list[float]:
    seen = []
    for _ in range(steps):
        seen.append(schedule.factor)
        schedule.advance()
    return seen


def run_epochs(schedule: Schedule, losses: list[float]) -> list[float]:
    """Two steps an epoch; the factors after each epoch."""
    seen = []
    for loss in losses:
        factors(schedule, 2)
        schedule.epoch_end(loss)
        seen.append(schedule.factor)
    return seen


@pytest.mark.parametrize(
    ("name", "start", "middle", "end"),
    [
        ("constant", 1, 1, 1),
        ("step", 1, 0.25, 0.0625),
        ("exponential", 1, 0.5, 0.25),
        ("cosine", 1, 0.6, 0.2),
        ("linear", 1, 0.6, 0.2),
        ("one_cycle", 0.1, 1, 0.01),
        ("plateau", 1, 1, 1),
        ("range_test", 1e-7, 1e-3, 1),
    ],
)
def test_known_values(name: str, start: float, middle: float, end: float) -> None:
    seen = factors(Schedule(SHAPES[name], warmup_steps=0), STEPS + 1)
    assert [seen[0], seen[4], seen[8]] == pytest.approx([start, middle, end])


@pytest.mark.parametrize("steps", [1, 2, 7, 20, 1000])
def test_one_cycle_is_the_one_of_torch(steps: int) -> None:
    optimizer = SGD([torch.zeros(1)], lr=1.0)
    scheduler = OneCycleLR(optimizer, max_lr=1.0, total_steps=steps, cycle_momentum=False)
    expected = [optimizer.param_groups[0]["lr"]]
    for _ in range(steps - 1):
        optimizer.step()
        scheduler.step()
        expected.append(optimizer.param_groups[0]["lr"])
    ours = Schedule(
        lambda o: schedules.one_cycle(
            o, total_steps=steps, peak_fraction=0.3, initial=1 / 25, final=1 / 25 / 1e4
        ),
        warmup_steps=0,
    )
    seen = factors(ours, steps + 2)
    assert seen[:steps] == expected
    assert seen[steps:] == [expected[-1]] * 2


def test_a_cycle_that_begins_at_its_peak_is_refused() -> None:
    with pytest.raises(
        BadInputError, match=r"peak_fraction=0\.25 of 4 steps is the first step alone"
    ):
        Schedule(
            lambda o: schedules.one_cycle(
                o, total_steps=4, peak_fraction=0.25, initial=0.1, final=0.01
            ),
            warmup_steps=0,
        )


@pytest.mark.parametrize(("steps", "expected"), [(3, [0.01, 0.1, 1, 1]), (1, [1, 1, 1, 1])])
def test_a_range_test_over_fewer_steps_than_the_run(steps: int, expected: list[float]) -> None:
    schedule = Schedule(
        lambda o: schedules.range_test(o, total_steps=STEPS, start=0.01, steps=steps),
        warmup_steps=0,
    )
    assert factors(schedule, 4) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["cosine", "linear", "one_cycle"])
def test_a_final_rate_of_nothing(name: str) -> None:
    makes: dict[str, Make] = {
        "cosine": lambda o: schedules.cosine(o, total_steps=STEPS, final=0.0),
        "linear": lambda o: schedules.linear(o, total_steps=STEPS, final=0.0),
        "one_cycle": lambda o: schedules.one_cycle(
            o, total_steps=STEPS, peak_fraction=0.3, initial=0.04, final=0.0
        ),
    }
    seen = factors(Schedule(makes[name], warmup_steps=0), STEPS + 1)
    assert min(seen[: STEPS - 1]) > 0
    assert seen[-1] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_warmup_comes_before_the_same_schedule(name: str) -> None:
    plain = factors(Schedule(SHAPES[name], warmup_steps=0), STEPS)
    warm = factors(Schedule(SHAPES[name], warmup_steps=4), 4 + STEPS)
    assert warm == [0.25, 0.5, 0.75, 1.0, *plain]


@pytest.mark.parametrize("done", [0, 1, 3, 4, 9])
@pytest.mark.parametrize("name", sorted(SHAPES))
def test_a_resumed_schedule_gives_the_same_factors(name: str, done: int, tmp_path: Path) -> None:
    whole = factors(Schedule(SHAPES[name], warmup_steps=3), 3 + STEPS)
    before = Schedule(SHAPES[name], warmup_steps=3)
    factors(before, done)
    torch.save(before.state_dict(), tmp_path / "state.pt")
    after = Schedule(SHAPES[name], warmup_steps=3)
    after.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert factors(after, 3 + STEPS - done) == whole[done:]


def test_plateau_falls_when_the_loss_does_not() -> None:
    schedule = Schedule(SHAPES["plateau"], warmup_steps=0)
    seen = run_epochs(schedule, [3.0, 2.0, 2.0, 2.0, 1.0, 1.0, 1.0])
    assert seen == pytest.approx([1, 1, 1, 0.1, 0.1, 0.1, 0.01])


def test_plateau_waits_for_the_warmup() -> None:
    schedule = Schedule(SHAPES["plateau"], warmup_steps=4)
    seen = run_epochs(schedule, [1.0, 1.0, 1.0, 1.0, 1.0])
    assert seen == pytest.approx([0.75, 1, 1, 1, 0.1])


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_plateau_ignores_a_loss_that_is_no_number(loss: float) -> None:
    assert run_epochs(Schedule(SHAPES["plateau"], warmup_steps=0), [loss] * 5) == [1.0] * 5


@pytest.mark.parametrize("done", [1, 2, 3, 4])
def test_a_resumed_plateau_remembers_its_losses(done: int, tmp_path: Path) -> None:
    losses = [3.0, 2.0, 2.0, 2.0, 2.0, 2.0]
    whole = run_epochs(Schedule(SHAPES["plateau"], warmup_steps=2), losses)
    before, after = (Schedule(SHAPES["plateau"], warmup_steps=2) for _ in range(2))
    run_epochs(before, losses[:done])
    torch.save(before.state_dict(), tmp_path / "state.pt")
    after.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert run_epochs(after, losses[done:]) == whole[done:]
    assert whole[-1] < 1


@pytest.mark.parametrize("name", sorted(set(SHAPES) - {"plateau"}))
def test_only_plateau_hears_of_the_loss(name: str) -> None:
    schedule = Schedule(SHAPES[name], warmup_steps=0)
    factors(schedule, 3)
    before = schedule.factor
    schedule.epoch_end(1.0)
    assert schedule.factor == before
