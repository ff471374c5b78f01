"""Many runs: every cell checked before the first starts, one parent, a ranked table at the end."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import shlex
import sys
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from sweeps import reporting
from sweeps.config import parse
from sweeps.errors import BadInputError, RunFailedError
from sweeps.paths import RunPaths, SweepPaths, replace_text
from sweeps.records import RunRecord, SweepRecord
from sweeps.tracking import Mirror, tracking_uri

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hydra.plugins.launcher import Launcher
    from hydra.types import HydraContext
    from omegaconf import DictConfig

    from sweeps.config import Config

log = logging.getLogger(__name__)


def expand_grid(arguments: Sequence[str], hydra_context: HydraContext) -> list[list[str]]:
    """Returns the overrides of each cell: the product of all values, the last axis fastest.

    Raises:
        BadInputError: A sweep over a range of real numbers, which a grid cannot list.
    """
    parser = OverridesParser.create(config_loader=hydra_context.config_loader)
    axes: dict[str, list[str]] = {}
    for override in parser.parse_overrides(list(arguments)):
        key = override.get_key_element()
        if not override.is_sweep_override():
            axes[key] = [f"{key}={override.get_value_element_as_str()}"]
        elif override.is_discrete_sweep():
            axes[key] = [f"{key}={value}" for value in override.sweep_string_iterator()]
        else:
            raise BadInputError(
                f"{override.input_line} has no end of values; a grid needs a list, such as"
                f" {key}=0.1,0.01, or a range such as {key}='range(1,4)'."
            )
    return [list(cell) for cell in itertools.product(*axes.values())]


def run_sweep(
    arguments: Sequence[str], *, launcher: Launcher, hydra_context: HydraContext, master: DictConfig
) -> Any:
    """Runs every cell of a grid and reports on all of them.

    Returns:
        What the launcher returned for each cell.

    Raises:
        BadInputError: A cell cannot run; nothing was started.
        RunFailedError: At least one cell failed; the others were run.
    """
    cells = expand_grid(arguments, hydra_context)
    configs, folders = _compose_all(cells, hydra_context, master)
    _check_all(configs, cells)
    config, paths = configs[0], SweepPaths(folders[0].parent)
    record = _begin(paths, config, cells, master)
    log.info("Sweep of %d runs in %s", len(cells), os.path.relpath(paths.folder))
    with _tracked(config, paths):
        try:
            returns = launcher.launch(cells, initial_job_idx=0)
        except KeyboardInterrupt:
            _end(paths, record, folders, "KILLED")
            log.warning("Interrupted. To continue: %s", _command(config.name))
            raise
        except BaseException:
            _end(paths, record, folders, "FAILED")
            raise
        entries = [(r, f) for f in folders if (r := RunRecord.load(RunPaths(f)))]
        failed = len(folders) - sum(r.status == "FINISHED" for r, _ in entries)
        _end(paths, record, folders, "FAILED" if failed else "FINISHED")
    _show(entries, config)
    if failed:
        raise RunFailedError(f"{failed} of {len(folders)} runs failed; the table says why.")
    return returns


def _compose_all(
    cells: list[list[str]], hydra_context: HydraContext, master: DictConfig
) -> tuple[list[Config], list[Path]]:
    configs, folders = [], []
    # Resolved on the master first: cells inherit its answers, so a fresh name is the same for all.
    sweep_dir = Path(str(master.hydra.sweep.dir)).absolute()
    for number, cell in enumerate(cells):
        composed = hydra_context.config_loader.load_sweep_config(master, list(cell))
        with _naming(cell, of=len(cells)):
            configs.append(parse(composed))
        OmegaConf.set_readonly(composed, False)
        composed.hydra.job.num = number
        composed.hydra.job.id = str(number)
        folders.append(sweep_dir / str(composed.hydra.sweep.subdir))
    return configs, folders


def _check_all(configs: list[Config], cells: list[list[str]]) -> None:
    from sweeps.runner import check

    checked = set()
    for config, cell in zip(configs, cells, strict=True):
        # Rates and seeds change values, not what fits what.
        form = repr({k: v for k, v in vars(config).items() if k not in ("lr", "seed", "name")})
        if form not in checked:
            with _naming(cell, of=len(cells)):
                check(config)
            checked.add(form)


@contextlib.contextmanager
def _naming(cell: list[str], *, of: int) -> Iterator[None]:
    try:
        yield
    except BadInputError as error:
        if of == 1:
            raise
        raise BadInputError(f"Cell {' '.join(cell)}: {error} Nothing was started.") from None


def _begin(
    paths: SweepPaths, config: Config, cells: list[list[str]], master: DictConfig
) -> SweepRecord:
    paths.folder.mkdir(parents=True, exist_ok=True)
    earlier = SweepRecord.load(paths)
    replace_text(paths.multirun, OmegaConf.to_yaml(master))
    record = SweepRecord(
        key=earlier.key if earlier else uuid.uuid4().hex,
        name=config.name,
        status="RUNNING",
        started_ms=earlier.started_ms if earlier else time.time_ns() // 1_000_000,
        command=_command(config.name),
        overrides=[str(override) for override in master.hydra.overrides.task],
        objective=config.objective,
        cells=len(cells),
    )
    record.save(paths)
    return record


def _command(name: str) -> str:
    typed = [argument for argument in sys.argv[1:] if not argument.startswith("name=")]
    return shlex.join(["python", "-m", "sweeps.train", *typed, f"name={name}"])


@contextlib.contextmanager
def _tracked(config: Config, paths: SweepPaths) -> Iterator[None]:
    from sweeps.config import TrackingConfig

    if config.tracking["backend"] == "none":
        yield
        return
    mirror = Mirror(TrackingConfig(**config.tracking), Path(config.output_dir).absolute())
    mirror.start()
    try:
        mirror.wait_ready()
        mirror.watch_sweep(paths)
        yield
    finally:
        mirror.close()


def _end(paths: SweepPaths, record: SweepRecord, folders: list[Path], status: str) -> None:
    entries = [(r, f) for f in folders if (r := RunRecord.load(RunPaths(f)))]
    replace_text(paths.results_markdown, reporting.markdown_table(entries))
    replace_text(paths.results_csv, reporting.csv_table(entries))
    if status != "KILLED":  # who pressed Ctrl-C wants to leave
        reporting.write_report(paths)
    record.status = status
    record.ended_ms = time.time_ns() // 1_000_000
    record.save(paths)


def _show(entries: list[reporting.Entry], config: Config) -> None:
    log.info("\n%s\n", reporting.terminal_table(entries))
    if (winner := reporting.best(entries)) is not None:
        record, folder = winner
        label = " ".join(record.overrides)
        log.info("Best: %s  %s %.4f", label, record.objective, record.objective_value)
        log.info("In:   %s", os.path.relpath(folder))
    if config.tracking["backend"] != "none":
        log.info("Compare in the browser: %s", ui_command(config))


def ui_command(config: Config) -> str:
    """Returns the command that opens the runs in MLflow, or the address of their server."""
    from sweeps.config import TrackingConfig

    uri = tracking_uri(TrackingConfig(**config.tracking), Path(config.output_dir))
    if uri.startswith("http"):
        return uri
    shown = uri.replace(f"sqlite:///{Path.cwd()}/", "sqlite:///")
    return f"mlflow ui --backend-store-uri {shlex.quote(shown)}"
