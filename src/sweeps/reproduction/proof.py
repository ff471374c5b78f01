"""Compares the points of a repeat with the original's as they are produced, bit by bit."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from sweeps.runs.outcome import Outcome

if TYPE_CHECKING:
    from sweeps.reproduction.original import Points
    from sweeps.training.protocol import Report


Kind = Literal["exact", "within tolerance", "differs"]


@dataclass(frozen=True)
class Mismatch:
    """A point that is not the same; None stands for a point that one of the two runs lacks."""

    key: str
    step: int
    then: float | None
    now: float | None

    @property
    def error(self) -> float:
        """Relative error; infinite for a missing point or one that is not a number."""
        if self.then is None or self.now is None:
            return math.inf
        if not (math.isfinite(self.then) and math.isfinite(self.now)):
            return math.inf
        return abs(self.then - self.now) / max(abs(self.then), abs(self.now))

    def __str__(self) -> str:
        """Says both values, to the last bit."""
        if self.then is None:
            return f"{self.key} is {self.now!r}; the original has no such point"
        if self.now is None:
            return f"{self.key} was {self.then!r}; the repeat has no such point"
        return f"{self.key} was {self.then!r}, is {self.now!r} (relative error {self.error:.2g})"


@dataclass(frozen=True)
class Verdict:
    """What a proof ends with.

    Attributes:
        kind: exact, within tolerance, or differs.
        compared: Points compared.
        scope: What was compared, where it is not the whole run, such as 'epoch 1 of 10'.
        weights: Whether the final weights are the same; None where that cannot be said.
        first: The first point whose bits differ.
        first_beyond: The first point that differs by more than the tolerance.
        largest: For each key that differs, its largest relative error.
    """

    kind: Kind
    compared: int
    scope: str
    weights: bool | None
    first: Mismatch | None
    first_beyond: Mismatch | None
    largest: dict[str, float] = field(default_factory=dict)

    @property
    def short(self) -> str:
        """The verdict in a few words, for a tag."""
        words: str = self.kind
        if self.kind == "differs":
            where = f" from step {self.first_beyond.step}" if self.first_beyond else " in weights"
            words = f"{self.kind}{where}"
        return f"{words} ({self.scope})" if self.scope else words


class Proof:
    """Takes the reports of a repeat and knows after each whether it is still the same run.

    Args:
        points: The original's points.
        rtol: Relative error that counts as equal within tolerance.
        complete: Whether the original ran to its end; else the repeat may be longer.
        epochs: Compare so many epochs and stop there; None: all.
        of_epochs: Epochs of the whole run.
        stop_early: Whether to stop at the first point beyond the tolerance.
    """

    def __init__(
        self,
        points: Points,
        *,
        rtol: float,
        complete: bool,
        epochs: int | None,
        of_epochs: int,
        stop_early: bool,
    ) -> None:
        self._waiting = dict(points)
        self._rtol, self._complete, self._stop_early = rtol, complete, stop_early
        self._epochs = epochs if epochs is not None and epochs < of_epochs else None
        self._of_epochs = of_epochs
        self._mismatches: list[Mismatch] = []
        self._largest: dict[str, float] = {}
        self._compared = 0
        self._last_step = 0
        self._stopped_by: str | None = None

    def see(self, report: Report) -> Outcome | None:
        """Compares what one report brings; returns 'stopped' where the repeat can end here."""
        self._last_step = report.step
        for key, value in report.metrics.items():
            self._compare(key, report.step, value)
        if self._stop_early and any(self._is_beyond(m) for m in self._mismatches):
            self._stopped_by = "difference"
        elif self._epochs is not None and report.epoch_done and report.epoch >= self._epochs:
            self._stopped_by = "epochs"
        elif not self._complete and not self._waiting:
            self._stopped_by = "end of the record"
        return Outcome.STOPPED if self._stopped_by else None

    def verdict(self, *, weights: bool | None) -> Verdict:
        """Returns the verdict once the repeat has ended.

        Args:
            weights: Whether the final weights are the same, where both are known.
        """
        mismatches = [*self._mismatches, *self._missing()]
        mismatches.sort(key=lambda mismatch: mismatch.step)
        largest = dict(self._largest)
        for mismatch in mismatches:
            largest[mismatch.key] = max(largest.get(mismatch.key, 0.0), mismatch.error)
        beyond = next((m for m in mismatches if self._is_beyond(m)), None)
        weights = None if self._stopped_by else weights
        same = not mismatches and weights is not False
        kind: Kind = "differs" if beyond else "exact" if same else "within tolerance"
        if kind == "within tolerance" and self._rtol == 0:
            kind = "differs"
        return Verdict(
            kind=kind,
            compared=self._compared,
            scope=self._scope(),
            weights=weights,
            first=next(iter(mismatches), None),
            first_beyond=beyond,
            largest=largest,
        )

    def _compare(self, key: str, step: int, value: float) -> None:
        self._compared += 1
        then = self._waiting.pop((key, step), None)
        if then is not None and (then == value or (math.isnan(then) and math.isnan(value))):
            return
        mismatch = Mismatch(key, step, then, value)
        self._largest[key] = max(self._largest.get(key, 0.0), mismatch.error)
        # The first of each sort decides; a run that differs everywhere need not be kept whole.
        is_first = not self._mismatches or self._is_beyond(mismatch)
        if is_first and len(self._mismatches) < 1000:
            self._mismatches.append(mismatch)

    def _missing(self) -> list[Mismatch]:
        """Returns the original's points that the repeat should have had by now and has not."""
        due = self._last_step if self._stopped_by else math.inf
        on_time = (
            (key, step, value)
            for (key, step), value in self._waiting.items()
            if step < due or (step == due and self._stopped_by == "epochs")
        )
        return [Mismatch(key, step, value, None) for key, step, value in on_time]

    def _is_beyond(self, mismatch: Mismatch) -> bool:
        return mismatch.error > self._rtol

    def _scope(self) -> str:
        if self._stopped_by == "epochs":
            epochs = "epoch 1" if self._epochs == 1 else f"epochs 1 to {self._epochs}"
            return f"{epochs} of {self._of_epochs}"
        if self._stopped_by == "difference":
            return "stopped there"
        return "" if self._complete else f"recorded part, to step {self._last_step}"
