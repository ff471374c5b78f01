"""Carries out a strategy: gives its runs to a launcher, and writes down what they cannot say themselves."""

from __future__ import annotations

import functools
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hydra.core.utils import JobReturn

from sweeps.config.identity import flatten
from sweeps.launchers.hydra_job import as_job_return, cause
from sweeps.launchers.launcher import Job
from sweeps.launchers.slots import Need
from sweeps.runs.outcome import Outcome
from sweeps.runs.record import RunRecord, now_ms
from sweeps.sweep.cell_task import CellTask
from sweeps.sweep.live_view import LiveView

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sweeps.launchers.hydra_job import HydraJobs
    from sweeps.launchers.launcher import Ended, Launcher
    from sweeps.launchers.slots import Slots
    from sweeps.runs.record import SweepRecord
    from sweeps.sweep.cell import Cell
    from sweeps.sweep.strategy import Outline, Plan, Strategy


@dataclass(frozen=True)
class Started:
    """A cell that was given to the launcher.

    Attributes:
        cell: The cell.
        ended_ms: When its run had ended before, if it had.
    """

    cell: Cell
    ended_ms: int | None


def carry_out(
    strategy: Strategy,
    plan: Plan,
    record: SweepRecord,
    *,
    launcher: Launcher,
    slots: Slots,
    jobs: HydraJobs,
) -> Sequence[JobReturn]:
    """Runs all that a strategy gives out; returns what Hydra expects of each job."""
    started: list[Started] = []
    with LiveView(total=plan.total, workers=len(slots), live=launcher.hears) as view:
        for cell in plan.cells:
            view.add(cell)

        def next_job() -> Job | None:
            cell = strategy.ask()
            if cell is None:
                return None
            view.add(cell)
            started.append(Started(cell, cell.record.ended_ms if cell.record else None))
            cell.record = None
            number, task = len(started) - 1, CellTask(cell.config, record.threads)
            return Job(
                number,
                functools.partial(jobs.job, number, cell.composed, task),
                overrides=cell.overrides,
                log=str(cell.paths.log),
                kind=slots.kind(cell.config.device),
            )

        def on_end(ended: Ended) -> bool:
            this = started[ended.job.number]
            failed = _settle(this, ended, record)
            view.ended(this.cell, note=strategy.tell(this.cell))
            if isinstance(ended.returned, JobReturn):  # a thousand configs take much memory
                ended.returned.cfg = ended.returned.hydra_cfg = None
            return failed

        ended = launcher.run(
            next_job,
            slots,
            on_end=on_end,
            on_tick=lambda jobs: view.running([started[job.number].cell for job in jobs]),
            on_report=lambda job, report: strategy.report(started[job.number].cell, report),
            ahead=plan.ahead,
        )
    return [as_job_return(one) for one in ended]


def _settle(this: Started, ended: Ended, sweep: SweepRecord) -> bool:
    """Writes down what a process that died could not; returns whether the cell failed."""
    cell, why = this.cell, cause(ended)
    record = cell.load()
    if record is not None:
        well = record.outcome is not None and record.outcome.is_well
        said = record.ended_ms != this.ended_ms and record.status != "RUNNING"
        if well and (said or why is None or record.outcome != Outcome.PRUNED):
            return False
        if said and not ended.timed_out:
            return True
    else:
        record = RunRecord(
            key=uuid.uuid4().hex,
            identity=cell.identity,
            name=cell.name,
            status="RUNNING",
            objective=cell.config.objective,
            started_ms=now_ms(),
            overrides=cell.overrides,
            params=flatten(cell.config),
            threads=cell.config.threads or sweep.threads or 1,
        )
    record.status, record.outcome = Outcome.FAILED.status, Outcome.FAILED
    record.error = why or "it left no result"
    record.ended_ms = now_ms()
    cell.folder.mkdir(parents=True, exist_ok=True)
    record.save(cell.paths)
    cell.record = record
    return True


def need_of(outline: Outline, earlier: SweepRecord | None, gpus: int | None = None) -> Need:
    """Returns what a sweep asks of a launcher.

    Args:
        outline: Of the sweep.
        earlier: Its record, where it was begun before: it keeps its number of threads.
        gpus: GPUs of the machine, where they are known.
    """
    config = outline.samples[0].config
    return Need(
        runs=outline.total,
        devices={cell.config.device for cell in outline.samples},
        workers=config.workers,
        threads=(earlier.threads if earlier else None) or config.threads,
        runs_per_gpu=config.runs_per_gpu,
        gpus=gpus,
    )
