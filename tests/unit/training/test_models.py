"""The shipped networks: shapes, parameters, memory formats."""

import pytest
import torch
from torch import nn

from sweeps.errors import BadInputError
from sweeps.training.models import MLP, Linear, SwaggerCifar, resnet18


def build(name: str, channels: int, size: int, classes: int) -> nn.Module:
    if name == "mlp":
        return MLP(channels, size, classes, hidden=[12, 5])
    if name == "resnet18":
        return resnet18(channels, size, classes)
    return {"linear": Linear, "swagger_cifar": SwaggerCifar}[name](channels, size, classes)


def parameters(model: nn.Module) -> int:
    return sum(item.numel() for item in model.parameters())


@pytest.mark.parametrize("name", ["linear", "mlp", "resnet18", "swagger_cifar"])
@pytest.mark.parametrize(("channels", "size"), [(1, 8), (3, 32), (3, 50), (1, 72)])
def test_memory_format_does_not_change_the_outputs(name: str, channels: int, size: int) -> None:
    torch.manual_seed(0)
    model = build(name, channels, size, 7).eval()
    x = torch.randn(2, channels, size, size)
    plain = model(x)
    assert plain.shape == (2, 7)
    model.to(memory_format=torch.channels_last)
    last = model(x.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(last, plain, rtol=1e-4, atol=1e-4)


def test_the_notes_network() -> None:
    model = SwaggerCifar(3, 32, 10)
    assert parameters(model) == 145_578
    kinds = [type(item) for item in model.modules() if not list(item.children())]
    pairs = [nn.Conv2d, nn.MaxPool2d] * 3
    assert kinds == [*pairs, nn.Flatten, nn.Linear, nn.Linear]


@pytest.mark.parametrize("size", [1, 7])
def test_too_small_for_the_notes_network(size: int) -> None:
    with pytest.raises(BadInputError, match="8 is the least"):
        SwaggerCifar(1, size, 10)


def test_linear_and_mlp_have_their_parameters() -> None:
    assert parameters(Linear(3, 4, 10)) == 48 * 10 + 10
    model = MLP(1, 4, 10, hidden=[8, 6])
    assert parameters(model) == (16 * 8 + 8) + (8 * 6 + 6) + (6 * 10 + 10)
    assert sum(isinstance(item, nn.ReLU) for item in model.modules()) == 2
    assert parameters(MLP(1, 4, 10, hidden=[])) == parameters(Linear(1, 4, 10))


@pytest.mark.parametrize(
    ("channels", "size", "kernel", "stride", "pooled"),
    [(1, 8, 3, 1, False), (3, 64, 3, 1, False), (3, 65, 7, 2, True), (1, 65, 7, 2, True)],
)
def test_small_images_get_a_small_stem(
    channels: int, size: int, kernel: int, stride: int, pooled: bool
) -> None:
    model = resnet18(channels, size, 10)
    stem = model.get_submodule("conv1")
    assert isinstance(stem, nn.Conv2d)
    assert stem.in_channels == channels
    assert stem.kernel_size == (kernel, kernel)
    assert stem.stride == (stride, stride)
    assert isinstance(model.get_submodule("maxpool"), nn.MaxPool2d) is pooled


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
