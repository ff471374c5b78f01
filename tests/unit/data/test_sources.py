"""Sources: the digits' split, and what a folder of images is refused for."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from sweeps.data import prepare
from sweeps.data.sources import digits, image_folder
from sweeps.errors import BadInputError


def test_digits_split() -> None:
    data = prepare(digits(), val_fraction=0.1, limit=None, seed=0)
    assert data.val is not None
    assert len(data.train) + len(data.val) + len(data.test) == 1797
    assert data.shape == (1, 8, 8)
    assert data.digest == digits().digest
    other = prepare(digits(), val_fraction=0.1, limit=None, seed=1)
    assert torch.equal(other.test.contiguous().images, data.test.contiguous().images)
    assert not torch.equal(other.train.labels, data.train.labels)


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
