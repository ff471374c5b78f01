"""The weights by which a training is judged, where they are not those that it trains."""

from __future__ import annotations

import contextlib
import itertools
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from sweeps.training.optimizers import has_modes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from sweeps.training.trainer import Parts, TrainerSettings


NORM_BATCHES = 50
"""Training batches from which BatchNorm's statistics are measured anew."""


class JudgedWeights:
    """Puts the weights to be evaluated and saved into a model, and those to be trained back.

    They are others for a moving average, and for an optimizer that trains at one point and is judged at
    another (schedule-free, Defazio et al. 2024, arXiv:2405.15682). BatchNorm has no statistics of the
    latter, so they are measured on training images.

    Args:
        parts: Of the training.
        settings: Of the training.

    Attributes:
        average: The moving average of the weights and buffers by name; empty where there is none.
    """

    def __init__(self, parts: Parts, settings: TrainerSettings) -> None:
        self._parts, self._decay = parts, settings.ema
        self._modes: Any = parts.optimizer if has_modes(parts.optimizer) else None
        self._norms = [m for m in parts.model.modules() if isinstance(m, _BatchNorm)]
        self.average: dict[str, Tensor] = {}
        if self._decay is not None:
            self.average = _copied(parts.model.state_dict())

    def train(self) -> None:
        """Makes model and optimizer ready to learn."""
        self._parts.model.train()
        if self._modes is not None:
            self._modes.train()

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Takes the weights after an optimizer step into their average.

        The first steps count more, as in TensorFlow: the average must not remember the beginning.
        """
        if self._decay is None:
            return
        share = 1 - min(self._decay, (1 + step) / (10 + step))
        for name, tensor in self._parts.model.state_dict().items():
            if tensor.is_floating_point():
                self.average[name].lerp_(tensor, share)
            else:
                self.average[name].copy_(tensor)

    @contextlib.contextmanager
    def in_place(self, epoch: int) -> Iterator[None]:
        """Lets the model have the weights to be judged.

        Args:
            epoch: Whose first batches BatchNorm is measured on.
        """
        model = self._parts.model
        if self._modes is not None:
            self._modes.eval()
            self._measure_norms(epoch)
        if self._decay is None:
            yield
            return
        trained = _copied(model.state_dict())
        model.load_state_dict(self.average)
        try:
            yield
        finally:
            model.load_state_dict(trained)

    @torch.no_grad()
    def _measure_norms(self, epoch: int) -> None:
        """Measures BatchNorm's statistics as means over some training batches."""
        norms = [norm for norm in self._norms if norm.track_running_stats]
        if not norms:
            return
        momenta = [norm.momentum for norm in norms]
        self._parts.model.eval()  # nothing else of the model learns or draws numbers
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None
            norm.train()
        for x, _ in itertools.islice(self._parts.train.epoch(epoch), NORM_BATCHES):
            self._parts.model(x)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


def _copied(weights: dict[str, Any]) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in weights.items()}
