"""Losses against the study notes' numbers and by hand."""

import pytest
import torch
from torch import Tensor, nn

from sweeps.training.losses import L1Loss, MSELoss

OUTPUTS = torch.tensor([[0.5, 0.0, -1.0], [2.0, 1.0, 0.0]])
INDICES = torch.tensor([0, 2])
ONE_HOT = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])


@pytest.mark.parametrize(("loss", "value"), [(L1Loss(), 0.6667), (MSELoss(), 1.3333)])
def test_the_notes_distances(loss: nn.Module, value: float) -> None:
    found: Tensor = loss(torch.tensor([1.0, 2, 3]), torch.tensor([1.0, 2, 5]))
    assert found.item() == pytest.approx(value, abs=5e-5)


def test_the_notes_cross_entropy() -> None:
    loss = nn.CrossEntropyLoss()(torch.tensor([[0.2, 0.3, 0.1]]), torch.tensor([0]))
    assert loss.item() == pytest.approx(1.1020, abs=1e-4)


@pytest.mark.parametrize(
    ("loss", "value"),
    [(L1Loss(), (0.5 + 1 + 2 + 1 + 1) / 6), (MSELoss(), (0.25 + 1 + 4 + 1 + 1) / 6)],
)
def test_indices_mean_the_one_hot_target(loss: nn.Module, value: float) -> None:
    by_index: Tensor = loss(OUTPUTS, INDICES)
    assert by_index.shape == ()
    assert by_index.item() == pytest.approx(value)
    assert torch.equal(by_index, loss(OUTPUTS, ONE_HOT))


@pytest.mark.parametrize("loss", [L1Loss(), MSELoss()])
def test_as_many_images_as_classes_are_still_indices(loss: nn.Module) -> None:
    assert loss(torch.eye(3), torch.tensor([0, 1, 2])).item() == 0


@pytest.mark.parametrize("loss", [L1Loss(), MSELoss()])
def test_gradients_reach_the_outputs(loss: nn.Module) -> None:
    outputs = OUTPUTS.clone().requires_grad_()
    loss(outputs, INDICES).backward()
    assert outputs.grad is not None
    assert outputs.grad.abs().sum().item() > 0


@pytest.mark.parametrize("loss", [L1Loss(), MSELoss()])
def test_low_precision_outputs_are_accepted(loss: nn.Module) -> None:
    assert torch.isfinite(loss(OUTPUTS.bfloat16(), INDICES))


def test_classes_become_one_hot() -> None:
    outputs = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    assert MSELoss()(outputs, torch.tensor([0, 1])).item() == pytest.approx(0.25)
    assert L1Loss()(outputs, torch.tensor([0, 1])).item() == pytest.approx(0.25)
