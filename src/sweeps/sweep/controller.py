"""Many runs: every cell checked before the first starts, one parent, a ranked table at the end."""

from __future__ import annotations

import contextlib
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
from sweeps.config.defaults import present_defaults
from sweeps.config.parse import growth_settings, search_settings, typed_search_settings
from sweeps.errors import BadInputError, RunFailedError
from sweeps.files import lock_holder, locked, replace_text
from sweeps.launchers.hydra_job import HydraJobs
from sweeps.runs.paths import SweepPaths
from sweeps.runs.record import SweepRecord, now_ms
from sweeps.runs.results import read_folder
from sweeps.runs.resume import close_orphan
from sweeps.search.parse_space import parse_space
from sweeps.sweep.auto_lr import resolve_rates
from sweeps.sweep.cell import Composition, cells_of, form_of, naming_cell
from sweeps.sweep.execution import carry_out, need_of
from sweeps.sweep.grid import Grid
from sweeps.sweep.growing import Growing, refuse_growth
from sweeps.sweep.interruption import saying_how_to_continue
from sweeps.sweep.plan import show_plan
from sweeps.sweep.strategy import Preflight
from sweeps.tracking import mirror_of, where_tracked

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hydra.core.utils import JobReturn
    from hydra.types import HydraContext
    from omegaconf import DictConfig

    from sweeps.analysis.ranking import Comparison
    from sweeps.config import Config
    from sweeps.config.config import GrowthConfig
    from sweeps.launchers.launcher import Launcher
    from sweeps.launchers.slots import Slots
    from sweeps.search.space import Space
    from sweeps.sweep.cell import Cell
    from sweeps.sweep.strategy import Outline, Strategy


log = logging.getLogger(__name__)


def run_sweep(
    strategy: Strategy,
    *,
    launcher: Launcher,
    hydra_context: HydraContext,
    master: DictConfig,
    command: str | None = None,
) -> Sequence[JobReturn]:
    """Runs what is not done of a sweep, and reports on all of it.

    Args:
        strategy: Says what runs next, see `strategy_for`.
        launcher: Runs the cells.
        hydra_context: Composes their configs.
        master: The config of the sweep.
        command: What continues it, as a person types it; None where nobody typed one.

    Returns:
        What Hydra expects of each run that was started.

    Raises:
        BadInputError: A cell cannot run; nothing was started.
        RunFailedError: At least one cell failed; the others were run.
    """
    outline = strategy.outline
    config, paths = outline.samples[0].config, SweepPaths(outline.samples[0].folder.parent)
    earlier = SweepRecord.load(paths)
    if config.plan:
        need = need_of(outline, earlier, gpus=earlier.gpus if earlier else 0)
        show_plan(outline, paths, launcher.slots(need))
        return []
    with mirror_of(config) as mirror:
        slots = launcher.slots(need_of(outline, earlier))
        digests = launcher.call(functools.partial(check_configs, *_to_check(outline.samples)))
        mirror.wait_ready()
        with _owned(paths):
            record = _begin(paths, outline, master, slots, command)
            with _closing(paths, record):
                try:
                    plan = strategy.open(Preflight(digests, hears=launcher.hears))
                finally:  # not before: what is to be trained again has its old points until then
                    mirror.watch_sweep(paths)
                log.info("Sweep of %s in %s", plan.summary, os.path.relpath(paths.folder))
                cells = plan.cells
                _close_orphans(paths, cells)
                jobs = HydraJobs(hydra_context, master)
                returns = carry_out(strategy, plan, record, jobs, launcher=launcher, slots=slots)
            statuses = Counter(cell.record.status for cell in cells if cell.record)
            missing = len(cells) - statuses["FINISHED"]
            ranked, answer = _end(paths, record, "FAILED" if missing else "FINISHED", cells)
    _show(ranked, answer, cells, paths, config)
    if missing:
        raise RunFailedError(_what_failed(len(cells), statuses["FAILED"], missing))
    return returns


def _what_failed(cells: int, failed: int, missing: int) -> str:
    unfinished = f", {missing - failed} did not run to their end" if missing > failed else ""
    rest = " The same command goes on with them." if unfinished else ""
    return f"{failed} of {cells} runs failed{unfinished}; the table says why.{rest}"


def strategy_for(
    arguments: Sequence[str],
    *,
    searching: bool,
    launcher: Launcher,
    hydra_context: HydraContext,
    master: DictConfig,
    command: str | None = None,
) -> Strategy:
    """Returns what decides what runs next: all of a grid, or a search.

    Args:
        arguments: What was typed, such as 'lr=0.1,0.01'.
        searching: Whether a search chooses among the values, instead of all being run.
        launcher: Runs the range tests of a grid.
        hydra_context: Composes.
        master: The config of the sweep.
        command: What continues it, as a person types it; None where nobody typed one.

    Raises:
        BadInputError: A cell is no valid config, or what was typed makes no sweep.
    """
    space = parse_space(arguments, hydra_context, master)
    composition, growth = Composition(hydra_context, master), growth_settings(master)
    if not searching:
        _refuse_search_settings(arguments)
        grid = resolve_rates(
            space.grid(), launcher=launcher, composition=composition, command=command
        )
        if space.excluded:  # some rates are known only now
            grid = [cell for cell in grid if space.allowed(dict(w.split("=", 1) for w in cell[0]))]
        return _grown(
            Grid(cells_of(grid, composition), space.left_out()), space, composition, growth
        )
    if growth.some:
        raise BadInputError(
            "extend=auto and seeds=auto add to a grid, and a search chooses its runs itself. Leave"
            " them out, or leave hydra/sweeper=search out."
        )
    from sweeps.sweep.search import Search

    return Search(space, *search_settings(master), compose=composition.cell)


