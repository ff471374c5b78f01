"""One in-memory form for every data set: images, labels, class names, a content digest."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from sweeps.errors import BadInputError
from sweeps.seeding import generator

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor


@dataclass(frozen=True)
class Split:
    """Images and their classes, or a choice of images that others choose from too.

    Attributes:
        images: (n, h, w, c), uint8 for shares of 255, or float32 for the values themselves; with
            `indices` those of the split are among them.
        labels: int64, (m,), class indices of the split's own images; m is n without `indices`.
        indices: int64, (m,), the places of the split's images in `images`; None for all, as they are.
    """

    images: Tensor
    labels: Tensor
    indices: Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def full_scale(self) -> int:
        """The stored number that stands for 1: bytes are shares of 255, floats are themselves."""
        return 255 if self.images.dtype == torch.uint8 else 1

    def take(self, chosen: Tensor) -> Split:
        """Returns some images of the split, which stay where they are in memory."""
        indices = chosen if self.indices is None else self.indices[chosen]
        return Split(self.images, self.labels[chosen], indices)

    def pick(self, chosen: Tensor) -> Tensor:
        """Returns a copy of some images of the split, (len(chosen), h, w, c)."""
        indices = chosen if self.indices is None else self.indices.index_select(0, chosen)
        return self.images.index_select(0, indices)

    def chunks(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields the images and labels in order, at most `size` at a time."""
        for start in range(0, len(self), size):
            part = slice(start, start + size)
            images = (
                self.images[part]
                if self.indices is None
                else self.images.index_select(0, self.indices[part])
            )
            yield images, self.labels[part]

    @property
    def class_by_class(self) -> bool:
        """Whether all images of a class stand together, as folders give them."""
        return bool((self.labels.diff() != 0).sum() == len(torch.unique(self.labels)) - 1 > 0)

    def contiguous(self) -> Split:
        """Returns the split with its own images alone, copied where they are a choice."""
        if self.indices is None:
            return self
        return Split(self.images.index_select(0, self.indices), self.labels)

    def to(self, device: torch.device) -> Split:
        """Returns the split on a device; only its own images are moved there."""
        if self.images.device == device:
            return self
        own = self.contiguous()
        return Split(own.images.to(device), own.labels.to(device))


@dataclass(frozen=True)
class Source:
    """A data set as its makers split it.

    Attributes:
        train: The training pool, from which validation images are taken.
        test: The test images.
        classes: Class names, by index.
        digest: 32 hexadecimal digits of a SHA-256 over the content.
        val: The validation images, where its makers chose some.
    """

    train: Split
    test: Split
    classes: tuple[str, ...]
    digest: str
    val: Split | None = None


@dataclass(frozen=True)
class Dataset:
    """A data set ready for training; mean and std are per channel, of bytes as shares of 255."""

    train: Split
    val: Split | None
    test: Split
    classes: tuple[str, ...]
    digest: str
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        _, height, width, channels = self.train.images.shape
        return channels, height, width


def digest(train: Split, test: Split, classes: tuple[str, ...], val: Split | None = None) -> str:
    """Returns 32 hexadecimal digits that change with any pixel, label or class name."""
    parts = [split.contiguous() for split in (train, test, val) if split is not None]
    sha = hashlib.sha256(repr((classes, *(part.images.shape for part in parts))).encode())
    for split in parts:
        sha.update(split.images.contiguous().numpy().data)
        sha.update(split.labels.contiguous().numpy().data)
    return sha.hexdigest()[:32]


def prepare(
    source: Source,
    *,
    val_fraction: float,
    val_split: str = "stratified",
    limit: int | None,
    seed: int,
) -> Dataset:
    """Splits off the validation images, unless the source has its own, and measures the pool.

    Args:
        source: The data set.
        val_fraction: Share of the training pool held out for validation; the choice follows `seed`.
            Above 0 the source's own validation images are taken instead; 0 is no validation at all.
        val_split: 'stratified' holds out that share of every class, 'random' of all images at once.
        limit: At most so many images of the pool and of the others, the same for every seed.
        seed: The run's seed.

    Raises:
        BadInputError: Nothing would be left to train or to validate on.
    """
    pool, test = _limited(source.train, limit), _limited(source.test, limit)
    train, val = pool, None
    if source.val is not None and val_fraction > 0:
        val = _limited(source.val, limit)
    elif (held_out := _held_out(pool, val_fraction)) > 0:
        order = torch.randperm(len(pool), generator=generator(seed, "split"))
        if val_split == "stratified":
            order = stratified(order, pool.labels)
        val, train = pool.take(order[:held_out]), pool.take(order[held_out:])
    mean, std = _statistics(pool)
    return Dataset(train, val, test, source.classes, source.digest, mean, std)


def _held_out(pool: Split, val_fraction: float) -> int:
    held_out = round(len(pool) * val_fraction)
    if (val_fraction > 0 and held_out == 0) or held_out >= len(pool):
        raise BadInputError(
            f"data.val_fraction={val_fraction} of {len(pool)} training images leaves"
            f" {len(pool) - held_out} to train and {held_out} to validate on; change it or data.limit."
        )
    return held_out


def stratified(order: Tensor, groups: Tensor) -> Tensor:
    """Returns an order in which the first of any number hold every group in its share.

    One of each group comes first, then whichever group is furthest behind its share (Webster's method
    of apportionment); a group of one comes last.

    Args:
        order: Places of the rows in random order, int64 (n,): it decides within a group and between
            groups that are equally far behind.
        groups: What must be spread, such as the class of each row, (n,).
    """
    _, group, sizes = torch.unique(groups[order], return_inverse=True, return_counts=True)
    together = torch.argsort(group, stable=True)
    place = torch.empty_like(order)  # within the group
    place[together] = torch.arange(len(order)) - (sizes.cumsum(0) - sizes)[group[together]]
    turn = (place + 0.5) / sizes[group]
    turn[place == 0] = 0.0
    turn[sizes[group] == 1] = 1.0
    return order[torch.argsort(turn, stable=True)]


def _limited(split: Split, limit: int | None) -> Split:
    if limit is None or limit >= len(split):
        return split
    order = torch.randperm(len(split), generator=generator(0, "limit"))
    return split.take(order[:limit])


def _statistics(split: Split) -> tuple[tuple[float, ...], tuple[float, ...]]:
    _, height, width, channels = split.images.shape
    total = torch.zeros(channels, dtype=torch.float64)
    squares = torch.zeros(channels, dtype=torch.float64)
    for images, _ in split.chunks(4096):
        values = images.reshape(-1, channels).double().div_(split.full_scale)
        total += values.sum(0)
        squares += values.square_().sum(0)
    pixels = len(split) * height * width
    mean = total / pixels
    # Values without a scale of their own may all be tiny: what is no contrast is a share of them.
    size = torch.ones_like(mean) if split.full_scale > 1 else (squares / pixels).clamp_min(1e-30)
    std = (squares / pixels - mean**2).maximum(1e-8 * size).sqrt()
    return tuple(mean.tolist()), tuple(std.tolist())
