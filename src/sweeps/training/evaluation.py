"""How good a model is on images that it does not learn from."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from sweeps.data import Batches
    from sweeps.training.trainer import Parts, TrainerSettings


class Evaluation(NamedTuple):
    """What was measured on a split.

    Attributes:
        loss: Mean per sample.
        metrics: The loss and the accuracy in 0..1, by names such as 'val_accuracy'.
        classes: (2, n) as int16 on the CPU: as they are predicted, and true.
    """

    loss: float
    metrics: dict[str, float]
    classes: Tensor


@torch.no_grad()
def evaluate(split: str, batches: Batches, parts: Parts, settings: TrainerSettings) -> Evaluation:
    """Measures all images of a split, named 'val' or 'test'; the model stays in its eval mode."""
    parts.model.eval()
    total = torch.zeros((), dtype=torch.float64, device="cpu")
    classes: list[Tensor] = []
    correct, images = 0, 0
    for x, y in batches.ordered():
        with settings.autocast():
            outputs = parts.forward(x)
            loss = parts.loss(outputs, y)
        total += loss.cpu().double() * len(y)  # MPS has no float64
        predicted = outputs.argmax(dim=1)
        classes.append(torch.stack([predicted, y]).to(torch.int16))
        correct += int((predicted == y).sum())
        images += len(y)
    mean = float(total) / images
    metrics = {f"{split}_loss": mean, f"{split}_accuracy": correct / images}
    return Evaluation(mean, metrics, torch.cat(classes, dim=1).cpu())
