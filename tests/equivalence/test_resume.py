"""A training that was cut anywhere and continued ends with the bits of one that was not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from hydra import compose, initialize_config_dir

from sweeps.config import Config, parse
from sweeps.config.locations import conf_dir
from sweeps.config.resolvers import prepare_hydra
from sweeps.runs.build import build_trainer
from sweeps.runs.paths import RunPaths
from sweeps.training import checkpoint

if TYPE_CHECKING:
    from pathlib import Path

    from sweeps.training.protocol import Report
    from sweeps.training.trainer import Trainer

OPTIMIZERS = sorted(path.stem for path in (conf_dir() / "optimizer").glob("*.yaml"))
OPTIMIZERS.remove("custom")
SCHEDULES = sorted(path.stem for path in (conf_dir() / "schedule").glob("*.yaml"))
STEADY = ("constant", "step", "plateau")
RISING = ("one_cycle", "range_test")
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
STEPS = 15  # three epochs of five
CUTS = (1, 5, 8)

Points = list[tuple[int, str, float]]


def config(*overrides: str) -> Config:
    prepare_hydra()
    small = ["data=synthetic", "data.samples=88", "data.test_samples=20", "data.image_size=8"]
    small += [
        "batch_size=16",
        "epochs=3",
        "log_every=2",
        "model=mlp",
        "threads=1",
        "device=cpu",
    ]
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return parse(compose("config", [*small, *overrides]))


def take(trainer: Trainer, points: Points, *, until: int | None = None) -> Report | None:
    """Trains on, gathers the points, and stops right after a step."""
    for report in trainer.run():
        points += [(report.step, key, value) for key, value in report.metrics.items()]
        if report.step == until:
            return report
    return None


def whole(cfg: Config, *, steps: int = STEPS) -> tuple[Trainer, Points]:
    trainer, _ = build_trainer(cfg)
    points: Points = []
    take(trainer, points)
    assert trainer.done
    assert trainer.total_steps == trainer.state.step == steps
    return trainer, points


def cut(cfg: Config, at: int, paths: RunPaths) -> tuple[Trainer, Points]:
    """Trains to step `at`, through a checkpoint on disk into a new trainer, and to the end."""
    before, _ = build_trainer(cfg)
    points: Points = []
    assert take(before, points, until=at) is not None
    checkpoint.save(paths, before.capture())
    take(before, [])  # what the killed process did after its checkpoint must not matter
    after, _ = build_trainer(cfg)
    state = checkpoint.load_newest(paths, points=len(points))
    assert state is not None
    assert state.points == len(points)
    after.restore(state)
    take(after, points)
    return after, points


def assert_equal(one: tuple[Trainer, Points], other: tuple[Trainer, Points]) -> None:
    assert len(one[1]) == len(other[1])
    assert one[1] == other[1]
    weights = [trainer.model.state_dict() for trainer, _ in (one, other)]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    best = [trainer.state.best_model for trainer, _ in (one, other)]
    assert best[0].keys() == best[1].keys()
    assert all(torch.equal(best[0][name], best[1][name]) for name in best[0])
    assert one[0].state.best_metrics == other[0].state.best_metrics
    assert one[0].state.start_loss == other[0].state.start_loss == pytest.approx(2, abs=1)
    predicted, again = (trainer.state.predictions for trainer, _ in (one, other))
    assert predicted is not None
    assert again is not None
    assert torch.equal(predicted, again)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer(optimizer: str, device: str, tmp_path: Path) -> None:
    cfg = config(f"optimizer={optimizer}", f"device={device}", "data.flip=true", "data.crop=1")
    twin = whole(cfg)
    for at in CUTS:
        assert_equal(cut(cfg, at, RunPaths(tmp_path)), twin)


STEPPING = ["clip_norm=0.5", "accumulate=2", "ema=0.9"]
"""What can be done to a step, which an optimizer may refuse."""


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_clipped_accumulated_and_averaged(optimizer: str, tmp_path: Path) -> None:
    refused = {"lbfgs": "clip_norm", "schedule_free_sgd": "ema", "schedule_free_adamw": "ema"}
    words = [word for word in STEPPING if not word.startswith(refused.get(optimizer, "-"))]
    rules = (
        []
        if optimizer in ("lbfgs", "prodigy")
        else ["optimizer.rules=[{match: '*.bias', lr: 0.5}]"]
    )
    cfg = config(f"optimizer={optimizer}", "schedule=linear", "report_every=2", *words, *rules)
    twin = whole(cfg, steps=9)  # of five batches two at a time, the last alone
    for at in (1, 3, 5):
        assert_equal(cut(cfg, at, RunPaths(tmp_path)), twin)


@pytest.mark.parametrize("optimizer", ["schedule_free_sgd", "adam", "muon"])
def test_batch_norm_and_the_weights_that_are_judged(optimizer: str, tmp_path: Path) -> None:
    averaged = [] if optimizer.startswith("schedule_free") else ["ema=0.9"]
    images = [
        "model=resnet18",
        "data.samples=40",
        "data.image_size=8",
        "epochs=2",
        "report_every=1",
    ]
    cfg = config(f"optimizer={optimizer}", *averaged, *images)
    twin = whole(cfg, steps=6)
    assert_equal(cut(cfg, 2, RunPaths(tmp_path)), twin)
    trained, best = twin[0].model.state_dict(), twin[0].state.best_model
    same = [torch.equal(trained[name], best[name]) for name in best]
    assert any(same) == (not averaged and twin[0].state.best_epoch == 2)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_schedule(schedule: str, device: str, tmp_path: Path) -> None:
    warmup = 0 if schedule in RISING else 0.5
    settings = [f"schedule={schedule}", f"schedule.warmup_epochs={warmup}"]
    settings += ["optimizer=adam", "lr=0.02"]
    cfg = config(*settings, f"device={device}")
    twin = whole(cfg)
    assert len({value for _, key, value in twin[1] if key == "lr"}) > 1 or schedule in STEADY
    for at in CUTS:
        assert_equal(cut(cfg, at, RunPaths(tmp_path)), twin)


def test_predictions_are_those_of_the_best_epoch_also_where_test_images_choose(
    tmp_path: Path,
) -> None:
    hard = ["data.samples=80", "data.noise=2", "lr=0.6"]
    cfg = config("data.val_fraction=0", "objective=test_accuracy", *hard)
    twin = whole(cfg)
    state = twin[0].state
    by_epoch = [value for _, key, value in twin[1] if key == "test_accuracy"]
    assert state.best_value == max(by_epoch[:2]) > by_epoch[2]
    assert state.predictions is not None
    predicted, true = state.predictions
    assert (predicted == true).double().mean() == state.best_value
    for at in (*CUTS, 12):
        assert_equal(cut(cfg, at, RunPaths(tmp_path)), twin)


DROPOUT = """
from torch import nn

