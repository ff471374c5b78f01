"""What a tracker is told of a run or a sweep, from its record and the files beside it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Literal

from sweeps.files import read_json
from sweeps.runs.metrics import Point
from sweeps.runs.outcome import Outcome
from sweeps.runs.record import RunRecord, SweepRecord
from sweeps.tracking.tracker import Ending, RunToTrack

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sweeps.runs.paths import RunPaths, SweepPaths

    Files = list[tuple[Path, str | None]]


COUNTED = (Outcome.FINISHED, Outcome.DIVERGED, Outcome.PRUNED, Outcome.FAILED)
LONGEST_ERROR = 5000
"""Letters of an error that are shown beside a run; the rest is in its log."""


def run_to_track(
    paths: RunPaths,
    record: RunRecord,
    *,
    kind: Literal["run", "range_test"],
    parent: str | None,
    sweep: str | None,
) -> RunToTrack:
    """Returns what is said of a run at its start.

    Args:
        paths: Its folder.
        record: What the folder says of it.
        kind: What it is.
        parent: What the tracker calls the run above it.
        sweep: Name of the sweep that it is a cell of.
    """
    tags = {} if sweep is None else {"sweep": sweep}
    tags |= {"identity": record.identity, "folder": str(paths.folder), "device": record.device}
    return RunToTrack(
        key=record.key,
        name=record.name,
        kind=kind,
        folder=paths.folder,
        started_ms=record.started_ms,
        under_way=record.status == "RUNNING",
        parent=parent,
        params={**record.params, **record.choices},
        numbers=record.numbers,
        tags=tags | _trial_tags(paths),
        git=record.git,
        dataset=record.dataset,
        replaces=record.replaces,
    )


def run_files(paths: RunPaths) -> Files:
    """Returns what is kept of a run at its start."""
    config: Files = [(path, "config") for path in sorted(paths.hydra.glob("*.yaml"))]
    return [*config, *((path, None) for path in (paths.record, paths.environment, paths.diff))]


def run_ending(paths: RunPaths, record: RunRecord) -> Ending:
    """Returns what is said of a run at its end."""
    ended_ms = record.ended_ms or record.started_ms
    tags = {"outcome": record.outcome or "unknown", **_trial_tags(paths)}
    tags |= {"epochs_done": str(record.epochs_done)}
    tags |= {"seconds": str(record.seconds)}  # from start to end it would count pauses too
    if record.error is not None:
        tags["error"] = record.error[:LONGEST_ERROR]
    if record.best_epoch is not None:
        tags["best_epoch"] = str(record.best_epoch)
    summary = []
    if record.objective_value is not None:
        # The latest time is the one shown: a continued run has a better best than before.
        summary.append(Point(f"best_{record.objective}", 0, record.objective_value, ended_ms))
    if record.start_loss is not None:
        summary.append(Point("start_loss", 0, record.start_loss, record.started_ms))
    if found := read_json(paths.suggested_lr):
        summary.append(Point("suggested_lr", found["steps"], found["lr"], found["time_ms"]))
    return Ending(record.status, ended_ms, summary, tags)


def ended_run_files(paths: RunPaths) -> Files:
    """Returns what is kept of a run at its end."""
    return [(p, None) for p in (paths.record, paths.log, paths.weights, paths.predictions)]


def sweep_to_track(paths: SweepPaths, record: SweepRecord) -> RunToTrack:
    """Returns what is said of a sweep at its start."""
    return RunToTrack(
        key=record.key,
        name=record.name,
        kind="sweep",
        folder=paths.folder,
        started_ms=record.started_ms,
        under_way=record.status == "RUNNING",
        params={"objective": record.objective},
        tags={"sweep": record.name, "command": record.command},
    )


def sweep_ending(paths: SweepPaths, record: SweepRecord) -> Ending:
    """Returns what is said of a sweep at its end: the answer, and what sweeps are compared by."""
    ended_ms = record.ended_ms or record.started_ms
    said = paths.note if paths.note.exists() else paths.results_markdown
    # The answer before the command: MLflow cuts a long note at its end.
    note = f"{said.read_text()}\n\n`{record.command}`" if said.exists() else None
    cells = [known for run in paths.cells() if (known := RunRecord.load(run))]
    values = _summary(record, cells)
    # The latest time is the one shown: a sweep that was extended counts again.
    summary = [Point(key, 0, value, ended_ms) for key, value in values.items()]
    return Ending(record.status, ended_ms, summary + _measures(paths, ended_ms), note=note)


def ended_sweep_files(paths: SweepPaths) -> Files:
    """Returns what is kept of a sweep at its end."""
    tables = (paths.results_csv, paths.results_markdown, paths.multirun, paths.report)
    figures: Files = [(path, "figures") for path in sorted(paths.figures.glob("*.svg"))]
    return [*((path, None) for path in tables), *figures]


def _summary(sweep: SweepRecord, cells: Sequence[RunRecord]) -> dict[str, float]:
    """Returns the best setting's mean, and how many runs ended how.

    `best_<objective>` is what the ranking wrote into sweep.json when the sweep ended. With one seed it
    is the best run's value.
    """
    outcomes = Counter(cell.outcome for cell in cells)
    values: dict[str, float] = {f"runs/{name}": outcomes[name] for name in COUNTED}
    if sweep.best_value is not None:
        values[f"best_{sweep.objective}"] = sweep.best_value
    return values


def _measures(paths: SweepPaths, time_ms: int) -> list[Point]:
    """Returns what the report has measured, see `sweeps.analysis.measures`."""
    found = (read_json(paths.measures) or {}).get("points", [])
    return [Point(p["key"], p["step"], p["value"], time_ms) for p in found]


def _trial_tags(paths: RunPaths) -> dict[str, str]:
    """Returns what a search has written down of a trial, see `sweeps.search.trial`."""
    trial = read_json(paths.trial) or {}
    found = {key: trial.get(key) for key in ("rung", "reason")}
    found["trial"] = trial.get("number")
    return {key: str(value) for key, value in found.items() if value not in (None, "")}
