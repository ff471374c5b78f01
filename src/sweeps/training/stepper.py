"""One optimizer step: rates, the gradients of one batch or several, and what is done to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from sweeps.training.optimizers import needs_closure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from sweeps.training.trainer import Parts, TrainerSettings


class Stepper:
    """Takes optimizer steps.

    Args:
        parts: Of the training; each group of the optimizer holds its base rate.
        settings: Of the training.
    """

    def __init__(self, parts: Parts, settings: TrainerSettings) -> None:
        self._parts, self._settings = parts, settings
        self._base_rates = [float(group["lr"]) for group in parts.optimizer.param_groups]
        self._parameters = list(parts.model.parameters())
        self._needs_closure = needs_closure(type(parts.optimizer))

    def take(self, batches: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        """Takes a step on the mean loss of all images of some batches; returns that loss, a scalar."""
        optimizer, schedule = self._parts.optimizer, self._parts.schedule
        factor = schedule.factor
        for group, rate in zip(optimizer.param_groups, self._base_rates, strict=True):
            group["lr"] = rate * factor
        losses: list[Tensor] = []

        def gradients() -> float:
            losses.append(self._gradients(batches))
            return losses[-1]  # type: ignore[return-value] # torch takes a tensor too

        if self._needs_closure:
            optimizer.step(gradients)
        else:
            gradients()
            optimizer.step()
        schedule.advance()
        return losses[0]

    def rates(self) -> dict[str, float]:
        """Returns the rates of the last step: 'lr', and 'lr/NAME' for each rule."""
        groups = self._parts.optimizer.param_groups
        rate = float(groups[0]["lr"])
        if "rule" in groups[0]:  # every parameter has one
            rate *= self._parts.optimizer.defaults["lr"] / self._base_rates[0]
        named = {f"lr/{g['rule']}": float(g["lr"]) for g in groups if "rule" in g}
        return {"lr": rate, **named}

    def _gradients(self, batches: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        """Leaves the gradients of the mean loss with the parameters; returns that loss."""
        parts = self._parts
        losses: list[Tensor] = []
        images = sum(len(y) for _, y in batches)
        parts.optimizer.zero_grad(set_to_none=True)
        for x, y in batches:
            with self._settings.autocast():
                loss = parts.loss(parts.forward(x), y)
            if len(batches) > 1:
                loss = loss * (len(y) / images)
            loss.backward()
            losses.append(loss.detach())
        if self._settings.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self._parameters, self._settings.clip_norm)
        return losses[0] if len(losses) == 1 else torch.stack(losses).sum()
