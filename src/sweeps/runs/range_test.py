"""A learning rate range test (Smith 2017, arXiv:1506.01186): an ordinary run, and what it picks.

It trains from the run's own initial weights while the rate grows from 1e-6 to 10. It lives in the
folder of the run or sweep that asked for it; its pick is written beside it, so that the same command
finds the same rate.
"""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf, open_dict, read_write

from sweeps.config import cell_name, identity, parse
from sweeps.config.identity import NOT_IDENTITY
from sweeps.config.locations import conf_dir
from sweeps.config.lr_values import rounded
from sweeps.config.saved import choices, hydra_files
from sweeps.errors import BadInputError
from sweeps.files import read_json, replace_json
from sweeps.runs.metrics import read_points
from sweeps.runs.paths import RunPaths, range_test_paths
from sweeps.runs.record import RunRecord, now_ms
from sweeps.runs.runner import RunRequest, run
from sweeps.training.lr_curve import exploded, steepest

if TYPE_CHECKING:
    from pathlib import Path

    from omegaconf import DictConfig

    from sweeps.runs.runner import Observer
    from sweeps.training.trainer import Report


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


def range_test_of(cfg: DictConfig, hydra_cfg: Any, folder: Path) -> RunRequest:
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
    kept = [str(item) for item in hydra_cfg.overrides.task if key_of(str(item)) not in ITS_OWN]
    overrides = [*kept, "schedule=range_test"]
    return RunRequest(
        config=config,
        folder=range_test_paths(folder, cell_name(overrides, identity(config))).folder,
        overrides=overrides,
        choices=choices(hydra_cfg) | {"schedule": "range_test"},
        hydra_files=hydra_files(test, hydra_cfg, overrides),
    )


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
    found = Suggestion(rounded(rate), len(curve), record.seconds, now_ms())
    replace_json(paths.suggested_lr, dataclasses.asdict(found))
    return found


def setting_of(test: RunRequest) -> list[str]:
    """Returns what was typed for a range test and changes it."""
    return [
        item for item in test.overrides if key_of(item) not in (*ITS_OWN, "seed", *NOT_IDENTITY)
    ]


def key_of(override: str) -> str:
    """Returns the group or value that an override sets, such as 'optimizer' for optimizer.lr=1."""
    return override.lstrip("+~").partition("=")[0].partition(".")[0].partition("@")[0]


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
