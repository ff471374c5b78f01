"""Batches as a generator over tensors in memory; augmentation works on a whole batch."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from sweeps.seeding import generator

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from sweeps.data.dataset import Split


class Batches:
    """Gives a split's images as float batches, in channels_last layout except on MPS.

    Every order and augmentation is a function of the seed, the epoch and the batch, so a training
    can continue in the middle of an epoch.

    Args:
        split: The images; they are moved to the device once.
        batch_size: Images a batch; the last batch of an epoch may be smaller.
        mean: Subtracted per channel, of bytes as shares of 255, or None to leave pixels as they are.
        std: Divides per channel after that.
        crop: Pixels of zero padding for a random crop, 0 for none.
        flip: Whether half of the images are mirrored left to right.
        shuffle: Whether each epoch has a random order of its own; else all have the stored order.
        seed: The run's seed.
        device: Where batches are made.
    """

    def __init__(
        self,
        split: Split,
        *,
        batch_size: int,
        mean: Sequence[float] | None,
        std: Sequence[float] | None,
        crop: int,
        flip: bool,
        shuffle: bool = True,
        seed: int,
        device: torch.device,
    ) -> None:
        self._split = split.to(device)
        self._batch_size = batch_size
        self._crop, self._flip, self._shuffle, self._seed = crop, flip, shuffle, seed
        self._device = device
        channels = split.images.shape[-1]
        offset = torch.tensor(mean if mean is not None else [0.0] * channels)
        spread = torch.tensor(std if std is not None else [1.0] * channels)
        # (x / 255 - mean) / std as one multiplication and one addition; floats are not divided.
        self._scale = (1 / (split.full_scale * spread)).view(1, -1, 1, 1).to(device)
        self._shift = (-offset / spread).view(1, -1, 1, 1).to(device)

    @property
    def steps_per_epoch(self) -> int:
        """Batches an epoch."""
        return math.ceil(len(self._split) / self._batch_size)

    def epoch(self, index: int, *, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields the batches of one epoch in its order, from batch `start` on.

        Yields:
            Images (b, c, h, w) as float32, and classes (b,) as int64.
        """
        order = self._order(index).to(self._device)
        for number in range(start, self.steps_per_epoch):
            chosen = order[number * self._batch_size : (number + 1) * self._batch_size]
            images = self._split.pick(chosen)
            if self._crop or self._flip:
                random = generator(self._seed, "augmentation", index, number)
                images = self._augment(images, random)
            yield self._as_input(images), self._split.labels.index_select(0, chosen)

    def ordered(self, batch_size: int = 500) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields all images in their stored order, without augmentation, for evaluation."""
        for images, labels in self._split.chunks(batch_size):
            yield self._as_input(images), labels

    def _order(self, epoch: int) -> Tensor:
        if not self._shuffle:
            return torch.arange(len(self._split))
        return torch.randperm(len(self._split), generator=generator(self._seed, "order", epoch))

    def _as_input(self, images: Tensor) -> Tensor:
        # A copy of floats too: they may be the split's own.
        pixels = images.permute(0, 3, 1, 2).to(torch.float32, copy=True)
        if self._device.type == "mps":  # https://github.com/pytorch/pytorch/issues/175190
            pixels = pixels.contiguous()
        return pixels.mul_(self._scale).add_(self._shift)

    def _send(self, numbers: Tensor) -> Tensor:
        if self._device.type == "cuda":  # from pinned memory a GPU need not be waited for
            return numbers.pin_memory().to(self._device, non_blocking=True)
        return numbers.to(self._device)

    def _augment(self, images: Tensor, random: torch.Generator) -> Tensor:
        n, height, width, _ = images.shape
        if self._crop:
            pad = self._crop
            images = functional.pad(images, (0, 0, pad, pad, pad, pad))
            corner = self._send(torch.randint(0, 2 * pad + 1, (2, n, 1), generator=random))
            rows = corner[0] + torch.arange(height, device=self._device)
            columns = corner[1] + torch.arange(width, device=self._device)
            everyone = torch.arange(n, device=self._device).view(n, 1, 1)
            images = images[everyone, rows.unsqueeze(2), columns.unsqueeze(1)]
        if self._flip:
            mirrored = self._send(torch.rand(n, generator=random).lt(0.5)).view(n, 1, 1, 1)
            images = torch.where(mirrored, images.flip(2), images)
        return images
