"""What any training keeps to, whoever wrote it; the shipped one, and a small one of a person's own."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

from sweeps.data import Batches, prepare
from sweeps.data.sources import synthetic
from sweeps.runs.paths import RunPaths
from sweeps.training import checkpoint
from sweeps.training.checkpoint import TrainState
from sweeps.training.objective import EPOCH_TRAIN_LOSS
from sweeps.training.protocol import Report
from sweeps.training.schedules import Schedule, cosine
from sweeps.training.trainer import Parts, Trainer, TrainerSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sweeps.training.protocol import Training

CPU = torch.device("cpu")


def shipped(*, lr: float = 0.1, objective: str = "val_accuracy", validate: bool = True) -> Trainer:
    """Three epochs of five steps on tiny images, with dropout."""
    torch.manual_seed(0)
    images = {"channels": 1, "image_size": 4, "classes": 10, "noise": 1.0}
    source = synthetic(samples=88, test_samples=20, **images)  # type: ignore[arg-type]
    fraction = 0.1 if validate else 0.0
    data = prepare(source, val_fraction=fraction, val_split="random", limit=80, seed=0)

    def batches(split: object) -> Batches:
        chosen = {"batch_size": 16, "mean": None, "std": None, "crop": 1, "flip": True}
        return Batches(split, seed=0, device=CPU, **chosen)  # type: ignore[arg-type]

    channels, size, _ = data.shape
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.2), nn.Linear(channels * size**2, 10))
    parts = Parts(
        model=model,
        loss=nn.CrossEntropyLoss(),
        optimizer=torch.optim.Adam(model.parameters(), lr=lr),
        schedule=Schedule(
            lambda optimizer: cosine(optimizer, total_steps=13, final=0.0), warmup_steps=2
        ),
        train=batches(data.train),
        val=batches(data.val) if data.val else None,
        test=batches(data.test),
    )
    return Trainer(parts, TrainerSettings(3, objective, log_every=2, seed=0, device=CPU))


class Descent:
    """A training of a person's own: gradient descent on (x - 1)^2 from x = 0, two epochs."""

    def __init__(self, rate: float = 0.1) -> None:
        self.rate = rate
        self.x = torch.zeros(())
        self.state = TrainState(model={}, optimizer={}, schedule={})
        self._diverged = False

    @property
    def total_steps(self) -> int:
        return 6

    @property
    def done(self) -> bool:
        return self._diverged or self.state.step >= self.total_steps

    def run(self) -> Iterator[Report]:
        state = self.state
        while not self.done:
            self.x -= self.rate * 2 * (self.x - 1)
            state.step += 1
            state.epoch = state.step // 3
            state.points += 1
            loss = float((self.x - 1) ** 2)
            self._diverged = not loss < float("inf")
            yield Report(
                state.step, state.epoch, {"val_loss": loss}, state.step % 3 == 0, self._diverged
            )

    def capture(self) -> TrainState:
        return TrainState(**vars(self.state) | {"model": {"x": self.x.clone()}})

    def restore(self, state: TrainState) -> None:
        self.state, self.x = state, state.model["x"]


TRAININGS: dict[str, Callable[[], Training]] = {
    "shipped": shipped,
    "without validation": lambda: shipped(validate=False, objective="test_accuracy"),
    "by its training loss": lambda: shipped(objective=EPOCH_TRAIN_LOSS),
    "a person's own": Descent,
}
DIVERGING: dict[str, Callable[[], Training]] = {
    "shipped": lambda: shipped(lr=float("inf")),
    "a person's own": lambda: Descent(rate=1e30),
}


def take(training: Training, reports: int) -> list[Report]:
    return list(itertools.islice(training.run(), reports))


@pytest.mark.parametrize("make", TRAININGS.values(), ids=TRAININGS.keys())
class TestContract:
    def test_it_comes_to_its_end(self, make: Callable[[], Training]) -> None:
        training = make()
        assert not training.done
        reports = list(training.run())
        assert training.done
        assert list(training.run()) == []
        assert max(report.step for report in reports) == training.total_steps
        assert sum(report.epoch_done for report in reports) == training.state.epoch
        assert not any(report.diverged for report in reports)

    def test_steps_and_epochs_never_go_back(self, make: Callable[[], Training]) -> None:
        reports = list(make().run())
        places = [(report.epoch, report.step) for report in reports]
        assert places == sorted(places)
        assert {report.step for report in reports} == set(range(1, make().total_steps + 1))

    def test_its_state_counts_its_points(self, make: Callable[[], Training]) -> None:
        training, points = make(), 0
        assert training.state.points == 0
        for report in training.run():
            points += len(report.metrics)
            assert training.state.points == training.capture().points == points

    def test_cut_anywhere_it_goes_on_with_the_same_reports(
        self, make: Callable[[], Training], tmp_path: Path
    ) -> None:
        whole = list(make().run())
        assert len(whole) >= make().total_steps
        for at in range(1, len(whole)):
            before = make()
            head = take(before, at)
            checkpoint.save(RunPaths(tmp_path), before.capture())
            list(before.run())  # what the killed process did after its checkpoint must not matter
            after = make()
            after.restore(checkpoint.load(RunPaths(tmp_path).checkpoint))
            assert head + list(after.run()) == whole, at
            assert after.done

    def test_to_be_captured_changes_nothing(self, make: Callable[[], Training]) -> None:
        whole, watched = list(make().run()), []
        training = make()
        for report in training.run():
            training.capture()
            watched.append(report)
        assert watched == whole


@pytest.mark.parametrize("make", DIVERGING.values(), ids=DIVERGING.keys())
def test_a_loss_that_is_not_finite_ends_it_and_is_said(make: Callable[[], Training]) -> None:
    training = make()
    *before, last = training.run()
    assert last.diverged
    assert not any(report.diverged for report in before)
    assert training.done
    assert list(training.run()) == []


def test_the_best_epoch_is_kept_by_its_objective() -> None:
    training = shipped(objective="val_loss")
    losses = [r.metrics["val_loss"] for r in training.run() if r.epoch_done]
    assert len(losses) == 3
    assert training.state.best_value == min(losses)
    assert training.state.best_epoch == losses.index(min(losses)) + 1
    assert training.state.best_metrics["val_loss"] == min(losses)
