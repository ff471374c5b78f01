"""Where images come from. Each function returns a `Source`; conf/data names them by `_target_`."""

from __future__ import annotations

import hashlib
import logging
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from sweeps.data import decoding
from sweeps.data.cache import cache_dir, cached
from sweeps.data.dataset import Source, Split, digest
from sweeps.data.folders import Listing, describe_left_out, list_images
from sweeps.errors import BadInputError
from sweeps.files import expanded
from sweeps.seeding import generator

if TYPE_CHECKING:
    from pathlib import Path


log = logging.getLogger(__name__)

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
    folder = expanded(root) if root else cache_dir() / "downloads"
    key = {
        "source": "torchvision",
        "dataset": dataset,
        "root": str(folder.absolute()) if root else None,
    }
    return cached(key, lambda: _read_torchvision(dataset, folder))


def image_folder(
    *, root: str, image_size: int, test_fraction: float, resize: str = "squash"
) -> Source:
    """Returns a person's own images, in class folders.

    A val folder is the validation split. Transparent images are laid on white (nearly white ones on
    black), photos are turned as their EXIF data says, and deep images keep their values, see
    `sweeps.data.decoding`.

    Args:
        root: Holds train/ with class folders and beside it val/, test/ or both (in any case, also
            training/, valid/, validation/, testing/), or the class folders themselves.
        image_size: Height and width that every image is brought to, in pixels.
        test_fraction: Share of each class held out where there is no test folder.
        resize: 'squash' to the square, 'crop' the middle square, or 'pad' to one with black.

    Raises:
        BadInputError: The folder is missing, empty, has one class, or holds broken images.
    """
    top = expanded(root)
    if not top.is_dir():
        kind = "is a file" if top.exists() else "does not exist"
        raise BadInputError(
            f"data.root={root} {kind}. Type data.root=FOLDER, where FOLDER holds one folder of images"
            " a class, or train/ and test/ with such folders."
        )
    listing = list_images(top)
    key = {
        "source": "image_folder",
        "decoding": [decoding.VERSION, version("pillow")],
        "files": _stamps(top, listing.paths),
        "image_size": image_size,
        "resize": resize,
        "test_fraction": None if "test" in listing.splits else test_fraction,
    }
    return cached(key, lambda: _decode_folder(top, listing, image_size, resize, test_fraction))


def _stamps(top: Path, paths: list[Path]) -> str:
    """Returns a hash that changes when a file comes, goes, or is written."""
    sha = hashlib.sha256()
    for path in paths:
        stat = path.stat()
        line = f"{path.relative_to(top)}|{stat.st_size}|{stat.st_mtime_ns}\n"
        sha.update(line.encode(errors="surrogateescape"))
    return sha.hexdigest()


def _decode_folder(
    top: Path, listing: Listing, image_size: int, resize: str, test_fraction: float
) -> Source:
    if +listing.left_out:
        log.warning("Left out of %s: %s.", top, describe_left_out(+listing.left_out))
    images = torch.from_numpy(decoding.decode(listing.paths, image_size, resize))
    splits, start = {}, 0
    for name, classes in listing.splits.items():
        labels = [index for index, paths in enumerate(classes.values()) for _ in paths]
        splits[name] = Split(images[start : start + len(labels)], torch.tensor(labels))
        start += len(labels)
    pool, val = splits.get("train", splits.get("all")), splits.get("val")
    assert pool is not None
    if "test" in splits:
        return _source(pool, splits["test"], listing.classes, val)
    if val is not None:
        log.warning(
            "%s has no test folder: %g of each class of train is the test.", top, test_fraction
        )
    return _split_by_class(pool, test_fraction, listing.classes, val)


def _source(
    train: Split, test: Split, classes: tuple[str, ...], val: Split | None = None
) -> Source:
    return Source(train, test, classes, digest(train, test, classes, val), val)


def _split_by_class(
    everything: Split, test_fraction: float, classes: tuple[str, ...], val: Split | None = None
) -> Source:
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
    return _source(parts[0], parts[1], classes, val)


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