class Net(nn.Sequential):
    def __init__(self, in_channels, image_size, num_classes):
        pixels = in_channels * image_size**2
        super().__init__(nn.Flatten(), nn.Linear(pixels, 8), nn.Dropout(0.3), nn.Linear(8, num_classes))
"""


@pytest.mark.parametrize("device", DEVICES)
def test_dropout_draws_the_same_numbers(
    device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dropping.py").write_text(DROPOUT)
    monkeypatch.syspath_prepend(tmp_path)
    model = ["model=custom", "model._target_=dropping.Net", "trusted_targets=[dropping]"]
    cfg = config(*model, f"device={device}")
    twin = whole(cfg)
    for at in CUTS:
        assert_equal(cut(cfg, at, RunPaths(tmp_path)), twin)


@pytest.mark.skipif("cuda" not in DEVICES, reason="no CUDA device")
@pytest.mark.parametrize("model", ["swagger_cifar", "resnet18"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_convolutions_on_a_gpu(model: str, precision: str, tmp_path: Path) -> None:
    images = ["data.image_size=32", "data.crop=4", "data.flip=true"]
    cfg = config(f"model={model}", f"precision={precision}", "device=cuda", *images)
    twin = whole(cfg)
    for at in CUTS:
        assert_equal(cut(cfg, at, RunPaths(tmp_path)), twin)


def test_a_state_of_another_device_is_taken_over(tmp_path: Path) -> None:
    cfg = config()
    before, _ = build_trainer(cfg)
    take(before, [], until=5)
    state = before.capture()
    state.rng["cuda"] = torch.zeros(16, dtype=torch.uint8)
    checkpoint.save(RunPaths(tmp_path), state)
    after, _ = build_trainer(cfg)
    after.restore(checkpoint.load(RunPaths(tmp_path).checkpoint))
    take(after, [])
    assert after.done


LAZY = """
from torch import nn

