"""How the learning rate changes over time, as a factor on the base rate, by torch's schedulers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch.optim import SGD, lr_scheduler

from sweeps.errors import BadInputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch.optim import Optimizer


Scheduler = lr_scheduler.LRScheduler | lr_scheduler.ReduceLROnPlateau


class Schedule:
    """Gives the factor on the base rate at each optimizer step.

    A scheduler of torch drives a private optimizer whose rate is 1, so that its rate is the factor
    for any optimizer, and a warmup can come before any scheduler.

    Args:
        make: Builds the scheduler on the optimizer it is given.
        warmup_steps: Steps of linear growth from 1 / warmup_steps to 1 before the scheduler starts.
    """

    def __init__(self, make: Callable[[Optimizer], Scheduler], *, warmup_steps: int) -> None:
        self._probe = SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
        self._scheduler = make(self._probe)
        self._warmup_steps = warmup_steps
        self._steps = 0

    @property
    def factor(self) -> float:
        """The factor for the next optimizer step."""
        if self._steps < self._warmup_steps:
            return (self._steps + 1) / self._warmup_steps
        return float(self._probe.param_groups[0]["lr"])

    def advance(self) -> None:
        """Counts one optimizer step."""
        self._steps += 1
        if isinstance(self._scheduler, lr_scheduler.ReduceLROnPlateau):
            return
        if self._steps > self._warmup_steps and not self._at_its_last:
            self._probe.step()
            self._scheduler.step()

    @property
    def _at_its_last(self) -> bool:
        """Whether the scheduler has no further rate: torch's cycle leaves its curve, then refuses."""
        scheduler = self._scheduler
        if not isinstance(scheduler, lr_scheduler.OneCycleLR):
            return False
        return scheduler.last_epoch >= scheduler.total_steps - 1

    def epoch_end(self, loss: float) -> None:
        """Tells a plateau schedule the loss on the evaluation images."""
        if not isinstance(self._scheduler, lr_scheduler.ReduceLROnPlateau):
            return
        if self._steps > self._warmup_steps and math.isfinite(loss):
            self._scheduler.step(loss)

    def state_dict(self) -> dict[str, Any]:
        """Returns the state as plain values."""
        scheduler = {
            key: value
            for key, value in self._scheduler.state_dict().items()
            if isinstance(value, int | float | str | bool | list | None)
        }
        rate = float(self._probe.param_groups[0]["lr"])
        return {"steps": self._steps, "rate": rate, "scheduler": scheduler}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues from a saved state."""
        self._steps = state["steps"]
        self._scheduler.load_state_dict(state["scheduler"])
        self._probe.param_groups[0]["lr"] = state["rate"]


def constant(optimizer: Optimizer) -> Scheduler:
    """Returns a schedule that keeps the base rate."""
    return lr_scheduler.ConstantLR(optimizer, factor=1.0, total_iters=0)


def step(
    optimizer: Optimizer, *, steps_per_epoch: int, every_epochs: float, gamma: float
) -> Scheduler:
    """Returns a schedule that multiplies the rate by `gamma` every `every_epochs` epochs."""
    step_size = max(1, round(every_epochs * steps_per_epoch))
    return lr_scheduler.StepLR(optimizer, step_size=step_size, gamma=gamma)


def exponential(optimizer: Optimizer, *, steps_per_epoch: int, gamma: float) -> Scheduler:
    """Returns a schedule that falls by `gamma` over each epoch, a little at each step."""
    return lr_scheduler.ExponentialLR(optimizer, gamma=gamma ** (1 / steps_per_epoch))


def cosine(optimizer: Optimizer, *, total_steps: int, final: float) -> Scheduler:
    """Returns half a cosine from 1 to `final` (Loshchilov and Hutter, arXiv:1608.03983)."""
    return lr_scheduler.CosineAnnealingLR(optimizer, T_max=total_steps, eta_min=final)


def linear(optimizer: Optimizer, *, total_steps: int, final: float) -> Scheduler:
    """Returns a straight line from 1 to `final`."""
    return lr_scheduler.LinearLR(
        optimizer, start_factor=1.0, end_factor=final, total_iters=total_steps
    )


def one_cycle(
    optimizer: Optimizer, *, total_steps: int, peak_fraction: float, initial: float, final: float
) -> Scheduler:
    """Returns one cycle from `initial` up to 1 and down to `final` (arXiv:1708.07120).

    The first step has `initial`, the last one `final`, as in torch. Momentum stays as it is, unlike in
    torch's default.

    Raises:
        BadInputError: The way up would be the first step alone, which torch divides by zero for.
    """
    if peak_fraction * total_steps == 1:
        raise BadInputError(
            f"schedule.peak_fraction={peak_fraction} of {total_steps} steps is the first step alone,"
            " which has no way up. Make schedule.peak_fraction or epochs larger."
        )
    return lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=1.0,
        total_steps=total_steps,
        pct_start=peak_fraction,
        cycle_momentum=False,
        div_factor=1 / initial,
        final_div_factor=initial / final if final else math.inf,
    )


def plateau(optimizer: Optimizer, *, factor: float, patience_epochs: int) -> Scheduler:
    """Returns a schedule that multiplies the rate by `factor` when the loss stops falling."""
    return lr_scheduler.ReduceLROnPlateau(optimizer, factor=factor, patience=patience_epochs)


def range_test(
    optimizer: Optimizer, *, total_steps: int, start: float, steps: int | None
) -> Scheduler:
    """Returns a rate that grows by the same factor at each step, from `start` to 1.

    A learning rate range test (Smith 2017, arXiv:1506.01186): with lr as the largest rate to try,
    the loss over the rate shows which rates train.

    Args:
        optimizer: Whose rate grows.
        total_steps: Optimizer steps of the whole run.
        start: The first rate as a fraction of the last.
        steps: After how many steps it is at 1, where it stays; None: at the last of the run.
    """
    last = (steps or total_steps) - 1
    return lr_scheduler.LambdaLR(
        optimizer, lambda step: start ** (1 - min(step, last) / last) if last else 1.0
    )
