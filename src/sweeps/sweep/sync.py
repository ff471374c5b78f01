"""Sends to a store what it does not have yet of runs and sweeps."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING

from sweeps.errors import BadInputError
from sweeps.runs.paths import RunPaths, SweepPaths, range_tests

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sweeps.config import TrackingConfig
    from sweeps.tracking import Tracker


def sync(
    folders: Sequence[Path],
    *,
    uri: str | None,
    experiment: str | None,
    trackers: Sequence[str] = (),
) -> bool:
    """Sends all runs of some folders and says what was done; returns whether all is sent.

    Args:
        folders: Of runs, of sweeps, or of many of them.
        uri: The MLflow store; None: the one that the runs were made with.
        experiment: The experiment of MLflow; None: the one that the runs were made with.
        trackers: A person's own ones, by the names of their classes, which are trusted.

    Raises:
        BadInputError: A folder holds no run, or the store does not answer.
    """
    from sweeps.runs.resume import close_orphan, close_orphan_sweep
    from sweeps.tracking import Mirror

    complete = True
    for folder in (found for given in folders for found in _runs_and_sweeps(given.absolute())):
        sweep = SweepPaths(folder)
        runs = sweep.cells() if sweep.record.exists() else [RunPaths(folder)]
        closed = sum(close_orphan(paths) for paths in [*runs, *range_tests(folder)])
        closed += close_orphan_sweep(sweep)
        _judge(sweep)
        tracking = _tracking(runs, uri=uri, experiment=experiment)
        mirror = Mirror(_trackers(tracking, folder.parents[1], trackers))
        mirror.start()
        mirror.wait_ready(otherwise="or name another with --uri URI")
        if sweep.record.exists():
            mirror.watch_sweep(sweep)
        else:
            mirror.watch_run(runs[0])
        mirror.close(timeout_s=math.inf)  # it ends by itself where the store takes nothing
        orphans = f", {closed} closed whose process was gone" if closed else ""
        state = "all is sent" if mirror.complete else "not all is sent"
        logging.getLogger("sweeps.sync").info(
            "%s: %d runs, %s%s", folder, len(runs), state, orphans
        )
        complete = complete and mirror.complete
    return complete


def _judge(paths: SweepPaths) -> None:
    """Writes down the best value of a sweep whose command did not: it was killed, or is older."""
    from sweeps.analysis.ranking import rank
    from sweeps.runs.record import SweepRecord
    from sweeps.runs.results import read_folder

    record = SweepRecord.load(paths)
    if record is None or record.status == "RUNNING" or record.best_value is not None:
        return
    record.best_value = rank(read_folder(paths.folder)).best_value(record.objective)
    if record.best_value is not None:
        record.save(paths)


def _runs_and_sweeps(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise BadInputError(f"{folder} is no folder. Type the folder of a run or a sweep.")
    if RunPaths(folder).record.exists() and SweepPaths(folder.parent).record.exists():
        return [folder.parent]  # a cell is sent with its sweep, below its parent
    if RunPaths(folder).record.exists() or SweepPaths(folder).record.exists():
        return [folder]
    found = sorted({path.parent for path in folder.glob("*/*/run.json")})
    alone = [path for path in found if not SweepPaths(path.parent).record.exists()]
    sweeps = sorted({path.parent for path in folder.glob("*/*/sweep.json")})
    inside = sorted({path.parent for path in folder.glob("*/sweep.json")})
    if not (alone or sweeps or inside):
        raise BadInputError(
            f"{folder} holds no run. Type the folder of a run or a sweep, or outputs for all."
        )
    return [*alone, *sweeps, *inside]


def _tracking(
    runs: Sequence[RunPaths], *, uri: str | None, experiment: str | None
) -> TrackingConfig:
    """Returns where the runs were tracked."""
    from omegaconf import OmegaConf

    from sweeps.config import TrackingConfig

    saved = next((paths.config for paths in runs if paths.config.exists()), None)
    tracking = OmegaConf.load(saved).tracking if saved is not None else {}
    return TrackingConfig(
        backend="mlflow",
        uri=uri or tracking.get("uri"),
        experiment=experiment or tracking.get("experiment"),
        tensorboard=bool(tracking.get("tensorboard")),
    )


def _trackers(config: TrackingConfig, output_dir: Path, own: Sequence[str]) -> list[Tracker]:
    from sweeps.tracking import built_in_trackers, own_tracker

    theirs = [own_tracker(name, output_dir, trusted=(name.partition(".")[0],)) for name in own]
    return built_in_trackers(config, output_dir) + theirs
