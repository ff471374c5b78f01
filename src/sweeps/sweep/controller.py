"""Many runs: every cell checked before the first starts, one parent, a ranked table at the end."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import os
import uuid
from collections import Counter
from typing import TYPE_CHECKING

from omegaconf import OmegaConf

from sweeps.analysis.ranking import rank
from sweeps.analysis.report import write_report
from sweeps.analysis.run_table import csv_table, markdown_table, terminal_table
from sweeps.config.command_line import command
from sweeps.config.defaults import present_defaults
from sweeps.config.parse import search_settings, typed_search_settings
from sweeps.errors import BadInputError, RunFailedError
from sweeps.files import lock_holder, locked, replace_text
from sweeps.launchers.hydra_job import HydraJobs
from sweeps.runs.paths import SweepPaths
from sweeps.runs.record import SweepRecord, now_ms
from sweeps.runs.results import read_folder
from sweeps.runs.resume import close_orphan
from sweeps.search.parse_space import parse_space
from sweeps.sweep.auto_lr import resolve_rates
from sweeps.sweep.cell import compose_cells, form_of, naming_cell
from sweeps.sweep.execution import carry_out, need_of
from sweeps.sweep.grid import GridAgenda
from sweeps.sweep.plan import show_plan
from sweeps.sweep.strategy import Facts
from sweeps.tracking import mirror_of, where_tracked

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hydra.core.utils import JobReturn
    from hydra.types import HydraContext, TaskFunction
    from omegaconf import DictConfig

    from sweeps.analysis.ranking import Comparison
    from sweeps.config import Config
    from sweeps.launchers.launcher import Launcher
    from sweeps.launchers.slots import Slots
    from sweeps.sweep.cell import Cell
    from sweeps.sweep.strategy import Agenda


log = logging.getLogger(__name__)


def run_sweep(
    arguments: Sequence[str],
    *,
    searching: bool,
    launcher: Launcher,
    task_function: TaskFunction,
    hydra_context: HydraContext,
    master: DictConfig,
) -> Sequence[JobReturn]:
    """Runs what is not done of a grid or of a search, and reports on all of it.

    Args:
        arguments: What was typed, such as 'lr=0.1,0.01'.
        searching: Whether a search chooses among the values, instead of all being run.
        launcher: Runs the cells.
        task_function: Trains one of them.
        hydra_context: Composes their configs.
        master: The config of the sweep.

    Returns:
        What the launcher returned for each run that it started.

    Raises:
        BadInputError: A cell cannot run; nothing was started.
        RunFailedError: At least one cell failed; the others were run.
    """
    agenda = agenda_for(
        arguments,
        searching=searching,
        launcher=launcher,
        hydra_context=hydra_context,
        master=master,
    )
    config, paths = agenda.samples[0].config, SweepPaths(agenda.samples[0].folder.parent)
    earlier = SweepRecord.load(paths)
    if config.plan:
        need = need_of(agenda, earlier, gpus=earlier.gpus if earlier else 0)
        show_plan(agenda, paths, launcher.slots(need))
        return []
    with mirror_of(config) as mirror:
        slots = launcher.slots(need_of(agenda, earlier))
        facts = launcher.call(functools.partial(check_cells, agenda.samples))
        mirror.wait_ready()
        with _owned(paths):
            record = _begin(paths, agenda, master, slots)
            try:
                try:
                    opened = agenda.open(dataclasses.replace(facts, hears=launcher.hears))
                finally:  # not before: what is to be trained again has its old points until then
                    mirror.watch_sweep(paths)
                log.info("Sweep of %s in %s", opened, os.path.relpath(paths.folder))
                _close_orphans(paths, agenda.cells)
                jobs = HydraJobs(hydra_context, master, task_function)
                returns = carry_out(agenda, launcher, slots, jobs, record)
            except BaseException as error:
                interrupted = isinstance(error, KeyboardInterrupt)
                _end(paths, record, "KILLED" if interrupted else "FAILED")
                if interrupted:
                    log.warning("Interrupted. To continue: %s", record.command)
                raise
            statuses = Counter(r.status for cell in agenda.cells if (r := cell.load()))
            missing = len(agenda.cells) - statuses["FINISHED"]
            ranked, answer = _end(paths, record, "FAILED" if missing else "FINISHED")
    log.info("\n%s\n", terminal_table(ranked, {cell.folder for cell in agenda.cells}))
    _show(ranked, answer, paths, config)
    if missing:
        raise RunFailedError(_what_failed(len(agenda.cells), statuses["FAILED"], missing))
    return returns


def _what_failed(cells: int, failed: int, missing: int) -> str:
    unfinished = f", {missing - failed} did not run to their end" if missing > failed else ""
    rest = " The same command goes on with them." if unfinished else ""
    return f"{failed} of {cells} runs failed{unfinished}; the table says why.{rest}"


def agenda_for(
    arguments: Sequence[str],
    *,
    searching: bool,
    launcher: Launcher,
    hydra_context: HydraContext,
    master: DictConfig,
) -> Agenda:
    """Returns what a sweep runs next: all of a grid, or what a search proposes. See `run_sweep`."""
    space = parse_space(arguments, hydra_context, master)
    if not searching:
        _refuse_search_settings(arguments)
        grid = resolve_rates(
            space.grid(), launcher=launcher, hydra_context=hydra_context, master=master
        )
        if space.excluded:  # some rates are known only now
            grid = [cell for cell in grid if space.allowed(dict(w.split("=", 1) for w in cell))]
        return GridAgenda(compose_cells(grid, hydra_context, master), space.left_out())
    from sweeps.sweep.search import SearchAgenda

    def compose(overrides: list[str]) -> Cell:
        return compose_cells([overrides], hydra_context, master)[0]

    return SearchAgenda(space, *search_settings(master), compose=compose)


def _refuse_search_settings(arguments: Sequence[str]) -> None:
    if typed := typed_search_settings(arguments):
        raise BadInputError(
            f"{typed[0]} has no effect on a grid, which runs every combination. To search, add"
            " hydra/sweeper=search."
        )


def check_cells(cells: Sequence[Cell]) -> Facts:
    """Builds each form of cell once and throws it away; this needs torch.

    Raises:
        BadInputError: A cell cannot run.
    """
    from sweeps.runs.runner import check

    digests: dict[str, str] = {}
    forms: set[str] = set()
    for cell in cells:
        if (form := form_of(cell)) not in forms:
            forms.add(form)
            with naming_cell(cell.overrides, of=len(cells)):
                digests[repr(cell.config.data)] = check(cell.config).digest
    return Facts(digests)


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


def _begin(paths: SweepPaths, agenda: Agenda, master: DictConfig, slots: Slots) -> SweepRecord:
    earlier = SweepRecord.load(paths)
    config = agenda.samples[0].config
    replace_text(paths.multirun, OmegaConf.to_yaml(master))
    record = SweepRecord(
        key=earlier.key if earlier else uuid.uuid4().hex,
        name=config.name,
        status="RUNNING",
        started_ms=earlier.started_ms if earlier else now_ms(),
        command=command(config.name),
        overrides=[str(override) for override in master.hydra.overrides.task],
        objective=config.objective,
        cells=agenda.total,
        threads=(earlier.threads if earlier else None) or slots.threads,
        gpus=slots.gpus if need_of(agenda, earlier).only_gpus else 0,
        defaults=dict(SweepRecord.kept_defaults(paths)) or present_defaults(),
    )
    record.save(paths)
    return record


def _close_orphans(paths: SweepPaths, cells: Sequence[Cell]) -> None:
    """Ends what a killed command left open and this one does not continue."""
    mine = {cell.folder for cell in cells}
    for orphan in paths.cells():
        if orphan.folder not in mine:
            close_orphan(orphan)


def _end(paths: SweepPaths, record: SweepRecord, status: str) -> tuple[Comparison, Sequence[str]]:
    """Writes down what has become of the sweep; returns the ranking, and the answer in words."""
    if status != "FINISHED":
        for run in paths.cells():
            close_orphan(run)  # who was killed at once, or waited for its turn
    collection = read_folder(paths.folder)
    ranked = rank(collection)
    replace_text(paths.results_markdown, markdown_table(ranked))
    replace_text(paths.results_csv, csv_table(ranked))
    # Who pressed Ctrl-C wants to leave.
    summary = write_report(paths, collection) if status != "KILLED" else None
    record.status, record.best_value = status, ranked.best_value(record.objective)
    record.ended_ms = max(now_ms(), record.started_ms)
    record.save(paths)
    return ranked, summary.lines if summary else ()


def _show(ranked: Comparison, answer: Sequence[str], paths: SweepPaths, config: Config) -> None:
    if answer:
        log.info("%s\n", "\n".join(answer))
    for part, _, run in ranked.winners:
        about = f" ({part.about})" if len(ranked.parts) > 1 else ""
        log.info("Best run%s: %s", about, os.path.relpath(str(run.folder)))
    if paths.report.exists():
        log.info("Report:   %s", os.path.relpath(paths.report))
    if config.tracking["backend"] != "none":
        log.info("%s", where_tracked(config, paths.folder))
