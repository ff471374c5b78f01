"""Where images come from. Each function returns a `Source`; conf/data names them by `_target_`."""

from __future__ import annotations

import hashlib
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sweeps.data.cache import cache_dir, cached
from sweeps.data.dataset import Source, Split, digest
from sweeps.errors import BadInputError
from sweeps.seeding import generator

log = logging.getLogger(__name__)

IMAGE_SUFFIXES = frozenset(
    {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)
DATASETS = ("CIFAR10", "CIFAR100", "MNIST", "FashionMNIST", "SVHN")


def digits() -> Source:
    """Returns scikit-learn's 1,797 handwritten digits, 1x8x8, a fixed fifth of each class for test."""

    def make() -> Source:
        from sklearn.datasets import load_digits  # takes seconds to import, once

        bunch = load_digits()
        pixels = np.rint(bunch.images * (255 / 16)).astype(np.uint8)[..., None]
        labels = torch.from_numpy(bunch.target.astype(np.int64))
        classes = tuple(str(name) for name in bunch.target_names)
        return _split_by_class(Split(torch.from_numpy(pixels), labels), 0.2, classes)

    return cached({"source": "digits", "scikit-learn": version("scikit-learn")}, make)


def synthetic(
    *, samples: int, test_samples: int, channels: int, image_size: int, classes: int, noise: float
) -> Source:
    """Returns noisy copies of one random pattern a class.

    Args:
        samples: Training images.
        test_samples: Test images.
        channels: Channels of an image.
        image_size: Height and width, in pixels.
        classes: Number of patterns.
        noise: Standard deviation of the noise in units of the patterns' own.
    """
    random = generator(0, "synthetic")
    patterns = torch.randn(classes, image_size, image_size, channels, generator=random)

    def make(n: int) -> Split:
        labels = torch.arange(n) % classes
        values = patterns[labels]
        values = values + noise * torch.randn(values.shape, generator=random)
        return Split((values * 40 + 128).clamp(0, 255).to(torch.uint8), labels)

    return _source(make(samples), make(test_samples), tuple(f"class{i}" for i in range(classes)))


def torchvision_dataset(*, dataset: str, root: str | None) -> Source:
    """Returns a data set that torchvision downloads and checks.

    Args:
        dataset: The class in torchvision.datasets, one of `DATASETS`.
        root: Folder of the archives; the cache folder by default.

    Raises:
        BadInputError: The host cannot be reached, or the archive is damaged.
    """
    if dataset not in DATASETS:
        raise BadInputError(f"data.dataset={dataset} must be one of {', '.join(DATASETS)}.")
    folder = Path(root).expanduser() if root else cache_dir() / "downloads"
    key = {
        "source": "torchvision",
        "dataset": dataset,
        "root": str(folder.absolute()) if root else None,
    }
    return cached(key, lambda: _read_torchvision(dataset, folder))


def image_folder(*, root: str, image_size: int, test_fraction: float) -> Source:
    """Returns a person's own images, in class folders.

    Args:
        root: Holds train/ and test/ with class folders in each, or the class folders themselves.
        image_size: Height and width that every image is resized to, in pixels.
        test_fraction: Share of each class held out where there is no test folder.

    Raises:
        BadInputError: The folder is missing, empty, has one class, or holds a broken image.
    """
    top = Path(root).expanduser()
    if not top.is_dir():
        kind = "is a file" if top.exists() else "does not exist"
        raise BadInputError(
            f"data.root={root} {kind}. Type data.root=FOLDER, where FOLDER holds one folder of images"
            " a class, or train/ and test/ with such folders."
        )
    split = (top / "train").is_dir() and (top / "test").is_dir()
    listings = (
        [_list_images(top / part) for part in ("train", "test")] if split else [_list_images(top)]
    )
    classes = tuple(listings[0])
    if split and tuple(listings[1]) != classes:
        differing = ", ".join(sorted(set(classes) ^ set(listings[1])))
        raise BadInputError(
            f"{top}/train and {top}/test must hold the same classes; only one has {differing}."
        )
    sha = hashlib.sha256()
    for listing in listings:
        for path in (path for paths in listing.values() for path in paths):
            stat = path.stat()
            sha.update(
                f"{path.relative_to(top)}|{stat.st_size}|{stat.st_mtime_ns}\n".encode(
                    errors="surrogateescape"
                )
            )
    key = {
        "source": "image_folder",
        "files": sha.hexdigest(),
        "image_size": image_size,
        "test_fraction": None if split else test_fraction,
    }

    def make() -> Source:
        parts = [_decode(listing, image_size) for listing in listings]
        if split:
            return _source(parts[0], parts[1], classes)
        return _split_by_class(parts[0], test_fraction, classes)

    return cached(key, make)


def _source(train: Split, test: Split, classes: tuple[str, ...]) -> Source:
    return Source(train, test, classes, digest(train, test, classes))


def _split_by_class(everything: Split, test_fraction: float, classes: tuple[str, ...]) -> Source:
    """Holds out the same share of every class; the choice is fixed, so all runs share the test."""
    train, test = [], []
    for index, name in enumerate(classes):
        members = torch.nonzero(everything.labels == index).flatten()
        random = generator(0, "test", index)
        members = members[torch.randperm(len(members), generator=random)]
        held_out = max(1, round(len(members) * test_fraction))
        if held_out >= len(members):
            raise BadInputError(
                f"Class {name} has {len(members)} image(s): too few to hold out a test share of"
                f" {test_fraction}. Add images, or make train/ and test/ folders."
            )
        test.append(members[:held_out])
        train.append(members[held_out:])
    parts = [everything.take(torch.cat(part).sort().values) for part in (train, test)]
    return _source(parts[0], parts[1], classes)


def _list_images(folder: Path) -> dict[str, list[Path]]:
    listing = {
        child.name: sorted(
            path for path in child.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES
        )
        for child in sorted(folder.iterdir())
        if child.is_dir() and not child.name.startswith(".")
    }
    filled = {name: paths for name, paths in listing.items() if paths}
    if len(filled) < 2:
        found = f"one class, {next(iter(filled))}" if filled else "no images in class folders"
        raise BadInputError(
            f"{folder} holds {found}; at least two classes are needed, such as"
            f" {folder}/cat/1.jpg and {folder}/dog/1.jpg."
        )
    return filled


def _decode(listing: dict[str, list[Path]], image_size: int) -> Split:
    paths = [path for members in listing.values() for path in members]
    labels = [index for index, members in enumerate(listing.values()) for _ in members]
    images = np.empty((len(paths), image_size, image_size, 3), dtype=np.uint8)

    def decode(index: int) -> None:
        images[index] = _read_image(paths[index], image_size)

    last = time.monotonic()
    with ThreadPoolExecutor() as pool:
        for done, _ in enumerate(pool.map(decode, range(len(paths)))):
            if time.monotonic() - last > 2:
                last = time.monotonic()
                log.info("Decoding images, once: %d of %d", done, len(paths))
    return Split(torch.from_numpy(images), torch.tensor(labels))


def _read_image(path: Path, image_size: int) -> Any:
    from PIL import Image

    try:
        with Image.open(path) as image:
            rgb = image.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise BadInputError(
            f"{path} cannot be read as an image ({error}). Repair it or take it out of the folder."
        ) from error
    if rgb.size != (image_size, image_size):
        rgb = rgb.resize((image_size, image_size), Image.Resampling.BILINEAR)
    return np.asarray(rgb)


def _read_torchvision(dataset: str, folder: Path) -> Source:
    from torchvision import datasets

    kind = getattr(datasets, dataset)
    log.info("Preparing %s in %s", dataset, folder)
    try:
        if dataset == "SVHN":
            parts = [kind(str(folder), split=name, download=True) for name in ("train", "test")]
        else:
            parts = [kind(str(folder), train=train, download=True) for train in (True, False)]
    except (OSError, RuntimeError, EOFError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        if isinstance(error, OSError) or "download" in reason.lower():
            archives = folder / dataset / "raw" if dataset.endswith("MNIST") else folder
            raise BadInputError(
                f"{dataset} cannot be downloaded ({reason}). Offline: put its archive into {archives} by"
                " hand, after deleting any damaged one there, or type data=digits, which needs no download."
            ) from error
        raise BadInputError(
            f"{dataset} in {folder} is damaged ({reason}). Delete its files there and start again."
        ) from error
    splits = [_as_split(part, dataset) for part in parts]
    names = getattr(parts[0], "classes", [str(i) for i in range(10)])
    return _source(splits[0], splits[1], tuple(str(name) for name in names))


def _as_split(part: Any, dataset: str) -> Split:
    images = np.asarray(part.data)
    if dataset == "SVHN":
        images = images.transpose(0, 2, 3, 1)
    if images.ndim == 3:
        images = images[..., None]
    labels = np.asarray(part.labels if dataset == "SVHN" else part.targets).astype(np.int64)
    return Split(torch.from_numpy(np.ascontiguousarray(images)), torch.from_numpy(labels))
