"""The shipped networks. Each takes images (n, in_channels, image_size, image_size)."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from torch import nn

from sweeps.errors import BadInputError

if TYPE_CHECKING:
    from torch import Tensor


class SwaggerCifar(nn.Module):
    """The study notes' CNN: three 5x5 convolutions with max-pooling, then two linear layers.

    As in the notes there is no activation between the layers; pooling is the only non-linearity.
    On 3x32x32 images and 10 classes it has 145,578 parameters.

    Raises:
        BadInputError: The images are too small for three halvings.
    """

    def __init__(self, in_channels: int, image_size: int, num_classes: int) -> None:
        super().__init__()
        if image_size < 8:
            raise BadInputError(
                f"model=swagger_cifar halves the image three times: {image_size} pixels are too few,"
                " 8 is the least. Type model=mlp, or a larger data.image_size."
            )
        widths = [in_channels, 32, 32, 64]
        blocks: list[nn.Module] = []
        for narrow, wide in itertools.pairwise(widths):
            blocks += [nn.Conv2d(narrow, wide, kernel_size=5, padding=2), nn.MaxPool2d(2)]
        self.features = nn.Sequential(*blocks)
        self.classifier = nn.Sequential(
            nn.Flatten(), nn.Linear(64 * (image_size // 8) ** 2, 64), nn.Linear(64, num_classes)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Returns the raw outputs (n, num_classes)."""
        outputs: Tensor = self.classifier(self.features(x))
        return outputs


class Linear(nn.Module):
    """One linear layer on the pixels."""

    def __init__(self, in_channels: int, image_size: int, num_classes: int) -> None:
        super().__init__()
        self.layer = nn.Linear(in_channels * image_size**2, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the raw outputs (n, num_classes)."""
        outputs: Tensor = self.layer(x.flatten(1))
        return outputs


class MLP(nn.Module):
    """Linear layers with ReLU between them.

    Args:
        in_channels: Channels of the images.
        image_size: Height and width of the images, in pixels.
        num_classes: Outputs.
        hidden: Width of each hidden layer.
    """

    def __init__(
        self, in_channels: int, image_size: int, num_classes: int, hidden: list[int]
    ) -> None:
        super().__init__()
        widths = [in_channels * image_size**2, *hidden]
        layers: list[nn.Module] = []
        for narrow, wide in itertools.pairwise(widths):
            layers += [nn.Linear(narrow, wide), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-1], num_classes))

    def forward(self, x: Tensor) -> Tensor:
        """Returns the raw outputs (n, num_classes)."""
        outputs: Tensor = self.layers(x.flatten(1))
        return outputs


def resnet18(in_channels: int, image_size: int, num_classes: int) -> nn.Module:
    """Returns torchvision's ResNet-18, with a 3x3 stem without pooling for images up to 64 pixels.

    The small stem is the one of the CIFAR experiments in He et al., arXiv:1512.03385, section 4.2.
    """
    from torchvision.models import resnet18 as torchvision_resnet18

    model: nn.Module = torchvision_resnet18(num_classes=num_classes)
    if image_size <= 64:
        model.conv1 = nn.Conv2d(in_channels, 64, kernel_size=3, padding=1, bias=False)
        model.maxpool = nn.Identity()
    elif in_channels != 3:
        model.conv1 = nn.Conv2d(in_channels, 64, kernel_size=7, stride=2, padding=3, bias=False)
    return model
