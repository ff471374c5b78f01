"""Carries out a strategy: gives its runs to a launcher, and writes down what they cannot say themselves."""

from __future__ import annotations

import functools
import uuid
from dataclasses import dataclass, field
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

    from sweeps.launchers.channel import Decision, Reported
    from sweeps.launchers.hydra_job import HydraJobs
    from sweeps.launchers.launcher import Ended, Launcher
    from sweeps.launchers.slots import Slots
    from sweeps.runs.record import SweepRecord
    from sweeps.sweep.cell import Cell
    from sweeps.sweep.strategy import Outline, Plan, Strategy


def carry_out(
    strategy: Strategy,
    plan: Plan,
    record: SweepRecord,
    jobs: HydraJobs,
    *,
    launcher: Launcher,
    slots: Slots,
) -> Sequence[JobReturn]:
    """Runs all that a strategy gives out; returns what Hydra expects of each job.

    Args:
        strategy: Of the sweep.
        plan: What it has said when it was opened.
        record: Of the sweep.
        jobs: Makes the jobs.
        launcher: Runs them.
        slots: Where.
    """
    with LiveView(total=plan.total, workers=len(slots), live=launcher.hears) as view:
        view.show(plan.cells)
        runs = _Runs(strategy, plan, record, slots, jobs, view)
        ended = launcher.run(
            runs.next_job,
            slots,
            on_end=runs.on_end,
            on_tick=runs.on_tick,
            on_report=runs.on_report,
            ahead=plan.ahead,
        )
    return [as_job_return(one) for one in ended]


@dataclass(frozen=True)
class Started:
    """A cell that was given to the launcher.

    Attributes:
        cell: The cell.
        ended_ms: When its run had ended before, if it had.
    """

    cell: Cell
    ended_ms: int | None


@dataclass
class _Runs:
    """What stands between a strategy and a launcher: the cells that were started, by job number."""

    strategy: Strategy
    plan: Plan
    record: SweepRecord
    slots: Slots
    jobs: HydraJobs
    view: LiveView
    started: list[Started] = field(default_factory=list)

    def next_job(self) -> Job | None:
        """Returns the job of the next cell."""
        cell = self.strategy.ask()
        if cell is None:
            return None
        self.view.show(self.plan.cells)
        number, task = len(self.started), CellTask(cell.config, self.record.threads)
        self.started.append(Started(cell, cell.record.ended_ms if cell.record else None))
        cell.record = None
        return Job(
            number,
            functools.partial(self.jobs.job, number, cell.composed, task),
            overrides=cell.overrides,
            log=str(cell.paths.log),
            kind=self.slots.kind(cell.config.device),
        )

    def on_end(self, ended: Ended) -> bool:
        """Takes in how a job ended; returns whether it failed."""
        this = self.started[ended.job.number]
        failed = _settle(this, ended, self.record)
        self.view.ended(this.cell, note=self.strategy.tell(this.cell))
        if isinstance(ended.returned, JobReturn):  # a thousand configs take much memory
            ended.returned.cfg = ended.returned.hydra_cfg = None
        return failed

    def on_tick(self, jobs: Sequence[Job]) -> None:
        """Shows what is under way."""
        self.view.running([self.started[job.number].cell for job in jobs])

    def on_report(self, job: Job, report: Reported) -> Decision:
        """Returns what becomes of a run that has reported."""
        return self.strategy.report(self.started[job.number].cell, report)


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
