"""What a comparison needs to know of a run, whoever kept it: a folder or a tracking store."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from sweeps.config.schema import BEFORE_IN_ALL
from sweeps.errors import BadInputError
from sweeps.files import lock_holder, read_json
from sweeps.runs.metrics import is_finite, read_metric
from sweeps.runs.outcome import Outcome
from sweeps.runs.paths import RunPaths, SweepPaths
from sweeps.runs.record import RunRecord, SweepRecord, dirty_word, ending
from sweeps.training.objective import maximised, measured_by

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from sweeps.runs.metrics import Point


CHANGES = {
    "true": " with uncommitted changes",
    "unknown": ", perhaps with uncommitted changes",
}
"""What is said of a commit, by `sweeps.records.dirty_word`."""


class History(Protocol):
    """Gives the points of runs when they are asked for, which most are not."""

    def load(self, keys: Sequence[str], metric: str) -> Mapping[str, list[Point]]:
        """Returns the points of a metric by the key of the run, ordered by step."""
        ...


@dataclass(frozen=True)
class RunResult:
    """One run.

    Attributes:
        key: Names the run in its history.
        identity: Hash of everything that determines the result; '' where it is not known.
        name: As shown.
        sweep: Name of its sweep; '' for a run alone.
        settings: Every choice and value as text, by dotted name.
        outcome: finished, diverged, pruned, failed, interrupted or running.
        value: The objective at the best epoch, where there is one that is finite.
        epochs_done: Epochs it has come to; 0 where it is not known.
        epochs: Epochs it was to have; 0 where it is not known.
        metrics: Values at the best epoch.
        start_loss: Loss of the first batch before the first step, where it is known.
        data: Name, digest and sizes of the data it was trained and measured on.
        classes: Names of the classes, where they are known.
        overrides: What was typed for it.
        about: Device, threads, code and library versions.
        folder: Where its files are, where they are on this disk.
        run_id: Its MLflow id, where it has one.
        experiment_id: Its MLflow experiment, where it has one.
    """

    key: str
    name: str
    objective: str
    outcome: Outcome
    started_ms: int
    history: History = field(repr=False, compare=False)
    identity: str = ""
    sweep: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    value: float | None = None
    best_epoch: int | None = None
    epochs_done: int = 0
    epochs: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    error: str | None = None
    start_loss: float | None = None
    data: Mapping[str, str] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    about: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None
    run_id: str | None = None
    experiment_id: str | None = None

    @property
    def ending(self) -> str:
        """Its outcome in words, such as 'pruned at epoch 3 of 27'."""
        return ending(self.outcome, self.epochs_done, self.epochs)


@dataclass(frozen=True)
class SweepResult:
    """One sweep: how it was started and how many runs it was to have."""

    name: str
    command: str
    cells: int
    folder: Path | None = None
    run_id: str | None = None


@dataclass(frozen=True)
class Collection:
    """Runs to compare, the sweeps they come from, and what could not be read."""

    runs: tuple[RunResult, ...]
    sweeps: tuple[SweepResult, ...] = ()
    notices: tuple[str, ...] = ()

    def __add__(self, other: Collection) -> Collection:
        known = {run.key for run in self.runs}
        return Collection(
            self.runs + tuple(run for run in other.runs if run.key not in known),
            self.sweeps + tuple(sweep for sweep in other.sweeps if sweep not in self.sweeps),
            self.notices + other.notices,
        )


def curves(runs: Iterable[RunResult], metric: str) -> dict[str, list[Point]]:
    """Returns the finite points of a metric for each run that has any, by the run's key."""
    by_history: dict[int, tuple[History, list[str]]] = {}
    for run in runs:
        by_history.setdefault(id(run.history), (run.history, []))[1].append(run.key)
    found: dict[str, list[Point]] = {}
    for history, keys in by_history.values():
        for key, points in history.load(keys, metric).items():
            finite = [point for point in points if is_finite(point.value)]
            if finite:
                found[key] = finite
    return found


class FolderHistory:
    """Reads the points of run folders."""

    def __init__(self) -> None:
        self.files: dict[str, Path] = {}

    def load(self, keys: Sequence[str], metric: str) -> dict[str, list[Point]]:
        """Returns the points of a metric by the key of the run, ordered by step."""
        return {key: read_metric(self.files[key], metric) for key in keys}