class Net(nn.Sequential):
    def __init__(self, num_classes):
        super().__init__(nn.Flatten(), nn.LazyLinear(8), nn.ReLU(), nn.LazyLinear(num_classes))
"""


def test_lazy_layers_draw_from_the_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lazing.py").write_text(LAZY)
    monkeypatch.syspath_prepend(tmp_path)
    cfg = config("model=custom", "model._target_=lazing.Net", "trusted_targets=[lazing]")
    twin = whole(cfg)
    assert_equal(cut(cfg, CUTS[0], RunPaths(tmp_path)), twin)


def test_a_run_without_validation_images(tmp_path: Path) -> None:
    cfg = config("data.val_fraction=0", "objective=test_accuracy")
    trainer, _ = build_trainer(cfg)
    assert trainer.total_steps == 18
    points: Points = []
    take(trainer, points)
    cut_at = cut(cfg, 7, RunPaths(tmp_path))
    assert_equal(cut_at, (trainer, points))


@pytest.mark.parametrize("log_every", [1, 2, 5, 50])
def test_the_training_loss_of_an_epoch_is_its_own_mean(log_every: int, tmp_path: Path) -> None:
    cfg = config("objective=train_loss", f"log_every={log_every}", "optimizer=adam")
    twin = whole(cfg)
    every_step = whole(config("log_every=1", "optimizer=adam"))[1]
    losses = [value for _, key, value in every_step if key == "train_loss"]
    sizes = [16, 16, 16, 16, 15]  # 79 of 88 images are left to train on
    means = [
        sum(loss * n for loss, n in zip(losses[first : first + 5], sizes, strict=True)) / 79
        for first in (0, 5, 10)
    ]
    points = {step: value for step, key, value in twin[1] if key == "epoch_train_loss"}
    assert list(points) == [5, 10, 15]
    assert list(points.values()) == pytest.approx(means)
    assert twin[0].state.best_value == min(points.values())
    assert twin[0].state.best_model
    for at in CUTS:
        assert_equal(cut(cfg, at, RunPaths(tmp_path)), twin)


def test_a_checkpoint_of_format_1_goes_on(tmp_path: Path) -> None:
    cfg, paths = config(), RunPaths(tmp_path)
    twin = whole(cfg)
    before, _ = build_trainer(cfg)
    points: Points = []
    take(before, points, until=7)
    fields = vars(before.capture()) | {"format": 1}
    del fields["epoch_loss"], fields["epoch_images"]
    torch.save(fields, paths.checkpoint)
    after, _ = build_trainer(cfg)
    after.restore(checkpoint.load(paths.checkpoint))
    take(after, points)
    assert_equal((after, points), twin)


def test_the_stored_order_and_the_last_epoch(tmp_path: Path) -> None:
    cfg = config("shuffle=false", "pick=last", "lr=0.3")
    twin = whole(cfg)
    assert twin[0].state.best_epoch == 3
    for at in CUTS:
        assert_equal(cut(cfg, at, RunPaths(tmp_path)), twin)


def test_a_divergence_comes_at_the_same_step(tmp_path: Path) -> None:
    cfg = config("lr=1e18", "loss=mse", "optimizer=sgd")
    trainer, _ = build_trainer(cfg)
    points: Points = []
    take(trainer, points)
    assert trainer.diverged
    assert trainer.state.step > 1
    resumed = cut(cfg, 1, RunPaths(tmp_path))
    assert resumed[0].diverged
    assert len(resumed[1]) == len(points)
    assert [point[:2] for point in resumed[1]] == [point[:2] for point in points]


def test_another_rate_is_noticed() -> None:
    """The comparison can fail."""
    with pytest.raises(AssertionError):
        assert_equal(whole(config("lr=0.01")), whole(config("lr=0.02")))
