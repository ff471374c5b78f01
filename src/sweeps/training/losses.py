"""MSE and L1 for classification: the distance between the outputs and the one-hot target."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor


class MSELoss(nn.Module):
    """Mean squared difference over all outputs."""

    def forward(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Returns the mean of (outputs - target)^2.

        Args:
            outputs: Raw outputs (n, classes), or values of any shape.
            target: Class indices (n,), or values of the outputs' shape.
        """
        return functional.mse_loss(outputs, _as_values(target, outputs))


class L1Loss(nn.Module):
    """Mean absolute difference over all outputs."""

    def forward(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Returns the mean of |outputs - target|; shapes as for `MSELoss`."""
        return functional.l1_loss(outputs, _as_values(target, outputs))


def _as_values(target: Tensor, outputs: Tensor) -> Tensor:
    if target.shape == outputs.shape:
        return target
    return functional.one_hot(target, outputs.shape[-1]).to(outputs.dtype)
