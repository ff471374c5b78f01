"""Train one run, or with -m a sweep: python -m sweeps.train -m optimizer=sgd,adam lr=0.1,0.01."""

from __future__ import annotations

import dataclasses
import errno
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, cast

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from sweeps.closing import remove_refused
from sweeps.config.hydra_setup import prepare_hydra
from sweeps.config.messages import explain
from sweeps.config.parse import parse, typed_search_settings
from sweeps.config.rates import open_rate, quote_rates
from sweeps.config.rerun import from_saved_run
from sweeps.config.saved import choices, hydra_files
from sweeps.errors import BadInputError, SweepsError
from sweeps.interrupts import Interrupted, command, raising_signals
from sweeps.paths import RunPaths, SweepPaths, conf_dir

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from sweeps.records import RunRecord
    from sweeps.runner import RunRequest

log = logging.getLogger(__name__)

prepare_hydra()


@hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")
def _task(cfg: DictConfig) -> float | None:
    """Runs one cell, or the only run.

    Returns:
        The objective at the best epoch, so that Hydra's own optimizing sweepers work too.
    """
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        return _run(cfg)
    try:
        return _run(cfg)
    except (SweepsError, OSError) as error:
        # Raised here, Hydra would print a line of its own before ours.
        _refusals.append(error)
        return None


_refusals: list[SweepsError | OSError] = []


def _run(cfg: DictConfig) -> float | None:
    overrides = [str(override) for override in HydraConfig.get().overrides.task]
    if HydraConfig.get().mode == RunMode.RUN:
        _refuse_search(overrides)
    if open_rate(cfg) is not None:
        cfg, overrides = _at_its_pick(cfg, overrides)
    request = _request(cfg, overrides)
    if SweepPaths(request.folder.parent).record.exists():  # the sweep checks and mirrors its cells
        from sweeps.asking import observer
        from sweeps.runner import run

        observe = observer(request.config, RunPaths(request.folder))
        return run(request, observe).objective_value
    return _run_alone(request)


def _refuse_search(overrides: list[str]) -> None:
    typed = typed_search_settings(overrides)
    if HydraConfig.get().runtime.choices.get("hydra/sweeper") == "search":
        typed.insert(0, "hydra/sweeper=search")
    if typed:
        remove_refused(Path(HydraConfig.get().runtime.output_dir))
        raise BadInputError(
            f"{typed[0]} has no effect on a single run. To search, add -m and hydra/sweeper=search."
        )


def _at_its_pick(cfg: DictConfig, overrides: list[str]) -> tuple[DictConfig, list[str]]:
    """Returns the config and overrides of a run with lr=auto, with the rate of its range test."""
    from sweeps.auto_lr import pick_for_run, with_rate

    hydra_cfg = HydraConfig.get()
    folder = Path(hydra_cfg.runtime.output_dir)
    try:
        rate = pick_for_run(cfg, cast("DictConfig", hydra_cfg), folder)
    except Interrupted:
        log.warning("Interrupted. To continue: %s", command(str(cfg.name)))
        raise
    except SweepsError:
        remove_refused(folder)
        raise
    cfg.lr = rate
    return cfg, with_rate(overrides, rate)


def _run_alone(request: RunRequest) -> float | None:
    from sweeps.runner import check, run
    from sweeps.tracking import mirror_of

    paths = RunPaths(request.folder)
    try:
        if request.config.plan:
            _show_plan(paths)
            return None
        with mirror_of(request.config) as mirror:
            dataset = check(request.config)  # refuses, while MLflow connects
            mirror.wait_ready()
            mirror.watch_run(paths)
            record = run(dataclasses.replace(request, digest=dataset.digest))
    except Interrupted:
        log.warning("Interrupted. To continue: %s", command(request.config.name))
        raise
    finally:
        remove_refused(request.folder)
    _say_result(request, record)
    return record.objective_value