def _grown(grid: Grid, space: Space, composition: Composition, growth: GrowthConfig) -> Strategy:
    """Returns a grid, with what it may add to itself."""
    if not growth.some:
        return grid
    refuse_growth(growth, space)

    def compose(overrides: list[str]) -> Cell | None:
        if space.excluded and not space.allowed(dict(w.split("=", 1) for w in overrides)):
            return None
        try:
            return composition.cell(overrides)
        except BadInputError as error:
            log.warning("Not added: %s", error)
            return None

    return Growing(grid, growth, compose)


def _refuse_search_settings(arguments: Sequence[str]) -> None:
    if typed := typed_search_settings(arguments):
        raise BadInputError(
            f"{typed[0]} has no effect on a grid, which runs every combination. To search, add"
            " hydra/sweeper=search."
        )


def _to_check(cells: Sequence[Cell]) -> tuple[list[tuple[list[str], Config]], int]:
    """Returns the first cell of each form, and how many cells there are."""
    first: dict[str, Cell] = {}
    for cell in cells:
        first.setdefault(form_of(cell), cell)
    return [(cell.overrides, cell.config) for cell in first.values()], len(cells)


def check_configs(cells: Sequence[tuple[list[str], Config]], of: int) -> dict[str, str]:
    """Builds what a run of each config needs and throws it away; this needs torch.

    Args:
        cells: Overrides and configs.
        of: How many cells they stand for.

    Returns:
        The digest of the data, by its settings.

    Raises:
        BadInputError: A cell cannot run.
    """
    from sweeps.runs.runner import check

    digests: dict[str, str] = {}
    for overrides, config in cells:
        with naming_cell(overrides, of=of):
            digests[repr(config.data)] = check(config, rehearsed=False).digest
    return digests


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


@contextlib.contextmanager
def _closing(paths: SweepPaths, record: SweepRecord) -> Iterator[None]:
    """Writes down what has become of a sweep that does not come to its end."""
    with saying_how_to_continue(record.command):
        try:
            yield
        except BaseException as error:
            interrupted = isinstance(error, KeyboardInterrupt)
            _end(paths, record, "KILLED" if interrupted else "FAILED", ())
            raise


def _begin(
    paths: SweepPaths, outline: Outline, master: DictConfig, slots: Slots, command: str | None
) -> SweepRecord:
    earlier = SweepRecord.load(paths)
    config = outline.samples[0].config
    replace_text(paths.multirun, OmegaConf.to_yaml(master))
    record = SweepRecord(
        key=earlier.key if earlier else uuid.uuid4().hex,
        name=config.name,
        status="RUNNING",
        started_ms=earlier.started_ms if earlier else now_ms(),
        command=command or "",
        overrides=[str(override) for override in master.hydra.overrides.task],
        objective=config.objective,
        cells=outline.total,
        threads=(earlier.threads if earlier else None) or slots.threads,
        gpus=slots.gpus if need_of(outline, earlier).only_gpus else 0,
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


def _end(
    paths: SweepPaths, record: SweepRecord, status: str, cells: Sequence[Cell]
) -> tuple[Comparison, Sequence[str]]:
    """Writes down what has become of the sweep; returns the ranking, and the answer in words."""
    known = {cell.folder: cell.record for cell in cells if cell.record}
    if status != "FINISHED":
        for run in paths.cells():  # who was killed at once, or waited for its turn
            close_orphan(run, known.get(run.folder))
    collection = read_folder(paths.folder, known)
    ranked = rank(collection)
    replace_text(paths.results_markdown, markdown_table(ranked))
    replace_text(paths.results_csv, csv_table(ranked))
    # Who pressed Ctrl-C wants to leave.
    summary = write_report(paths, collection) if status != "KILLED" else None
    record.cells = max(record.cells, len(cells))
    record.status, record.best_value = status, ranked.best_value(record.objective)
    record.ended_ms = max(now_ms(), record.started_ms)
    record.save(paths)
    return ranked, summary.lines if summary else ()


def _show(
    ranked: Comparison,
    answer: Sequence[str],
    cells: Sequence[Cell],
    paths: SweepPaths,
    config: Config,
) -> None:
    log.info("\n%s\n", terminal_table(ranked, {cell.folder for cell in cells}))
    if answer:
        log.info("%s\n", "\n".join(answer))
    for part, _, run in ranked.winners:
        about = f" ({part.about})" if len(ranked.parts) > 1 else ""
        log.info("Best run%s: %s", about, os.path.relpath(str(run.folder)))
    if paths.report.exists():
        log.info("Report:   %s", os.path.relpath(paths.report))
    if tracked := where_tracked(config, paths.folder):
        log.info("%s", tracked)
