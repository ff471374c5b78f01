"""A run that was to be stopped and was killed at that very moment: its end is written for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sweeps.runs.metrics import read_points
from sweeps.runs.outcome import Outcome
from sweeps.runs.record import now_ms
from sweeps.search.trial import reports_of

if TYPE_CHECKING:
    from sweeps.runs.record import RunRecord
    from sweeps.search.trial import Trial
    from sweeps.sweep.cell import Cell


def end_stopped(trial: Trial, cell: Cell, record: RunRecord, sign: int) -> None:
    """Writes into a run's record and its trial that it was stopped early.

    Args:
        trial: Of the run.
        cell: Its cell.
        record: Its record, which says otherwise.
        sign: What turns the objective into a score, of which more is better.
    """
    points = read_points(cell.paths.metrics)
    epochs = reports_of(cell.paths, record, None)
    last = max(epochs, default=None)
    best = max(epochs, key=lambda epoch: (sign * epochs[epoch], -epoch), default=None)
    picked = last if cell.config.pick == "last" else best
    record.status, record.outcome = Outcome.PRUNED.status, Outcome.PRUNED
    record.error = None
    record.objective_value = None if picked is None else epochs[picked]
    record.best_epoch, record.epochs_done = picked, last or 0
    record.metrics = {point.key: point.value for point in points}
    record.ended_ms = max(now_ms(), record.started_ms)
    record.save(cell.paths)
    trial.state = "pruned"
    trial.save(cell.paths)
