"""The seam between a run and what trains it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sweeps.training.checkpoint import TrainState


@dataclass(frozen=True, slots=True)
class Report:
    """What a training says after each optimizer step, and after each evaluation.

    Attributes:
        step: Optimizer steps done.
        epoch: Epochs completed.
        metrics: New values at this step; empty for most steps.
        epoch_done: Whether this report ends an epoch.
        diverged: Whether the loss is not finite; nothing comes after.
    """

    step: int
    epoch: int
    metrics: dict[str, float] = field(default_factory=dict)
    epoch_done: bool = False
    diverged: bool = False


class Training(Protocol):
    """What a run carries out, whoever wrote it; `sweeps.training.trainer.Trainer` is the one shipped.

    It may be left after any report. One made anew and given what was captured then goes on with the
    reports that would have followed, number for number.
    """

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the whole training."""
        ...

    @property
    def done(self) -> bool:
        """Whether nothing is left to train or to measure."""
        ...

    @property
    def state(self) -> TrainState:
        """How far it is and what is its best; tensors are complete in what `capture` returns."""
        ...

    def run(self) -> Iterator[Report]:
        """Trains from the present state to the end, or until the loss is not finite."""
        ...

    def capture(self) -> TrainState:
        """Returns the complete state, ready to be saved."""
        ...

    def restore(self, state: TrainState) -> None:
        """Continues from a saved state."""
        ...
