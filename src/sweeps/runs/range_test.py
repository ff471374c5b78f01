"""A learning rate range test (Smith 2017, arXiv:1506.01186): an ordinary run, and what it picks.

It trains from the run's own initial weights while the rate grows from 1e-3 to 10. Above the rate at which
its loss was least begin a few short trainings, which settle the pick (`lr_trials`). It lives in the folder
of the run or sweep that asked for it; the pick is written beside it, so that the same command finds the
same rate.
"""

from __future__ import annotations

import dataclasses
import os
import time
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from sweeps.config import cell_name, identity, parse
from sweeps.config.config import NOT_IDENTITY
from sweeps.config.locations import conf_dir
from sweeps.config.lr_values import rounded
from sweeps.config.saved import choices, hydra_files
from sweeps.errors import BadInputError
from sweeps.files import read_json, replace_json
from sweeps.runs.metrics import read_metric
from sweeps.runs.outcome import Outcome
from sweeps.runs.paths import RunPaths, range_test_paths
from sweeps.runs.record import RunRecord, now_ms
from sweeps.runs.runner import RunRequest, run
from sweeps.training.lr_curve import exploded, lowest
from sweeps.training.lr_trials import SPACING, choose, descend, hopeless, score, trial_steps

if TYPE_CHECKING:
    from pathlib import Path

    from sweeps.config import Config
    from sweeps.runs.runner import Observer
    from sweeps.training.protocol import Report


STEPS = 12
LARGEST_LR = 10.0
FIRST_SHARE = 1e-4
"""The first rate, of the largest: one below 1e-3 lowers no loss in so few steps."""

EARLIER_STEPS, EARLIER_FIRST_SHARE = 200, 1e-7
"""Of the range tests of an earlier version: a pick of theirs is kept."""

ITS_OWN = ("lr", "log_every", "schedule")
"""What a range test sets itself, whatever the run has there."""


@dataclasses.dataclass(frozen=True)
class Suggestion:
    """What a range test has come to.

    Attributes:
        lr: The rate to train with.
        steps: Optimizer steps that were trained to find it.
        seconds: How long that took.
        time_ms: When it was picked.
        of: Optimizer steps of a whole training.
        tried: The loss at the end of each short training by its rate, None where that was hopeless.
    """

    lr: float
    steps: int
    seconds: float
    time_ms: int
    of: int = 0
    tried: dict[str, float | None] = dataclasses.field(default_factory=dict)

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
        test.lr, test.log_every = LARGEST_LR, 1
        test.schedule = {**schedule, "start": FIRST_SHARE, "steps": STEPS, "warmup_epochs": 0.0}
    config = parse(test)
    kept = [str(item) for item in hydra_cfg.overrides.task if key_of(str(item)) not in ITS_OWN]
    overrides = [*kept, "schedule=range_test"]
    return RunRequest(
        config=config,
        folder=_earlier_pick(config, folder)
        or range_test_paths(folder, cell_name(overrides, identity(config))).folder,
        overrides=overrides,
        choices=choices(hydra_cfg) | {"schedule": "range_test"},
        hydra_files=hydra_files(test, hydra_cfg, overrides),
    )


def _earlier_pick(config: Config, folder: Path) -> Path | None:
    """Returns the folder of a range test of an earlier version that has picked a rate for the same."""
    own = {"start": EARLIER_FIRST_SHARE, "steps": EARLIER_STEPS}
    schedule = dataclasses.replace(config.schedule, arguments={**config.schedule.arguments, **own})
    before = dataclasses.replace(config, schedule=schedule, epochs=EARLIER_STEPS)
    there = range_test_paths(folder, f"*-{identity(before)[:8]}").suggested_lr
    return next((found.parent for found in folder.glob(str(there.relative_to(folder)))), None)


