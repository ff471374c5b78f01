"""A person's own model, of which a setting makes the training fail."""

import torch
from torch import nn


class Net(nn.Module):
    """One layer.

    Args:
        in_channels: Of an image.
        image_size: Its height and width in pixels.
        num_classes: Number of classes.
        breaks: Whether training raises.
    """

    def __init__(
        self, in_channels: int, image_size: int, num_classes: int, *, breaks: bool = False
    ) -> None:
        super().__init__()
        self.layer = nn.Linear(in_channels * image_size**2, num_classes)
        self.breaks = breaks

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Returns logits (n, classes) of images (n, c, h, w)."""
        if self.training and self.breaks:
            raise RuntimeError("it breaks, as it was asked to")
        logits: torch.Tensor = self.layer(x.flatten(1))
        return logits
