"""experiment=notes_cifar10 has the numbers of the study notes' script, written out here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from hydra import compose, initialize_config_dir
from PIL import Image
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from sweeps.config import Config, parse
from sweeps.config.locations import conf_dir
from sweeps.config.resolvers import prepare_hydra
from sweeps.runs.build import build_model, load_dataset
from sweeps.runs.metrics import read_points
from sweeps.runs.paths import RunPaths
from sweeps.runs.runner import RunRequest, run

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sweeps.data import Split

IMAGES = ["data=synthetic", "data.samples=200", "data.test_samples=90", "data.image_size=32"]
IMAGES += ["data.classes=10", "data.noise=2"]
CLOSE = 1.5e-6

Weights = dict[str, torch.Tensor]


def config(*overrides: str, images: Sequence[str] = IMAGES) -> Config:
    prepare_hydra()
    own = ["experiment=notes_cifar10", *images, "device=cpu", "threads=1", "log_every=1"]
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return parse(compose("config", [*own, *overrides]))


def notes_script(
    model: nn.Module, train: TensorDataset, test: TensorDataset
) -> tuple[list[float], list[tuple[float, float]], list[Weights]]:
    """Returns the loss of each step; the test loss and accuracy, and the model, of each epoch."""
    loss_fn = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    losses, tests, models = [], [], []
    for _ in range(2):
        model.train()
        for images, targets in DataLoader(train, batch_size=64):
            loss = loss_fn(model(images), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        model.eval()
        total_loss, total_correct = 0.0, 0
        with torch.no_grad():
            for images, targets in DataLoader(test, batch_size=64):
                outputs = model(images)
                total_loss += loss_fn(outputs, targets).item() * len(targets)
                total_correct += int((outputs.argmax(1) == targets).sum())
        tests.append((total_loss / len(test), total_correct / len(test)))
        models.append({name: value.clone() for name, value in model.state_dict().items()})
    return losses, tests, models


def tensors(split: Split) -> TensorDataset:
    own = split.contiguous()
    return TensorDataset(own.images.permute(0, 3, 1, 2).contiguous() / 255, own.labels)


def test_the_experiment_is_the_script(tmp_path: Path) -> None:
    cfg = config()
    data = load_dataset(cfg)
    model = build_model(cfg, data)
    losses, tests, models = notes_script(model, tensors(data.train), tensors(data.test))
    record = run(RunRequest(cfg, tmp_path, [], {}, {}))

    paths = RunPaths(tmp_path)
    points = read_points(paths.metrics)
    series = {
        key: [point.value for point in points if point.key == key]
        for key in ("train_loss", "test_loss", "test_accuracy")
    }
    assert len(series["train_loss"]) == len(losses) == 8
    assert series["train_loss"] == pytest.approx(losses, abs=CLOSE, rel=0)
    assert series["test_loss"] == pytest.approx([loss for loss, _ in tests], abs=CLOSE, rel=0)
    assert series["test_accuracy"] == [accuracy for _, accuracy in tests]
    assert (record.best_epoch, record.objective_value) == (2, tests[-1][1])
    for path, expected in [
        (paths.weights_after(1), models[0]),
        (paths.weights_after(2), models[1]),
        (paths.weights, models[1]),
    ]:
        saved = load_file(path)
        assert saved.keys() == expected.keys()
        for name, value in saved.items():
            torch.testing.assert_close(value, expected[name], atol=1e-5, rtol=0)


def test_the_last_epoch_is_the_result_though_another_was_better(tmp_path: Path) -> None:
    result = {}
    for pick in ("best", "last"):
        settings = ["lr=0.3", "shuffle=true", "epochs=6", "keep_every_epoch=false", "data.noise=6"]
        result[pick] = run(
            RunRequest(config(*settings, f"pick={pick}"), tmp_path / pick, [], {}, {})
        )
    best, last = result["best"], result["last"]
    found = {pick: read_points(RunPaths(tmp_path / pick).metrics) for pick in result}
    accuracies = [p.value for p in found["last"] if p.key == "test_accuracy"]
    assert accuracies == [p.value for p in found["best"] if p.key == "test_accuracy"]
    assert accuracies[-1] < max(accuracies)
    assert (best.objective_value, last.objective_value) == (max(accuracies), accuracies[-1])
    assert last.best_epoch == last.epochs == 6
    assert best.best_epoch == accuracies.index(max(accuracies)) + 1
    assert not RunPaths(tmp_path / "last").weights_after(1).exists()


def test_an_order_class_by_class_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWEEPS_CACHE", str(tmp_path / "cache"))
    for name in ("cat", "dog"):
        folder = tmp_path / "images" / name
        folder.mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (8, 8), (40 * number, 0, 0)).save(folder / f"{number}.png")
    images = ["data=image_folder", f"data.root={tmp_path}/images", "data.image_size=8"]
    small = ["model=linear", "batch_size=2", "epochs=1"]
    shuffled, stored = (config(*small, f"shuffle={x}", images=images) for x in ("true", "false"))
    run(RunRequest(shuffled, tmp_path / "shuffled", [], {}, {}))
    assert "class by class" not in caplog.text
    run(RunRequest(stored, tmp_path / "stored", [], {}, {}))
    assert "the training images stand class by class" in caplog.text
