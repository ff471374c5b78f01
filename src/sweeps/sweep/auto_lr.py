"""lr=auto and lr='around(auto, 5)': plain numbers in the place of words, before there is a run."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import pickle
import sys
from typing import TYPE_CHECKING, Any

from sweeps.config import identity
from sweeps.config.conditions import number
from sweeps.config.identity import labels_of
from sweeps.config.lr_values import OpenRate, open_rate
from sweeps.errors import BadInputError, RunFailedError
from sweeps.launchers.launcher import Job
from sweeps.launchers.slots import Need
from sweeps.runs.paths import RunPaths
from sweeps.runs.range_test import Suggestion, key_of, range_test_of, run_range_test, setting_of
from sweeps.runs.resume import remove_refused
from sweeps.sweep.cell import naming_cell
from sweeps.sweep.interruption import saying_how_to_continue

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from omegaconf import DictConfig

    from sweeps.launchers.channel import Channel
    from sweeps.launchers.launcher import Ended, Launcher
    from sweeps.runs.runner import RunRequest
    from sweeps.sweep.cell import Composition


log = logging.getLogger(__name__)


def pick_for_run(cfg: DictConfig, hydra_cfg: Any, folder: Path) -> float:
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
    test = range_test_of(cfg, hydra_cfg, folder)
    _refuse_plan([test])
    if Suggestion.load(RunPaths(test.folder)) is None:
        try:
            run_range_test(test)
        finally:
            remove_refused(test.folder)
    return _say(test, setting_of(test))


def resolve_rates(
    grid: Sequence[list[str]],
    *,
    launcher: Launcher,
    composition: Composition,
    command: str | None = None,
) -> list[tuple[list[str], bytes | None]]:
    """Replaces auto and around(...) in the cells of a grid by the rates that they stand for.

    Settings that differ in lr, seed, schedule or epochs alone share a range test, with the first
    seed and epochs.

    Args:
        grid: The overrides of each cell.
        launcher: Runs the range tests.
        composition: Composes.
        command: What continues the sweep, as a person types it; None where nobody typed one.

    Returns:
        The overrides of each cell, with numbers for lr, and what they were composed to where its
        rate had to be looked up, pickled.

    Raises:
        BadInputError: A rate cannot be read, or a range test cannot run or says nothing.
    """
    asked = list[_Asked]()
    tests: dict[str, RunRequest] = {}
    for overrides in grid:
        if any(word.startswith("lr=") and number(word[3:]) is not None for word in overrides):
            asked.append(_Asked(overrides))
            continue
        with naming_cell(overrides, of=len(grid)):
            cfg = composition.compose(overrides)
            rate, setting = open_rate(cfg), ""
            if rate is not None and rate.center == "auto":
                test = range_test_of(cfg, cfg.hydra, composition.folder)
                setting = identity(dataclasses.replace(test.config, seed=0, epochs=1))
                tests.setdefault(setting, test)
        composed = pickle.dumps(cfg) if rate is None else None
        asked.append(_Asked(overrides, composed, rate, setting))
    with saying_how_to_continue(command):
        _run_all(list(tests.values()), launcher)
    picks = _say_all(tests)
    return [settled for one in asked for settled in one.settled(picks)]


@dataclasses.dataclass(frozen=True)
class _Asked:
    """A cell as it was typed.

    Attributes:
        overrides: Its own.
        composed: What they were composed to, where that is the cell.
        rate: The rates that stand for it.
        setting: Names the range test that picks them.
    """

    overrides: list[str]
    composed: bytes | None = None
    rate: OpenRate | None = None
    setting: str = ""

    def settled(self, picks: Mapping[str, float]) -> list[tuple[list[str], bytes | None]]:
        """Returns it with numbers for lr."""
        if self.rate is None:
            return [(self.overrides, self.composed)]
        rates = self.rate.rates(picks.get(self.setting))
        return [(with_rate(self.overrides, lr), None) for lr in rates]


def with_rate(overrides: Sequence[str], rate: float) -> list[str]:
    """Returns overrides with a number for lr."""
    settled = f"lr={rate:g}"
    found = [settled if key_of(override) == "lr" else override for override in overrides]
    return found if settled in found else [*found, settled]


def _refuse_plan(tests: Sequence[RunRequest]) -> None:
    """Refuses to plan with a rate that nobody knows."""
    for test in tests:
        if test.config.plan and Suggestion.load(RunPaths(test.folder)) is None:
            raise BadInputError(
                f"lr=auto is not known yet{_for(setting_of(test))}: its range test has not been run,"
                " and plan=true trains nothing. Leave plan=true out, or type numbers for lr."
            )


def _run_all(tests: Sequence[RunRequest], launcher: Launcher) -> None:
    """Runs those range tests that have no pick yet, one after another: each has the machine."""
    _refuse_plan(tests)
    missing = [test for test in tests if Suggestion.load(RunPaths(test.folder)) is None]
    try:
        if missing:
            _run_each(missing, launcher)
    finally:
        for test in missing:
            remove_refused(test.folder)
            with contextlib.suppress(OSError):  # of a sweep that never began
                test.folder.parents[1].rmdir()


def _run_each(tests: Sequence[RunRequest], launcher: Launcher) -> None:
    def call(test: RunRequest) -> Callable[[Channel | None], Suggestion]:
        return functools.partial(_in_process, test)

    def failed(ended: Ended) -> bool:
        return ended.returned is None

    waiting = (
        Job(number, functools.partial(call, test), log=str(RunPaths(test.folder).log))
        for number, test in enumerate(tests)
    )
    one_at_a_time = launcher.slots(Need(runs=1, workers=1))
    for ended in launcher.run(lambda: next(waiting, None), one_at_a_time, on_end=failed):
        with naming_cell(tests[ended.job.number].overrides, of=len(tests)):
            if ended.raised is not None:
                raise ended.raised
            if ended.death is not None:
                raise RunFailedError(f"The range test did not end: its {ended.death}.")


def _in_process(test: RunRequest, channel: Channel | None) -> Suggestion:  # noqa: ARG001
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    return run_range_test(test)


def _say_all(tests: dict[str, RunRequest]) -> dict[str, float]:
    labels = labels_of([setting_of(test) for test in tests.values()])
    return {
        setting: _say(test, [label] if label else [])
        for (setting, test), label in zip(tests.items(), labels, strict=True)
    }


def _say(test: RunRequest, setting: Sequence[str]) -> float:
    found = Suggestion.load(RunPaths(test.folder))
    assert found is not None
    if not found.tried:
        log.info("Range test%s: lr %g (picked by an earlier version)", _for(setting), found.lr)
        return found.lr
    log.info(
        "Range test%s: lr %g (from short trainings at %d rates; %d steps in all, %.0f %% of a whole"
        " training's, %.1f s)",
        _for(setting),
        found.lr,
        len(found.tried),
        found.steps,
        100 * found.steps / max(1, found.of),
        found.seconds,
    )
    return found.lr


def _for(setting: Sequence[str]) -> str:
    words = " ".join(setting)
    return f" for {words}" if words else ""