def main() -> None:
    """Runs the command line and exits: 0 well, 1 a run failed, 2 bad input, 128+n on signal n."""
    if sys.argv[1:] in (["--help"], ["-h"]):
        sys.stdout.write(_help())
        return
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))  # a person's own models beside them, for the script too
    flags = [argument for argument in sys.argv[1:] if argument in ("-m", "--multirun")]
    if flags:  # argparse, which Hydra uses, takes a flag between overrides for an error
        sys.argv[1:] = ["-m", *(argument for argument in sys.argv[1:] if argument not in flags)]
    want_traceback = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come to us instead of being printed by Hydra
    try:
        sys.argv[1:] = from_saved_run(quote_rates(sys.argv[1:]))
        with raising_signals():
            _task()
        if _refusals:
            raise _refusals[0]
    except Interrupted as interrupted:
        sys.exit(128 + interrupted.signum)
    except Exception as error:
        if want_traceback:
            raise
        message, code = _explain(error)
        if message is None:
            raise
        sys.stdout.flush()
        print(f"sweeps: {message}", file=sys.stderr)  # noqa: T201 - the terminal is the place
        sys.exit(code)


def _help() -> str:
    """Returns what Hydra's --help prints, in a third of its time: nothing is composed."""
    import yaml

    conf = conf_dir()
    template = yaml.safe_load((conf / "hydra/help/sweeps.yaml").read_text())["template"]
    groups = sorted(
        folder for folder in conf.iterdir() if folder.is_dir() and folder.name != "hydra"
    )
    listed = "\n".join(
        f"  {group.name}: {', '.join(sorted(choice.stem for choice in group.glob('*.yaml')))}"
        for group in groups
    )
    return f"{template.replace('$APP_CONFIG_GROUPS', listed)}\n"


def _explain(error: Exception) -> tuple[str | None, int]:
    # OmegaConf wraps what a resolver raises.
    inner = error.__cause__ if isinstance(error.__cause__, SweepsError) else error
    if isinstance(inner, SweepsError):
        return str(inner), inner.exit_code
    if isinstance(error, OSError) and error.filename is not None:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        remedy = (
            "Free some space and type the same command: it continues."
            if full
            else "Choose another folder with output_dir=..."
        )
        return f"Cannot write {error.filename}: {error.strerror}. {remedy}", 2
    return explain(error), 2


def _request(cfg: DictConfig, overrides: list[str]) -> RunRequest:
    from sweeps.records import SweepRecord
    from sweeps.runner import RunRequest

    hydra_cfg = HydraConfig.get()
    folder = Path(hydra_cfg.runtime.output_dir)
    try:
        config = parse(cfg)
    except SweepsError:
        remove_refused(folder)
        raise
    sweep = SweepRecord.load(SweepPaths(folder.parent))
    return RunRequest(
        config=config,
        threads=sweep.threads if sweep else None,
        folder=folder,
        overrides=overrides,
        choices=choices(hydra_cfg),
        hydra_files=hydra_files(cfg, hydra_cfg, overrides),
    )


def _show_plan(paths: RunPaths) -> None:
    from sweeps.agenda import WORDS
    from sweeps.records import RunRecord
    from sweeps.standing import standing

    record = RunRecord.load(paths)
    state = WORDS[standing(record)]
    log.info("%s is %s. Nothing was started.", os.path.relpath(paths.folder), state)


def _say_result(request: RunRequest, record: RunRecord) -> None:
    from sweeps.reporting import rank, terminal_table
    from sweeps.results import Collection, result_of
    from sweeps.tracking import where_tracked

    result = result_of(record, RunPaths(request.folder))
    log.info("\n%s\n", terminal_table(rank(Collection((result,)))))
    if record.outcome == "diverged":
        log.info("Its loss is no finite number any more. Type a smaller lr, or lr=auto.")
    log.info("In: %s", os.path.relpath(request.folder))
    if request.config.tracking["backend"] != "none":
        log.info("%s", where_tracked(request.config, request.folder))


if __name__ == "__main__":
    # Run from its module, so that the task is known by the same name in every process.
    from sweeps.train import main as main_of_module

    main_of_module()
