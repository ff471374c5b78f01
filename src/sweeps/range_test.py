"""lr=auto: a learning rate range test, and what it picks.

A range test (Smith 2017, arXiv:1506.01186) trains from the run's own initial weights while the rate
grows from 1e-6 to 10. It is an ordinary run with schedule=range_test, in the folder of the run or
sweep that asked for it; its pick is written beside it, so that the same command finds the same rate.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf, open_dict, read_write

from sweeps import reporting
from sweeps.closing import remove_refused
from sweeps.config import cell_name, identity, parse
from sweeps.config.identity import NOT_IDENTITY
from sweeps.config.rates import OpenRate, open_rate, rounded
from sweeps.config.saved import to_saved_yaml
from sweeps.errors import BadInputError, RunFailedError
from sweeps.interrupts import command
from sweeps.launching import Job, Slots
from sweeps.launching.slots import Slot
from sweeps.lr_curve import exploded, steepest
from sweeps.paths import RunPaths, conf_dir, range_test_paths, read_json, replace_json
from sweeps.points import read_points
from sweeps.records import RunRecord
from sweeps.runner import RunRequest, run
from sweeps.study import naming_cell

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hydra.plugins.launcher import Launcher
    from hydra.types import HydraContext
    from omegaconf import DictConfig

    from sweeps.launching import Ended
    from sweeps.loop import Report
    from sweeps.runner import Observer

log = logging.getLogger(__name__)

STEPS = 200
LARGEST_LR = 10.0
"""The first is the schedule's `start` times it."""

ITS_OWN = ("lr", "epochs", "log_every", "schedule")
"""What a range test sets itself, whatever the run has there."""


@dataclasses.dataclass(frozen=True)
class Suggestion:
    """What a range test has come to.

    Attributes:
        lr: The rate at which the loss fell fastest.
        steps: Optimizer steps that were trained.
        seconds: How long that took.
        time_ms: When it was picked.
    """

    lr: float
    steps: int
    seconds: float
    time_ms: int

    @classmethod
    def load(cls, paths: RunPaths) -> Suggestion | None:
        """Returns the pick of a range test, or None where it has not come to one."""
        fields = read_json(paths.suggested_lr)
        return None if fields is None else cls(**fields)


def pick_for_run(cfg: DictConfig, hydra_cfg: DictConfig, folder: Path) -> float:
    """Returns the rate for a single run with lr=auto, after its range test.

    Args:
        cfg: The task config.
        hydra_cfg: Hydra's own.
        folder: Of the run.

    Raises:
        BadInputError: Several rates are asked for, the range test cannot run, or it says nothing.
    """
    if open_rate(cfg) != OpenRate("auto"):
        raise BadInputError(f"lr={cfg.lr} is several rates: add -m to sweep over them.")
    test = _request(cfg, hydra_cfg, folder)
    _refuse_plan([test])
    if Suggestion.load(RunPaths(test.folder)) is None:
        try:
            run_range_test(test)
        finally:
            remove_refused(test.folder)
    return _say(test, _setting(test))


def resolve_rates(
    grid: Sequence[list[str]],
    *,
    launcher: Launcher,
    hydra_context: HydraContext,
    master: DictConfig,
) -> list[list[str]]:
    """Replaces auto and around(...) in the cells of a grid by the rates that they stand for.

    Settings that differ in lr, seed, schedule or epochs alone share a range test, with the first
    seed.

    Args:
        grid: The overrides of each cell.
        launcher: Has the pool that the range tests run in, where it is ours.
        hydra_context: Composes.
        master: The sweep's own config.

    Returns:
        The overrides of each cell, with numbers for lr.

    Raises:
        BadInputError: A rate cannot be read, or a range test cannot run or says nothing.
    """
    folder = Path(str(master.hydra.sweep.dir)).absolute()
    final, tests = list[tuple[list[str], OpenRate | None, str | None]](), dict[str, RunRequest]()
    for overrides in grid:
        with naming_cell(overrides, of=len(grid)):
            cfg = hydra_context.config_loader.load_sweep_config(master, list(overrides))
            rate, setting = open_rate(cfg), None
            if rate is not None and rate.center == "auto":
                test = _request(cfg, cfg.hydra, folder)
                setting = identity(dataclasses.replace(test.config, seed=0))
                tests.setdefault(setting, test)
        final.append((overrides, rate, setting))
    _run_all(list(tests.values()), launcher)
    labels = reporting.labels([_setting(test) for test in tests.values()])
    picks = {
        setting: _say(test, [label])
        for (setting, test), label in zip(tests.items(), labels, strict=True)
    }
    return [
        cell
        for overrides, rate, setting in final
        for cell in (
            [overrides]
            if rate is None
            else [
                with_rate(overrides, lr) for lr in rate.rates(picks[setting] if setting else None)
            ]
        )
    ]


