"""Train one run, or with -m a sweep: python -m sweeps.train -m optimizer=sgd,adam lr=0.1,0.01."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

import sweeps
from sweeps.config.command_line import explain_error, for_hydra, from_saved_run, help_text
from sweeps.config.defaults import keep_defaults
from sweeps.config.hydra_errors import for_terminal
from sweeps.config.locations import conf_dir
from sweeps.config.lr_values import open_rate
from sweeps.config.resolvers import prepare_hydra
from sweeps.errors import SweepsError
from sweeps.files import ensure_home
from sweeps.runs.paths import RunPaths, SweepPaths
from sweeps.runs.record import RunRecord
from sweeps.signals import Interrupted, raising_signals
from sweeps.sweep.single import at_its_pick, request_of, run_alone

if TYPE_CHECKING:
    from omegaconf import DictConfig


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
        folder = RunPaths(Path(HydraConfig.get().runtime.output_dir))
        keep_defaults(cfg, RunRecord.kept_defaults(folder), overrides)
    if open_rate(cfg) is not None:
        cfg, overrides = at_its_pick(cfg, overrides)
    request = request_of(cfg, overrides)
    if SweepPaths(request.folder.parent).record.exists():  # the sweep checks and mirrors its cells
        from sweeps.runs.runner import run

        return run(request).objective_value
    return run_alone(request)


def main() -> None:
    """Runs the command line and exits: 0 well, 1 a run failed, 2 bad input, 128+n on signal n."""
    if sys.argv[1:] in (["--help"], ["-h"]):
        sys.stdout.write(help_text())
        return
    if "--version" in sys.argv[1:]:
        sys.stdout.write(f"sweeps {sweeps.__version__}\n")
        return
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))  # a person's own models beside them, for the script too
    ensure_home()
    want_traceback = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come to us instead of being printed by Hydra
    try:
        sys.argv[1:] = from_saved_run(for_hydra(sys.argv[1:]))
        with raising_signals():
            _task()
        if _refusals:
            raise _refusals[0]
    except Interrupted as interrupted:
        sys.exit(128 + interrupted.signum)
    except Exception as error:
        if want_traceback:
            raise
        message, code = explain_error(error)
        if message is None:
            raise
        sys.stdout.flush()
        print(f"sweeps: {for_terminal(message)}", file=sys.stderr)  # noqa: T201 - the terminal is the place
        sys.exit(code)


if __name__ == "__main__":
    # Run from its module, so that the task is known by the same name in every process.
    from sweeps.train import main as main_of_module

    main_of_module()
