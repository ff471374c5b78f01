"""Many runs: every cell checked before the first starts, one parent, a ranked table at the end."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import os
import time
import uuid
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from sweeps import reporting
from sweeps.auto_lr import resolve_rates
from sweeps.closing import close_orphan
from sweeps.config import Config, identity
from sweeps.config.identity import flatten, targets
from sweeps.errors import BadInputError, RunFailedError
from sweeps.interrupts import command
from sweeps.launching import Slots
from sweeps.launching.hydra_job import cause
from sweeps.live import LiveView, duration
from sweeps.paths import SweepPaths, lock_holder, locked, replace_text
from sweeps.records import RunRecord, SweepRecord
from sweeps.runner import restart, say_changes
from sweeps.standing import changes, code_digest
from sweeps.study import Cell, compose_cells, expand_grid, naming_cell, without_duplicates
from sweeps.tracking import mirror_of, ui_command

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hydra.plugins.launcher import Launcher
    from hydra.types import HydraContext
    from omegaconf import DictConfig

    from sweeps.launching import Ended, Running
    from sweeps.launching.slots import Kind

log = logging.getLogger(__name__)


def run_sweep(
    arguments: Sequence[str], *, launcher: Launcher, hydra_context: HydraContext, master: DictConfig
) -> Any:
    """Runs those cells of a grid that are not done, and reports on all of them.

    Returns:
        What the launcher returned for each cell that it ran.

    Raises:
        BadInputError: A cell cannot run; nothing was started.
        RunFailedError: At least one cell failed; the others were run.
    """
    grid = expand_grid(arguments, hydra_context)
    grid = resolve_rates(grid, launcher=launcher, hydra_context=hydra_context, master=master)
    asked = compose_cells(grid, hydra_context, master)
    cells = without_duplicates(asked)
    config, paths = cells[0].config, SweepPaths(cells[0].folder.parent)
    if config.plan:
        _show_plan(asked, paths)
        return []
    with mirror_of(config) as mirror:
        facts = _check(cells, launcher)
        mirror.wait_ready()
        with _owned(paths):
            record = _begin(paths, cells, master, facts)
            mirror.watch_sweep(paths)
            _close_orphans(paths, cells)
            todo = _todo(cells, facts)
            _say_start(paths, asked, cells, todo)
            try:
                returns = _launch(todo, cells, launcher, record, facts)
            except BaseException as error:
                interrupted = isinstance(error, KeyboardInterrupt)
                _end(paths, record, "KILLED" if interrupted else "FAILED")
                if interrupted:
                    log.warning("Interrupted. To continue: %s", record.command)
                raise
            entries = [(r, cell.folder) for cell in cells if (r := cell.load())]
            failed = len(cells) - sum(r.status == "FINISHED" for r, _ in entries)
            answer = _end(paths, record, "FAILED" if failed else "FINISHED")
    _show(entries, answer, paths, config)
    if failed:
        raise RunFailedError(f"{failed} of {len(cells)} runs failed; the table says why.")
    return returns


@dataclasses.dataclass(frozen=True)
class Facts:
    """What the check of the cells found out.

    Attributes:
        digests: Of the data of each cell.
        gpus: GPUs of this machine.
        default_threads: CPU threads that torch would take.
    """

    digests: list[str]
    gpus: int
    default_threads: int


def check_cells(cells: list[Cell]) -> Facts:
    """Builds each kind of cell once and throws it away; this needs torch.

    Raises:
        BadInputError: A cell cannot run.
    """
    import torch

    from sweeps.runner import check

    digests: dict[str, str] = {}
    forms = []
    for cell in cells:
        # Rates and seeds change values, not what fits what.
        varying = ("lr", "seed", "name")
        form = repr({key: value for key, value in vars(cell.config).items() if key not in varying})
        forms.append(form)
        if form not in digests:
            with naming_cell(cell.overrides, of=len(cells)):
                digests[form] = check(cell.config).digest
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return Facts([digests[form] for form in forms], gpus, torch.get_num_threads())


def _check(cells: list[Cell], launcher: Launcher) -> Facts:
    pool = getattr(launcher, "pool", None)  # ours; other launchers have none
    if pool is None:
        return check_cells(cells)
    facts: Facts = pool.call(functools.partial(check_cells, cells))
    return facts


@contextlib.contextmanager
def _owned(paths: SweepPaths) -> Iterator[None]:
    """Keeps a second command off the same sweep."""
    with locked(paths.lock, wait_s=1.0) as free:
        if not free:
            raise BadInputError(
                f"{os.path.relpath(paths.folder)} is being run by {lock_holder(paths.lock)}. Wait for"
                " it to end, or choose another name=..."
            )
        yield


def _begin(paths: SweepPaths, cells: list[Cell], master: DictConfig, facts: Facts) -> SweepRecord:
    earlier = SweepRecord.load(paths)
    config = cells[0].config
    replace_text(paths.multirun, OmegaConf.to_yaml(master))
    threads = earlier.threads if earlier else config.threads
    if threads is None and str(master.hydra.launcher._target_).endswith("LocalLauncher"):
        threads = _slots(config, cells, facts, None).threads
    record = SweepRecord(
        key=earlier.key if earlier else uuid.uuid4().hex,
        name=config.name,
        status="RUNNING",
        started_ms=earlier.started_ms if earlier else _now_ms(),
        command=command(config.name),
        overrides=[str(override) for override in master.hydra.overrides.task],
        objective=config.objective,
        cells=len(cells),
        threads=threads,
    )
    record.save(paths)
    return record


def _close_orphans(paths: SweepPaths, cells: list[Cell]) -> None:
    """Ends what a killed command left open and this one does not continue."""
    mine = {cell.folder for cell in cells}
    for orphan in paths.cells():
        if orphan.folder not in mine:
            close_orphan(orphan)


def _todo(cells: list[Cell], facts: Facts) -> list[Cell]:
    """Returns the cells that must be run: those not done, and with refresh=true those changed."""
    todo = []
    for cell, digest in zip(cells, facts.digests, strict=True):
        if cell.standing() != "done":
            todo.append(cell)
            continue
        record = cell.load()
        assert record is not None
        changed = changes(record, code=code_digest(targets(cell.config)), digest=digest)
        if changed:
            say_changes(record, changed, refresh=cell.config.refresh)
            if cell.config.refresh:
                restart(cell.paths, record)
                todo.append(cell)
    return todo


def _say_start(paths: SweepPaths, asked: list[Cell], cells: list[Cell], todo: list[Cell]) -> None:
    notes = [f"{len(todo)} to run"] if len(todo) < len(cells) else []
    if len(cells) < len(asked):
        notes.append(f"{len(asked) - len(cells)} duplicate")
    shown = f" ({', '.join(notes)})" if notes else ""
    log.info("Sweep of %d runs%s in %s", len(cells), shown, os.path.relpath(paths.folder))


def _slots(config: Config, cells: list[Cell], facts: Facts, threads: int | None) -> Slots:
    return Slots.plan(
        cells=len(cells),
        workers=config.workers,
        threads=threads or config.threads,
        gpus=facts.gpus,
        runs_per_gpu=config.runs_per_gpu,
        on_gpu=all(_kind(cell, facts) == "gpu" for cell in cells),
    )


def _kind(cell: Cell, facts: Facts) -> Kind:
    return "gpu" if facts.gpus and cell.config.device in ("auto", "cuda") else "cpu"


def _launch(
    todo: list[Cell], cells: list[Cell], launcher: Launcher, record: SweepRecord, facts: Facts
) -> Sequence[Any]:
    if not todo:
        return []
    jobs = [cell.overrides for cell in todo]
    if not hasattr(launcher, "launch_in"):
        return launcher.launch(jobs, initial_job_idx=0)
    slots = _slots(todo[0].config, todo, facts, record.threads)
    place = {cell.folder: number for number, cell in enumerate(cells)}
    labels = reporting.labels([cell.overrides for cell in cells])
    with LiveView(labels, [cell.paths for cell in cells], workers=len(slots)) as view:

        def on_end(ended: Ended) -> bool:
            cell = todo[ended.job.number]
            failed = _settle(cell, ended, record)
            view.ended(place[cell.folder])
            return failed

        def on_tick(running: list[Running]) -> None:
            view.running([place[todo[item.job.number].folder] for item in running])

        returns: Sequence[Any] = launcher.launch_in(
            jobs,
            slots=slots,
            kinds=[_kind(cell, facts) for cell in todo],
            logs=[cell.paths.log for cell in todo],
            on_end=on_end,
            on_tick=on_tick,
        )
        return returns


def _settle(cell: Cell, ended: Ended, sweep: SweepRecord) -> bool:
    """Writes down what a process that died could not; returns whether the cell failed."""
    record = cell.load()
    if record is None:
        record = RunRecord(
            key=uuid.uuid4().hex,
            identity=identity(cell.config),
            name=cell.name,
            status="RUNNING",
            objective=cell.config.objective,
            started_ms=_now_ms(),
            overrides=cell.overrides,
            params=flatten(cell.config),
            threads=sweep.threads or 1,
        )
    if record.outcome in ("finished", "diverged"):
        return False
    if record.status == "RUNNING" or ended.timed_out:
        record.status, record.outcome = "FAILED", "failed"
        record.error = cause(ended) or "it left no result"
        record.ended_ms = _now_ms()
        cell.folder.mkdir(parents=True, exist_ok=True)
        record.save(cell.paths)
    return True


def _end(paths: SweepPaths, record: SweepRecord, status: str) -> Sequence[str]:
    """Writes down what has become of the sweep; returns the answer in words."""
    entries = [(r, run.folder) for run in paths.cells() if (r := RunRecord.load(run))]
    replace_text(paths.results_markdown, reporting.markdown_table(entries))
    replace_text(paths.results_csv, reporting.csv_table(entries))
    # Who pressed Ctrl-C wants to leave.
    summary = reporting.write_report(paths) if status != "KILLED" else None
    record.status = status
    record.ended_ms = max(_now_ms(), record.started_ms)
    record.save(paths)
    return summary.lines if summary else ()


def _show(
    entries: list[reporting.Entry], answer: Sequence[str], paths: SweepPaths, config: Config
) -> None:
    log.info("\n%s\n", reporting.terminal_table(entries))
    if answer:
        log.info("%s\n", "\n".join(answer))
    if (winner := reporting.best(entries)) is not None:
        log.info("Best run: %s", os.path.relpath(winner[1]))
    if paths.report.exists():
        log.info("Report:   %s", os.path.relpath(paths.report))
    if config.tracking["backend"] != "none":
        log.info("Compare in the browser: %s", ui_command(config))


def _show_plan(asked: list[Cell], paths: SweepPaths) -> None:
    """Says what the same command without plan=true would do; reads, and changes nothing."""
    cells = without_duplicates(asked)
    first = set(map(id, cells))
    words = {"new": "new", "continue": "to continue", "again": "to run again", "done": "done"}
    states = [words[cell.standing()] if id(cell) in first else "duplicate" for cell in asked]
    labels = reporting.labels([cell.overrides for cell in asked])
    width = max(map(len, states))
    lines = [f"{state:{width}}  {label}" for state, label in zip(states, labels, strict=True)]
    log.info("\n%s\n", "\n".join(lines))
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    log.info("%d runs: %s. Nothing was started.", len(asked), counts)
    records = [r for run in paths.cells() if (r := RunRecord.load(run)) and r.outcome == "finished"]
    left = [cell for cell in cells if cell.standing() != "done"]
    if left and records:
        each = sum(record.seconds for record in records) / len(records)
        earlier = SweepRecord.load(paths)
        facts = Facts([], 0, 1)
        at_once = len(_slots(left[0].config, left, facts, earlier.threads if earlier else None))
        total = duration(each * len(left) / at_once)
        log.info(
            "About %s, by the mean of %d finished runs, %d at once.", total, len(records), at_once
        )
    elif left:
        log.info("How long it takes is known once a run of this sweep has finished.")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