def run_range_test(request: RunRequest) -> Suggestion:
    """Trains while the rate grows, or continues it, then shortly at a few rates; writes down the pick.

    Raises:
        BadInputError: It cannot run, or no rate lowered the loss.
        RunFailedError: The training raised.
    """
    paths = RunPaths(request.folder)
    record = RunRecord.load(paths)
    outcome = record.outcome if record else None
    if record is None or not (outcome and (outcome.is_whole or outcome is Outcome.STOPPED)):
        record = run(request, observe=_until_it_explodes(paths))
    curve, started = _read_curve(paths), time.monotonic()
    momentum = request.config.optimizer.arguments.get("momentum", 0.0)
    trials = _Trials(request, threads=record.threads, steps=trial_steps(record.steps, momentum))
    tried = descend(trials.score_at, min(LARGEST_LR, SPACING * lowest(curve)))
    rate = choose(
        tried,
        first_loss=curve[0][1],
        momentum=momentum,
        steps=trials.steps,
    )
    if rate is None:
        raise BadInputError(
            f"lr=auto finds nothing: no training of {trials.steps} steps at one of {len(tried)} rates"
            f" from {max(tried):.2g} down to {min(tried):.2g} brought the loss below its first value,"
            f" {curve[0][1]:.4g}. Look at {os.path.relpath(paths.metrics)}, try another batch_size or"
            " optimizer, or type a number, such as lr=0.01."
        )
    found = Suggestion(
        lr=rounded(rate),
        steps=len(curve) + trials.spent,
        seconds=record.seconds + time.monotonic() - started,
        time_ms=now_ms(),
        of=record.steps,
        tried={f"{rate:.3g}": value for rate, value in tried.items()},
    )
    replace_json(paths.suggested_lr, dataclasses.asdict(found))
    return found


def setting_of(test: RunRequest) -> list[str]:
    """Returns what was typed for a range test and changes it."""
    return [
        item
        for item in test.overrides
        if key_of(item) not in (*ITS_OWN, "epochs", "seed", *NOT_IDENTITY)
    ]


def key_of(override: str) -> str:
    """Returns the group or value that an override sets, such as 'optimizer' for optimizer.lr=1."""
    return override.lstrip("+~").partition("=")[0].partition(".")[0].partition("@")[0]


class _Trials:
    """Trains shortly at one rate after another, each time from the run's own initial weights.

    Args:
        request: The range test.
        threads: CPU threads of its run.
        steps: Optimizer steps of each.
    """

    def __init__(self, request: RunRequest, *, threads: int, steps: int) -> None:
        self._request, self._threads = request, threads
        self.steps, self.spent = steps, 0

    def score_at(self, rate: float) -> float | None:
        """Returns the loss at the end of a short training, or None where it is hopeless."""
        import torch

        from sweeps.runs.build import build_trainer

        torch.set_num_threads(self._threads)
        trainer, _ = build_trainer(self._config(rate))
        losses: list[float] = []
        for report in trainer.run():
            if "train_loss" in report.metrics:
                losses.append(report.metrics["train_loss"])
            if losses and (len(losses) == self.steps or hopeless(losses)):
                break
        self.spent += len(losses)
        return None if hopeless(losses) else score(losses)

    def _config(self, rate: float) -> Config:
        """Returns the run's config at a constant rate, wherever it refers to the rate."""
        values = OmegaConf.create(self._request.hydra_files["config.yaml"])
        assert isinstance(values, DictConfig)
        constant = OmegaConf.load(conf_dir() / "schedule/constant.yaml")
        values.lr, values.schedule = rate, {**constant, "warmup_epochs": 0.0}
        return parse(values)


def _until_it_explodes(paths: RunPaths) -> Observer:
    """Returns an observer that ends a range test at its last step, or when its loss explodes."""
    losses = {point.step: point.value for point in read_metric(paths.metrics, "train_loss")}

    def observe(report: Report) -> Outcome | None:
        if "train_loss" in report.metrics:
            losses[report.step] = report.metrics["train_loss"]
        # What an earlier part has written after its checkpoint is trained again.
        seen = [loss for step, loss in losses.items() if step <= report.step]
        return Outcome.STOPPED if report.step >= STEPS or exploded(seen) else None

    return observe


def _read_curve(paths: RunPaths) -> list[tuple[float, float]]:
    """Returns the rate and the loss of each step; the rate grows."""
    rates, losses = (
        {point.step: point.value for point in read_metric(paths.metrics, key)}
        for key in ("lr", "train_loss")
    )
    return [(rates[step], losses[step]) for step in sorted(losses)]
