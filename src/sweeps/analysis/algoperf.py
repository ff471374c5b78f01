"""Writes runs in the log format that AlgoPerf's scoring reads, so that it can judge them itself.

https://github.com/mlcommons/algorithmic-efficiency, `scoring/`: a folder for each submission, in it
study_*/WORKLOAD_pytorch/trial_*/eval_measurements.csv.
"""

from __future__ import annotations

import csv
import io
import json
import re
from typing import TYPE_CHECKING

from sweeps.analysis.axes import SEED, in_order
from sweeps.analysis.training_time import training_seconds
from sweeps.errors import BadInputError
from sweeps.files import replace_json, replace_text
from sweeps.runs.results import curves

if TYPE_CHECKING:
    from pathlib import Path

    from sweeps.analysis.contenders import Contender
    from sweeps.analysis.workloads import Suite, Workload
    from sweeps.runs.metrics import Point
    from sweeps.runs.results import RunResult


COLUMNS = ("accumulated_submission_time", "global_step", "score")


def export(suite: Suite, folder: Path) -> int:
    """Writes one submission for each contender, one study for each seed, one trial for each setting.

    Beside the measurements lie hparams.json, the settings of a trial, and target.json, the metric and
    the value that a workload's contenders are to come to: AlgoPerf's scoring has its own targets for its
    own workloads alone and has to be told ours.

    Args:
        suite: What to write.
        folder: Is made; it must not hold anything yet.

    Returns:
        How many trials were written.

    Raises:
        BadInputError: The folder holds something, or cannot be written.
    """
    try:
        if folder.is_dir() and any(folder.iterdir()):
            raise BadInputError(f"--export-algoperf {folder} is not empty. Name a new folder.")
        return sum(
            _write_entrant(entrant, workload, folder / _plain(entrant.value))
            for workload in suite.workloads
            for entrant in workload.entrants
        )
    except OSError as error:
        raise BadInputError(
            f"Cannot write {folder}: {error.strerror}. Name another folder with --export-algoperf."
        ) from error


def _write_entrant(entrant: Contender, workload: Workload, submission: Path) -> int:
    runs = [run for setting in entrant.settings for run in setting.runs]
    seeds = in_order(run.settings.get(SEED, "") for run in runs)
    written = 0
    for trial, setting in enumerate(entrant.settings, start=1):
        for run in setting.runs:
            study = submission / f"study_{seeds.index(run.settings.get(SEED, ''))}"
            where = study / f"{_plain(workload.name)}_pytorch"
            _write_trial(run, where / f"trial_{trial}", dict(setting.settings))
            if workload.target is not None:
                aim = {"metric": _theirs(workload.target.metric), "target": workload.target.value}
                replace_json(where / "target.json", aim)
            written += 1
    return written


def _write_trial(run: RunResult, folder: Path, settings: dict[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    split = run.objective.partition("_")[0]
    metrics = [f"{split}_accuracy", f"{split}_loss"]
    found = {metric: curves([run], metric).get(run.key, []) for metric in metrics}
    replace_text(folder / "eval_measurements.csv", _table(run, found))
    replace_text(folder / "hparams.json", json.dumps(settings, indent=2) + "\n")


def _table(run: RunResult, found: dict[str, list[Point]]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*COLUMNS, *map(_theirs, found)])
    longest = max(found.values(), key=len)
    seconds = training_seconds(run, longest) if longest else []
    values = {metric: {p.step: p.value for p in points} for metric, points in found.items()}
    for point, spent in zip(longest, seconds, strict=True):
        row = [values[metric].get(point.step, "") for metric in found]
        writer.writerow([spent, point.step, spent, *row])
    return file.getvalue()


def _theirs(metric: str) -> str:
    """Returns AlgoPerf's name of a metric; what chooses is validation to it, whatever the images."""
    return f"validation/{metric.partition('_')[2]}"


def _plain(name: str) -> str:
    """Returns a name that is one folder and one word."""
    return re.sub(r"[^\w.=-]+", "_", name).lstrip(".") or "_"