def with_rate(overrides: Sequence[str], rate: float) -> list[str]:
    """Returns overrides with a number for lr."""
    settled = f"lr={rate:g}"
    found = [settled if _key(override) == "lr" else override for override in overrides]
    return found if settled in found else [*found, settled]


def run_range_test(request: RunRequest) -> Suggestion:
    """Trains while the rate grows, or continues it, and writes down what it picks.

    Raises:
        BadInputError: It cannot run, or its loss never fell.
        RunFailedError: The training raised.
    """
    paths = RunPaths(request.folder)
    record = RunRecord.load(paths)
    if record is None or record.outcome not in ("stopped", "diverged", "finished"):
        record = run(request, observe=_until_it_explodes(paths))
    curve = _read_curve(paths)
    rate = steepest([lr for lr, _ in curve], [loss for _, loss in curve])
    if rate is None:
        raise BadInputError(
            f"The range test says nothing: its loss never fell clearly in {len(curve)} steps from lr"
            f" {curve[0][0]:.2g} (loss {curve[0][1]:.4g}) to {curve[-1][0]:.2g} (loss"
            f" {curve[-1][1]:.4g}). Look at {os.path.relpath(paths.metrics)}, try another batch_size"
            " or optimizer, or type a number, such as lr=0.01."
        )
    found = Suggestion(rounded(rate), len(curve), record.seconds, time.time_ns() // 1_000_000)
    replace_json(paths.suggested_lr, dataclasses.asdict(found))
    return found


def _request(cfg: DictConfig, hydra_cfg: DictConfig, folder: Path) -> RunRequest:
    """Returns the range test of a config, to be run below the folder of its run or sweep."""
    if str(hydra_cfg.runtime.choices.schedule) == "range_test":
        raise BadInputError(
            "schedule=range_test grows the rate up to lr, so lr must be a number, such as lr=10;"
            " lr=auto runs a range test itself, and then the schedule that you choose."
        )
    test = OmegaConf.masked_copy(cfg, [key for key in map(str, cfg) if key != "hydra"])
    schedule = OmegaConf.load(conf_dir() / "schedule/range_test.yaml")
    with read_write(test), open_dict(test):
        # An epoch has a step at least: with so many there are enough, and the rest is not trained.
        test.lr, test.epochs, test.log_every = LARGEST_LR, STEPS, 1
        test.schedule = {**schedule, "steps": STEPS, "warmup_epochs": 0.0}
    config = parse(test)
    kept = [str(item) for item in hydra_cfg.overrides.task if _key(str(item)) not in ITS_OWN]
    overrides = [*kept, "schedule=range_test"]
    choices = {
        str(group): str(choice)
        for group, choice in hydra_cfg.runtime.choices.items()
        if choice is not None and not str(group).startswith("hydra/")
    }
    return RunRequest(
        config=config,
        folder=range_test_paths(folder, cell_name(overrides, identity(config))).folder,
        overrides=overrides,
        choices=choices | {"schedule": "range_test"},
        hydra_files={
            "config.yaml": to_saved_yaml(test),
            "hydra.yaml": OmegaConf.to_yaml(OmegaConf.create({"hydra": hydra_cfg})),
            "overrides.yaml": OmegaConf.to_yaml(overrides),
        },
    )


def _refuse_plan(tests: Sequence[RunRequest]) -> None:
    """Refuses to plan with a rate that nobody knows."""
    for test in tests:
        if test.config.plan and Suggestion.load(RunPaths(test.folder)) is None:
            raise BadInputError(
                f"lr=auto is not known yet{_for(_setting(test))}: its range test has not been run,"
                " and plan=true trains nothing. Leave plan=true out, or type numbers for lr."
            )


def _run_all(tests: Sequence[RunRequest], launcher: Launcher) -> None:
    """Runs those range tests that have no pick yet, one after another: each has the machine."""
    _refuse_plan(tests)
    missing = [test for test in tests if Suggestion.load(RunPaths(test.folder)) is None]
    pool: Any = getattr(launcher, "pool", None)  # ours; other launchers have none
    try:
        if pool is None:
            for test in missing:
                run_range_test(test)
        elif missing:
            _run_in_pool(missing, pool)
    except KeyboardInterrupt:
        log.warning("Interrupted. To continue: %s", command(missing[0].config.name))
        raise
    finally:
        for test in missing:
            remove_refused(test.folder)
            with contextlib.suppress(OSError):  # of a sweep that never began
                test.folder.parents[1].rmdir()


def _run_in_pool(tests: Sequence[RunRequest], pool: Any) -> None:
    def call(test: RunRequest) -> Callable[[], Suggestion]:
        return functools.partial(_in_process, test)

    def failed(ended: Ended) -> bool:
        return ended.returned is None

    jobs = [
        Job(number, functools.partial(call, test), log=str(RunPaths(test.folder).log))
        for number, test in enumerate(tests)
    ]
    one_at_a_time = Slots(None, {"cpu": [Slot()]})
    waiting = iter(jobs)
    for ended in pool.run(
        lambda: next(waiting, None), one_at_a_time, on_end=failed, on_tick=lambda _: None
    ):
        with naming_cell(tests[ended.job.number].overrides, of=len(tests)):
            if ended.raised is not None:
                raise ended.raised
            if ended.death is not None:
                raise RunFailedError(f"The range test did not end: its {ended.death}.")


def _in_process(test: RunRequest) -> Suggestion:
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    return run_range_test(test)


def _until_it_explodes(paths: RunPaths) -> Observer:
    """Returns an observer that ends a range test at its last step, or when its loss explodes."""
    losses = {
        point["step"]: point["value"]
        for point in read_points(paths.metrics)
        if point["key"] == "train_loss"
    }

    def observe(report: Report) -> str | None:
        if "train_loss" in report.metrics:
            losses[report.step] = report.metrics["train_loss"]
        # What an earlier part has written after its checkpoint is trained again.
        seen = [loss for step, loss in losses.items() if step <= report.step]
        return "stopped" if report.step >= STEPS or exploded(seen) else None

    return observe


def _read_curve(paths: RunPaths) -> list[tuple[float, float]]:
    """Returns the rate and the loss of each step."""
    points = read_points(paths.metrics)
    rates, losses = (
        {point["step"]: point["value"] for point in points if point["key"] == key}
        for key in ("lr", "train_loss")
    )
    return [(rates[step], losses[step]) for step in sorted(losses)]


def _say(test: RunRequest, setting: Sequence[str]) -> float:
    found = Suggestion.load(RunPaths(test.folder))
    assert found is not None
    log.info(
        "Range test%s: lr %g (loss fell fastest there; %d steps, %.1f s)",
        _for(setting),
        found.lr,
        found.steps,
        found.seconds,
    )
    return found.lr


def _for(setting: Sequence[str]) -> str:
    words = " ".join(setting)
    return f" for {words}" if words else ""


def _setting(test: RunRequest) -> list[str]:
    """Returns what was typed for a range test and changes it."""
    return [item for item in test.overrides if _key(item) not in (*ITS_OWN, "seed", *NOT_IDENTITY)]


def _key(override: str) -> str:
    return override.lstrip("+~").partition("=")[0].partition(".")[0].partition("@")[0]
