"""Fills a run's record: at its beginning by what it is made of, at its end by what it has come to."""

from __future__ import annotations

import math
import uuid
from typing import TYPE_CHECKING, Any

from sweeps.config import describe, identity
from sweeps.config.identity import flatten
from sweeps.runs.record import RunRecord, now_ms

if TYPE_CHECKING:
    from sweeps.data import Dataset
    from sweeps.runs.outcome import Outcome
    from sweeps.runs.provenance import Provenance
    from sweeps.runs.runner import RunRequest
    from sweeps.training.protocol import Training


def begin_record(
    request: RunRequest,
    training: Training,
    dataset: Dataset,
    provenance: Provenance,
    earlier: RunRecord | None,
) -> RunRecord:
    """Returns the record of a run that begins, or that continues an earlier part of itself."""
    config = request.config
    return RunRecord(
        key=earlier.key if earlier else uuid.uuid4().hex,
        replaces=earlier.replaces if earlier else [],
        identity=identity(config),
        name=describe(request.overrides) if request.overrides else config.name,
        status="RUNNING",
        objective=config.objective,
        started_ms=earlier.started_ms if earlier else now_ms(),
        seconds=earlier.seconds if earlier else 0.0,
        threads=provenance.threads,
        device=provenance.device,
        epochs=config.epochs,
        steps=training.total_steps,
        overrides=request.overrides,
        choices=request.choices,
        params=flatten(config),
        dataset=_describe(dataset, request.choices.get("data", config.data.target)),
        classes=list(dataset.classes),
        code=provenance.code,
        git=provenance.git,
        environment=provenance.environment,
        numerics=provenance.numerics,
    )


def end_record(record: RunRecord, training: Training, outcome: Outcome, error: str | None) -> None:
    """Writes into a record how its run has ended and what its best epoch was."""
    from sweeps.training.determinism import weights_digest

    state = training.state
    record.outcome = outcome
    record.error = error
    record.status = outcome.status
    record.objective_value = state.best_value
    record.best_epoch = state.best_epoch
    record.epochs_done = state.epoch
    if state.start_loss is not None and math.isfinite(state.start_loss):
        record.start_loss = state.start_loss
    record.metrics |= state.best_metrics
    if outcome.is_whole:
        record.weights_digest = weights_digest(training.capture().model)
    record.ended_ms = max(now_ms(), record.started_ms)


def _describe(dataset: Dataset, name: str) -> dict[str, Any]:
    return {
        "name": name,
        "digest": dataset.digest,
        "shape": list(dataset.shape),
        "classes": len(dataset.classes),
        "train": len(dataset.train),
        "val": len(dataset.val) if dataset.val else 0,
        "test": len(dataset.test),
    }