def read_folder(folder: Path, known: Mapping[Path, RunRecord] | None = None) -> Collection:
    """Reads a sweep's folder, or the folder of one run.

    A record that is damaged is left out, with a notice.

    Args:
        folder: Of the sweep or the run.
        known: Records that need not be read again, by folder.
    """
    paths = SweepPaths(folder)
    alone = RunPaths(folder).record.exists()
    cells = [RunPaths(folder)] if alone else paths.cells()
    history, runs, notices = FolderHistory(), [], []
    sweep, name = None, ""
    if not alone:
        try:
            sweep = SweepRecord.load(paths)
        except BadInputError as error:
            notices.append(str(error))
        name = sweep.name if sweep else folder.name
    for cell in cells:
        try:
            record = (known or {}).get(cell.folder) or RunRecord.load(cell)
        except (BadInputError, TypeError, ValueError) as error:
            notices.append(f"Left out: {str(error).partition('. Delete')[0]}.")
            continue
        if record is not None:
            runs.append(_with_files(result_of(record, cell, history, name), record, cell))
    sweeps = []
    if sweep is not None:
        run_id = (_read_mirror(paths.mirror)).get("run_id")
        sweeps = [SweepResult(sweep.name, sweep.command, sweep.cells, folder, run_id)]
    return Collection(tuple(runs), tuple(sweeps), tuple(notices))


def result_of(
    record: RunRecord, paths: RunPaths, history: FolderHistory | None = None, sweep: str = ""
) -> RunResult:
    """Returns what a record says of its run; no file is read.

    Args:
        record: The run's record.
        paths: Its folder.
        history: Learns where its points are, for who asks for them later.
        sweep: Name of its sweep.
    """
    history = history or FolderHistory()
    history.files[record.key] = paths.metrics
    outcome, value = record.outcome or _outcome_by_status(record), record.objective_value
    return RunResult(
        key=record.key,
        identity=record.identity,
        name=record.name,
        sweep=sweep,
        objective=record.objective,
        outcome=Outcome.DIVERGED
        if outcome == Outcome.FINISHED and not is_finite(value)
        else outcome,
        started_ms=record.started_ms,
        history=history,
        settings=as_settings({**record.params, **record.choices}),
        value=value if is_finite(value) else None,
        best_epoch=record.best_epoch,
        epochs_done=record.epochs_done,
        epochs=record.epochs,
        metrics=record.metrics,
        seconds=record.seconds,
        error=record.error,
        start_loss=record.start_loss,
        data={key: text(value) for key, value in record.dataset.items()},
        classes=tuple(record.classes),
        overrides=tuple(record.overrides),
        about=_about(record),
        folder=paths.folder,
    )


def as_settings(flat: Mapping[str, Any]) -> dict[str, str]:
    """Returns params as text, without those that only say where and how a run is kept.

    Runs made before there was a key have what stood for it then.
    """
    hidden = ("name", "output_dir", "trusted_targets", "log_every", "objective", "experiment")
    later = BEFORE_IN_ALL if "objective" in flat else {}  # others' runs have none of our keys
    return {
        key: text(value)
        for key, value in {**later, **flat}.items()
        if key not in hidden and key.partition(".")[0] != "tracking"
    }


def best_point(points: Sequence[Point], metric: str) -> tuple[float | None, int | None]:
    """Returns the best value of evaluations and its epoch, counted from 1."""
    finite = [(p.value, epoch) for epoch, p in enumerate(points, 1) if is_finite(p.value)]
    if not finite:
        return None, None
    sign = -1 if maximised(metric) else 1
    return min(finite, key=lambda pair: (sign * pair[0], pair[1]))


def text(value: Any) -> str:
    """Returns a setting as Hydra would show it; a store has made text of it before."""
    shown = str(value)
    return {"None": "null", "True": "true", "False": "false"}.get(shown, shown)


def _outcome_by_status(record: RunRecord) -> Outcome:
    return Outcome.of_status(record.status)


def _with_files(result: RunResult, record: RunRecord, paths: RunPaths) -> RunResult:
    """Returns a result with what the record does not say: its place in MLflow, how far it is."""
    mirror = _read_mirror(paths.mirror)
    experiment = str(mirror.get("experiment", "")).partition("@")[0] or None
    result = replace(result, run_id=mirror.get("run_id"), experiment_id=experiment)
    if record.outcome is not None:
        return result
    # run.json learns these at the end.
    points = read_metric(paths.metrics, measured_by(record.objective))
    value, best_epoch = best_point(points, record.objective)
    # A run that was killed left RUNNING behind, and nobody holds its lock.
    lost = record.status == "RUNNING" and lock_holder(paths.lock) is None
    return replace(
        result,
        outcome=Outcome.INTERRUPTED if lost else result.outcome,
        value=value,
        best_epoch=best_epoch,
        epochs_done=len(points),
    )


def _about(record: RunRecord) -> dict[str, str]:
    packages = record.environment.get("packages", {})
    about = {
        "device": record.device,
        "CPU threads": str(record.threads),
        "Python": str(record.environment.get("python", "")),
        "platform": str(record.environment.get("platform", "")),
        **{name: packages.get(name, "") for name in ("torch", "torchvision", "numpy")},
    }
    if record.git:
        dirty = CHANGES.get(dirty_word(record.git), "")
        about["git commit"] = f"{record.git.get('commit', '')}{dirty}"
    return {key: value for key, value in about.items() if value}


def _read_mirror(path: Path) -> dict[str, Any]:
    try:
        return read_json(path) or {}
    except json.JSONDecodeError:
        return {}  # the mirror's own note; only links are lost
