"""A run alone: its request, its plan, its result."""

from __future__ import annotations

import dataclasses
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, cast

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from sweeps.config.defaults import keep_defaults
from sweeps.config.lr_values import open_rate
from sweeps.config.parse import parse
from sweeps.config.saved import choices, hydra_files
from sweeps.errors import BadInputError, SweepsError
from sweeps.runs.outcome import Outcome
from sweeps.runs.paths import RunPaths, SweepPaths
from sweeps.runs.record import RunRecord, SweepRecord
from sweeps.runs.resume import remove_refused
from sweeps.sweep.interruption import saying_how_to_continue

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from sweeps.config import Config
    from sweeps.runs.runner import RunRequest


log = logging.getLogger(__name__)


class Refusal(Exception):  # noqa: N818 - it carries an error past Hydra
    """A run alone could not be carried out.

    Args:
        error: Why.
    """

    def __init__(self, error: SweepsError | OSError) -> None:
        super().__init__(str(error))
        self.error = error


def run_composed(cfg: DictConfig, command: str | None) -> float | None:
    """Runs what Hydra has composed: a run alone, or a cell that a launcher of Hydra's has started.

    Args:
        cfg: The task config.
        command: What continues a run alone, as a person types it; None where nobody typed one.

    Returns:
        The objective at the best epoch, or None where nothing was trained.

    Raises:
        Refusal: A run alone cannot start, or has failed.
        BadInputError: A cell cannot run.
        RunFailedError: The training of a cell raised.
    """
    overrides = [str(override) for override in HydraConfig.get().overrides.task]
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        return _run(cfg, overrides, command)
    folder = RunPaths(Path(HydraConfig.get().runtime.output_dir))
    try:
        keep_defaults(cfg, RunRecord.kept_defaults(folder), overrides)
        return _run(cfg, overrides, command)
    except (SweepsError, OSError) as error:
        raise Refusal(error) from error


def _run(cfg: DictConfig, overrides: list[str], command: str | None) -> float | None:
    if open_rate(cfg) is not None:
        cfg, overrides = at_its_pick(cfg, overrides, command)
    request = dataclasses.replace(request_of(cfg, overrides), command=command)
    if SweepPaths(request.folder.parent).record.exists():  # the sweep checks and mirrors its cells
        from sweeps.runs.runner import run

        return run(request).objective_value
    return run_alone(request)


def at_its_pick(
    cfg: DictConfig, overrides: list[str], command: str | None
) -> tuple[DictConfig, list[str]]:
    """Returns the config and overrides of a run with lr=auto, with the rate of its range test."""
    from sweeps.sweep.auto_lr import pick_for_run, with_rate

    hydra_cfg = HydraConfig.get()
    folder = Path(hydra_cfg.runtime.output_dir)
    try:
        with saying_how_to_continue(command):
            rate = pick_for_run(cfg, cast("DictConfig", hydra_cfg), folder)
    except SweepsError:
        remove_refused(folder)
        raise
    cfg.lr = rate
    return cfg, with_rate(overrides, rate)


def run_alone(request: RunRequest) -> float | None:
    """Checks, mirrors and trains a run; returns its objective at the best epoch."""
    from sweeps.runs.runner import check, run
    from sweeps.tracking import mirror_of

    paths = RunPaths(request.folder)
    try:
        _refuse_growth(request.config)
        if request.config.plan:
            _show_plan(paths)
            return None
        with saying_how_to_continue(request.command), mirror_of(request.config) as mirror:
            dataset = check(request.config)  # refuses, while MLflow connects
            mirror.wait_ready()
            mirror.watch_run(paths)
            record = run(dataclasses.replace(request, digest=dataset.digest))
    finally:
        remove_refused(request.folder)
    _say_result(request, record)
    return record.objective_value


def request_of(cfg: DictConfig, overrides: list[str]) -> RunRequest:
    """Returns what is asked of the runner by a composed config; a bad one leaves no folder."""
    folder = Path(HydraConfig.get().runtime.output_dir)
    try:
        config = parse(cfg)
    except SweepsError:
        remove_refused(folder)
        raise
    sweep = SweepRecord.load(SweepPaths(folder.parent))
    return request_with(config, cfg, overrides, threads=sweep.threads if sweep else None)


def request_with(
    config: Config,
    cfg: DictConfig,
    overrides: list[str] | None = None,
    *,
    threads: int | None,
) -> RunRequest:
    """Returns what is asked of the runner by a config that is checked already.

    Args:
        config: Of the run.
        cfg: What it was made of.
        overrides: What was typed; None: as Hydra knows it.
        threads: CPU threads of a new run, or None for torch's own number.
    """
    from sweeps.runs.runner import RunRequest

    hydra_cfg = HydraConfig.get()
    typed = [str(item) for item in hydra_cfg.overrides.task] if overrides is None else overrides
    return RunRequest(
        config=config,
        threads=threads,
        folder=Path(hydra_cfg.runtime.output_dir),
        overrides=typed,
        choices=choices(hydra_cfg),
        hydra_files=hydra_files(cfg, hydra_cfg, typed),
    )


def _refuse_growth(config: Config) -> None:
    for key in ("extend", "seeds", "max_cells"):
        if getattr(config, key) is not None:
            raise BadInputError(
                f"{key}={getattr(config, key)} adds runs to a sweep, and this is one run: add -m and"
                " values, such as -m lr=0.1,0.01."
            )


def _show_plan(paths: RunPaths) -> None:
    from sweeps.runs.resume import standing
    from sweeps.sweep.strategy import WORDS

    record = RunRecord.load(paths)
    state = WORDS[standing(record)]
    log.info("%s is %s. Nothing was started.", os.path.relpath(paths.folder), state)


def _say_result(request: RunRequest, record: RunRecord) -> None:
    from sweeps.analysis.ranking import rank
    from sweeps.analysis.run_table import terminal_table
    from sweeps.runs.results import Collection, result_of
    from sweeps.tracking import where_tracked

    result = result_of(record, RunPaths(request.folder))
    log.info("\n%s\n", terminal_table(rank(Collection((result,)))))
    if record.outcome == Outcome.DIVERGED:
        log.info("Its loss is no finite number any more. Type a smaller lr, or lr=auto.")
    log.info("In: %s", os.path.relpath(request.folder))
    if tracked := where_tracked(request.config, request.folder):
        log.info("%s", tracked)
