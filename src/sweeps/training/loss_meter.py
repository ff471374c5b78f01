"""Means of the training loss, over the steps between two points and over an epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from sweeps.training.checkpoint import TrainState


class LossMeter:
    """Sums the losses of batches; they stay on their device until they are read.

    Args:
        state: Keeps the sums, so that a mean goes on where a run was cut.
    """

    def __init__(self, state: TrainState) -> None:
        self._state = state
        self._unread: list[tuple[Tensor, int]] = []

    def add(self, loss: Tensor, images: int) -> None:
        """Takes the mean loss of a batch, a scalar."""
        self._unread.append((loss, images))

    def read(self) -> None:
        """Adds up what came since the last time; this waits for a GPU."""
        state = self._state
        if self._unread and state.step == len(self._unread):
            state.start_loss = self._unread[0][0].item()
        for loss, images in self._unread:
            total = loss.item() * images
            state.window_loss += total
            state.window_images += images
            state.epoch_loss += total
            state.epoch_images += images
        self._unread.clear()

    def close_window(self) -> float:
        """Returns the mean per sample since the last point, and begins anew."""
        mean = self._state.window_loss / self._state.window_images
        self._state.window_loss, self._state.window_images = 0.0, 0
        return mean

    @property
    def epoch_mean(self) -> float:
        """The mean per sample over the epoch so far."""
        return self._state.epoch_loss / self._state.epoch_images

    def close_epoch(self) -> None:
        """Begins the sums of the next epoch."""
        self._state.epoch_loss, self._state.epoch_images = 0.0, 0
