"""Train one run, or with -m a sweep: python -m sweeps.train -m optimizer=sgd,adam lr=0.1,0.01."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from sweeps.config.hydra_setup import prepare_hydra
from sweeps.config.messages import explain
from sweeps.config.parse import parse
from sweeps.config.rerun import from_saved_run
from sweeps.config.saved import to_saved_yaml
from sweeps.errors import SweepsError
from sweeps.interrupts import Interrupted, raising_signals
from sweeps.paths import SweepPaths, conf_dir

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sweeps.config import Config
    from sweeps.runner import RunRequest

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
    except SweepsError as error:
        # Raised here, Hydra would print a line of its own before ours.
        _refusals.append(error)
        return None


_refusals: list[SweepsError] = []


def _run(cfg: DictConfig) -> float | None:
    from sweeps.runner import run

    request = _request(cfg)
    with _tracked(request):
        record = run(request)
    if HydraConfig.get().mode == RunMode.RUN:
        _say_result(request)
    return record.objective_value


def main() -> None:
    """Runs the command line and exits: 0 well, 1 a run failed, 2 bad input, 128+n on signal n."""
    if sys.argv[1:] in (["--help"], ["-h"]):
        sys.stdout.write(_help())
        return
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))  # a person's own models beside them, for the script too
    want_traceback = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come to us instead of being printed by Hydra
    try:
        sys.argv[1:] = from_saved_run(sys.argv[1:])
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
        return (
            f"Cannot write {error.filename}: {error.strerror}."
            " Choose another folder with output_dir=..."
        ), 2
    return explain(error), 2


def _request(cfg: DictConfig) -> RunRequest:
    from sweeps.runner import RunRequest

    hydra_cfg = HydraConfig.get()
    folder = Path(hydra_cfg.runtime.output_dir)
    try:
        config = parse(cfg)
    except SweepsError:
        _remove_if_empty(folder)
        raise
    choices = {
        str(group): str(choice)
        for group, choice in hydra_cfg.runtime.choices.items()
        if choice is not None and not str(group).startswith("hydra/")
    }
    return RunRequest(
        config=config,
        folder=folder,
        overrides=[str(override) for override in hydra_cfg.overrides.task],
        choices=choices,
        hydra_files={
            "config.yaml": to_saved_yaml(cfg),
            "hydra.yaml": OmegaConf.to_yaml(OmegaConf.create({"hydra": hydra_cfg})),
            "overrides.yaml": OmegaConf.to_yaml(hydra_cfg.overrides.task),
        },
    )


@contextlib.contextmanager
def _tracked(request: RunRequest) -> Iterator[None]:
    """Mirrors a single run into MLflow; the cells of our own sweep are mirrored by the sweep."""
    from sweeps.config import TrackingConfig
    from sweeps.paths import RunPaths
    from sweeps.tracking import Mirror

    config = request.config
    mirror = None
    in_sweep = SweepPaths(request.folder.parent).record.exists()
    if config.tracking["backend"] != "none" and not in_sweep:
        mirror = Mirror(TrackingConfig(**config.tracking), Path(config.output_dir).absolute())
        mirror.start()
    try:
        if not in_sweep:
            _check_before_tracking(config)
        if mirror is not None:
            mirror.wait_ready()
            mirror.watch_run(RunPaths(request.folder))
        yield
    except SweepsError:
        _remove_if_empty(request.folder)
        raise
    finally:
        if mirror is not None:
            mirror.close()


def _check_before_tracking(config: Config) -> None:
    """Loads data and model while MLflow connects, and refuses before anything is recorded."""
    from sweeps.runner import check

    check(config)


def _remove_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()
        folder.parent.rmdir()


def _say_result(request: RunRequest) -> None:
    import logging

    from sweeps.paths import RunPaths
    from sweeps.records import RunRecord
    from sweeps.reporting import terminal_table
    from sweeps.sweep import ui_command

    record = RunRecord.load(RunPaths(request.folder))
    assert record is not None
    log = logging.getLogger("sweeps.train")
    log.info("\n%s\n", terminal_table([(record, request.folder)]))
    log.info("In: %s", os.path.relpath(request.folder))
    if request.config.tracking["backend"] != "none":
        log.info("Compare in the browser: %s", ui_command(request.config))


if __name__ == "__main__":
    main()
