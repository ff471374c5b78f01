"""Losses, models, schedules, data and seeds against known values."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from sweeps.data import Batches, prepare
from sweeps.data.sources import digits, image_folder, synthetic
from sweeps.errors import BadInputError
from sweeps.seeding import derive, generator
from sweeps.training.losses import L1Loss, MSELoss
from sweeps.training.models import MLP, Linear, SwaggerCifar, resnet18
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


def test_the_notes_worked_examples() -> None:
    inputs, targets = torch.tensor([1.0, 2, 3]), torch.tensor([1.0, 2, 5])
    assert L1Loss()(inputs, targets).item() == pytest.approx(0.6667, abs=5e-5)
    assert MSELoss()(inputs, targets).item() == pytest.approx(1.3333, abs=5e-5)
    loss = nn.CrossEntropyLoss()(torch.tensor([[0.2, 0.3, 0.1]]), torch.tensor([0]))
    assert loss.item() == pytest.approx(1.1020, abs=1e-4)


def test_classes_become_one_hot() -> None:
    outputs = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    assert MSELoss()(outputs, torch.tensor([0, 1])).item() == pytest.approx(0.25)
    assert L1Loss()(outputs, torch.tensor([0, 1])).item() == pytest.approx(0.25)


def test_the_notes_network_has_its_parameters() -> None:
    model = SwaggerCifar(3, 32, 10)
    assert sum(p.numel() for p in model.parameters()) == 145_578


@pytest.mark.parametrize(("channels", "size"), [(1, 8), (3, 32), (3, 50)])
def test_models_follow_the_data(channels: int, size: int) -> None:
    x = torch.zeros(2, channels, size, size).contiguous(memory_format=torch.channels_last)
    for model in (
        SwaggerCifar(channels, size, 7),
        Linear(channels, size, 7),
        MLP(channels, size, 7, hidden=[5]),
        resnet18(channels, size, 7),
    ):
        assert model(x).shape == (2, 7)


def test_too_small_for_the_notes_network() -> None:
    with pytest.raises(BadInputError, match="8 is the least"):
        SwaggerCifar(1, 7, 10)


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


def test_seeds_differ_by_purpose() -> None:
    assert (
        len({derive(0, "init"), derive(0, "order"), derive(1, "init"), derive(0, "init", 1)}) == 4
    )
    assert generator(3, "x").initial_seed() == generator(3, "x").initial_seed()


def test_digits_split() -> None:
    data = prepare(digits(), val_fraction=0.1, limit=None, seed=0)
    assert data.val is not None
    assert len(data.train) + len(data.val) + len(data.test) == 1797
    assert data.shape == (1, 8, 8)
    assert data.digest == digits().digest
    other = prepare(digits(), val_fraction=0.1, limit=None, seed=1)
    assert torch.equal(other.test.contiguous().images, data.test.contiguous().images)
    assert not torch.equal(other.train.labels, data.train.labels)


def batches(**changes: object) -> Batches:
    source = synthetic(samples=50, test_samples=10, channels=3, image_size=8, classes=5, noise=0.5)
    data = prepare(source, val_fraction=0, limit=None, seed=0)
    settings: dict[str, object] = {
        "batch_size": 16,
        "mean": data.mean,
        "std": data.std,
        "crop": 2,
        "flip": True,
        "seed": 0,
        "device": torch.device("cpu"),
    }
    return Batches(data.train, **(settings | changes))  # type: ignore[arg-type]


def test_an_epoch_can_start_in_its_middle() -> None:
    whole = list(batches().epoch(3))
    rest = list(batches().epoch(3, start=2))
    assert len(whole) == 4
    assert len(rest) == 2
    assert all(torch.equal(a[0], b[0]) for a, b in zip(whole[2:], rest, strict=True))


def test_epochs_differ_and_hold_every_image() -> None:
    plain = batches(crop=0, flip=False)
    labels = [torch.cat([y for _, y in plain.epoch(i)]) for i in (0, 1)]
    assert not torch.equal(*labels)
    assert torch.equal(labels[0].sort().values, labels[1].sort().values)


def test_images_are_normalised_and_channels_last() -> None:
    x = torch.cat([x for x, _ in batches(crop=0, flip=False).ordered()])
    assert x.is_contiguous(memory_format=torch.channels_last)
    assert x.mean().item() == pytest.approx(0, abs=1e-3)
    assert x.std().item() == pytest.approx(1, abs=1e-2)


def make_images(root: Path, classes: int, each: int = 6) -> bool:
    from PIL import Image

    for index in range(classes):
        folder = root / f"class{index}"
        folder.mkdir(parents=True)
        for number in range(each):
            Image.new("RGB", (20, 10), (40 * index, number, 0)).save(folder / f"{number}.png")
    return True


def test_image_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWEEPS_CACHE", str(tmp_path / "cache"))
    make_images(tmp_path / "images", classes=3)
    arguments = {"root": str(tmp_path / "images"), "image_size": 8, "test_fraction": 0.34}
    source = image_folder(**arguments)  # type: ignore[arg-type]
    assert source.train.images.shape == (12, 8, 8, 3)
    assert len(source.test) == 6
    assert source.classes == ("class0", "class1", "class2")
    for file in (tmp_path / "cache").rglob("test_labels.npy"):
        file.write_bytes(b"damaged")
    assert image_folder(**arguments).digest == source.digest  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("prepare_folder", "message"),
    [
        (lambda root: None, "does not exist"),
        (lambda root: root.mkdir(), "no images in class folders"),
        (lambda root: make_images(root, classes=1), "one class, class0"),
        (
            lambda root: (make_images(root, 2), (root / "class1" / "3.png").write_bytes(b"no")),
            "3.png cannot be read as an image",
        ),
        (
            lambda root: (make_images(root / "train", 3), make_images(root / "test", 2)),
            "only one has class2",
        ),
    ],
)
def test_image_folder_refuses(
    prepare_folder: Callable[[Path], object],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SWEEPS_CACHE", str(tmp_path / "cache"))
    prepare_folder(tmp_path / "images")
    with pytest.raises(BadInputError, match=message):
        image_folder(root=str(tmp_path / "images"), image_size=8, test_fraction=0.2)
