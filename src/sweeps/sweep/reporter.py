"""What a run of a search tells its controller after each report, and what it does with the decision."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from sweeps.launchers.channel import Reported
from sweeps.runs.outcome import Outcome
from sweeps.runs.record import RunRecord
from sweeps.training.objective import measured_by

if TYPE_CHECKING:
    from sweeps.config import Config
    from sweeps.launchers.channel import Channel
    from sweeps.runs.paths import RunPaths
    from sweeps.runs.runner import Observer
    from sweeps.training.protocol import Report


def observer(config: Config, paths: RunPaths, channel: Channel | None) -> Observer | None:
    """Returns what asks the search after each report of a trial, or None where nobody can be asked."""
    if not paths.trial.exists() or channel is None:
        return None
    latest = math.nan
    every = config.report_every

    def observe(report: Report) -> Outcome | None:
        nonlocal latest
        latest = report.metrics.get(measured_by(config.objective), latest)
        if every is None:
            number = report.epoch if report.epoch_done else 0
        else:
            # An epoch that ends at this step reports twice; its evaluation is the second.
            evaluated = "val_loss" in report.metrics or "test_loss" in report.metrics
            number = report.step // every if evaluated and report.step % every == 0 else 0
        if not number or report.epoch >= config.epochs or not math.isfinite(latest):
            return None
        of = config.epochs if every is None else _steps(paths) // every
        if number >= of:
            return None
        return Outcome.PRUNED if channel.ask(Reported(number, of, latest)) == "stop" else None

    return observe


def _steps(paths: RunPaths) -> int:
    record = RunRecord.load(paths)
    return record.steps if record else 0
