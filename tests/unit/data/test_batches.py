"""Batches: an epoch is a function of seed, epoch and batch, so that it can start in its middle."""

import pytest
import torch

from sweeps.data import Batches, prepare
from sweeps.data.sources import synthetic


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
