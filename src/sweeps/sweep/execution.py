"""Carries out an agenda: gives its runs to a launcher, and writes down what they cannot say themselves."""

from __future__ import annotations

import itertools
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hydra.core.utils import JobReturn

from sweeps.config import identity
from sweeps.config.identity import flatten
from sweeps.launchers.hydra_job import cause
from sweeps.launchers.slots import Slots
from sweeps.runs.record import RunRecord, now_ms
from sweeps.sweep.live_view import LiveView

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hydra.plugins.launcher import Launcher

    from sweeps.launchers.local.pool import Ended, Job, Running
    from sweeps.launchers.slots import Kind
    from sweeps.runs.record import SweepRecord
    from sweeps.sweep.cell import Cell
    from sweeps.sweep.strategy import Agenda, Facts


@dataclass(frozen=True)
class Started:
    """A cell that was given to the launcher.

    Attributes:
        cell: The cell.
        ended_ms: When its run had ended before, if it had.
    """

    cell: Cell
    ended_ms: int | None


def carry_out(agenda: Agenda, launcher: Any, record: SweepRecord, facts: Facts) -> Sequence[Any]:
    """Runs all that an agenda gives out; returns what the launcher returned for each."""
    if not hasattr(launcher, "launch_in"):
        return _launch_batches(agenda, launcher)
    slots = slots_for(agenda, facts, record.threads)
    started: list[Started] = []
    with LiveView(total=agenda.total, workers=len(slots)) as view:
        for cell in agenda.cells:
            view.add(agenda.label(cell), cell.paths)

        def next_job() -> Job | None:
            cell = agenda.next()
            if cell is None:
                return None
            view.add(agenda.label(cell), cell.paths)
            known = cell.load()
            started.append(Started(cell, known.ended_ms if known else None))
            job: Job = launcher.job(
                cell.overrides, len(started) - 1, log=cell.paths.log, kind=_kind(cell, facts)
            )
            return job

        def on_end(ended: Ended) -> bool:
            this = started[ended.job.number]
            failed = _settle(this, ended, record)
            view.ended(this.cell.paths, note=agenda.ended(this.cell))
            if isinstance(ended.returned, JobReturn):  # a thousand configs take much memory
                ended.returned.cfg = ended.returned.hydra_cfg = None
            return failed

        def on_tick(running: list[Running]) -> None:
            view.running([started[item.job.number].cell.paths for item in running])

        returns: Sequence[Any] = launcher.launch_in(
            next_job,
            slots=slots,
            on_end=on_end,
            on_tick=on_tick,
            on_question=lambda job, content: agenda.answer(started[job.number].cell, content),
            ahead=agenda.ahead,
        )
        return returns


def _launch_batches(agenda: Agenda, launcher: Launcher) -> Sequence[Any]:
    """Gives Hydra's own launchers what can be run at once; they tell nothing before its end."""
    returns: list[Any] = []
    size = agenda.runs_tell_nothing()
    while batch := list(itertools.islice(iter(agenda.next, None), size)):
        jobs = [cell.overrides for cell in batch]
        returns += launcher.launch(jobs, initial_job_idx=len(returns))
        for cell in batch:
            agenda.ended(cell)
    return returns


def _settle(this: Started, ended: Ended, sweep: SweepRecord) -> bool:
    """Writes down what a process that died could not; returns whether the cell failed."""
    cell, why = this.cell, cause(ended)
    record = cell.load()
    if record is not None:
        well = record.outcome in ("finished", "diverged", "pruned")
        said = record.ended_ms != this.ended_ms and record.status != "RUNNING"
        if well and (said or why is None or record.outcome != "pruned"):
            return False
        if said and not ended.timed_out:
            return True
    else:
        record = RunRecord(
            key=uuid.uuid4().hex,
            identity=identity(cell.config),
            name=cell.name,
            status="RUNNING",
            objective=cell.config.objective,
            started_ms=now_ms(),
            overrides=cell.overrides,
            params=flatten(cell.config),
            threads=cell.config.threads or sweep.threads or 1,
        )
    record.status, record.outcome = "FAILED", "failed"
    record.error = why or "it left no result"
    record.ended_ms = now_ms()
    cell.folder.mkdir(parents=True, exist_ok=True)
    record.save(cell.paths)
    return True


def slots_for(agenda: Agenda, facts: Facts, threads: int | None) -> Slots:
    """Returns where the runs of a sweep train, at their settled number of threads."""
    config = agenda.samples[0].config
    workers = config.workers
    if workers == "auto" and all(cell.config.device == "mps" for cell in agenda.samples):
        workers = config.runs_per_gpu  # a Mac has one GPU
    return Slots.plan(
        cells=agenda.total,
        workers=workers,
        threads=threads or config.threads,
        gpus=facts.gpus if any(_kind(cell, facts) == "gpu" for cell in agenda.samples) else 0,
        runs_per_gpu=config.runs_per_gpu,
        on_gpu=on_gpu(agenda, facts),
    )


def on_gpu(agenda: Agenda, facts: Facts) -> bool:
    """Returns whether every run of a sweep trains on a GPU."""
    return all(_kind(cell, facts) == "gpu" for cell in agenda.samples)


def _kind(cell: Cell, facts: Facts) -> Kind:
    return "gpu" if facts.gpus and cell.config.device in ("auto", "cuda") else "cpu"
