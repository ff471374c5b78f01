"""What of run folders goes to MLflow: each look sends what is new since the last one."""

from __future__ import annotations

import dataclasses
import functools
import getpass
import json
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from sweeps.files import read_json, replace_json
from sweeps.runs.metrics import Mark, Point, read_new
from sweeps.runs.outcome import Outcome
from sweeps.runs.paths import RunPaths, SweepPaths, range_tests
from sweeps.runs.record import RunRecord, SweepRecord, dirty_word
from sweeps.tracking.mlflow.tracker import PARENT_TAG, RANGE_TEST_TAG, SETTING
from sweeps.tracking.mlflow.view import VIEW_TAG, links, runs_view

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from sweeps.tracking.mlflow.system import SystemMetrics
    from sweeps.tracking.mlflow.tracker import Store


COUNTED = (Outcome.FINISHED, Outcome.DIVERGED, Outcome.PRUNED, Outcome.FAILED)
GIVE_UP_ROUND_AFTER_S = 10.0


class Pusher:
    """Brings a store up to date with folders; what it has is written down in each of them.

    Args:
        store: Connected.
        system: Measures the runs that are under way.
    """

    def __init__(self, store: Store, system: SystemMetrics) -> None:
        self._store, self._system = store, system
        self._closed: dict[Path, int] = {}
        self._failures: list[Exception] = []
        self._started = 0.0

    def push(self, runs: Sequence[RunPaths], sweeps: Sequence[SweepPaths]) -> list[Exception]:
        """Sends what is new of some runs and sweeps; returns what went wrong."""
        self._failures, self._started = [], time.monotonic()
        for run in runs:
            self._attempt(functools.partial(self._push_alone, run))
        for sweep in sweeps:
            self._attempt(functools.partial(self._push_sweep, sweep))
        return self._failures

    def _attempt(self, push: Callable[[], None]) -> None:
        """Lets one bad folder not keep the others out, without waiting long for a dead store."""
        if self._failures and time.monotonic() - self._started > GIVE_UP_ROUND_AFTER_S:
            return
        try:
            push()
        except Exception as error:
            self._failures.append(error)

    def _sent(self, path: Path) -> dict[str, Any]:
        """Returns what this experiment has; what another or a deleted store had counts nothing."""
        sent = read_json(path) or {}
        return sent if sent.get("experiment") == self._store.experiment_key else {}

    # Sweeps

    def _push_sweep(self, paths: SweepPaths) -> None:
        record = SweepRecord.load(paths)
        if record is None:
            return
        sent = self._sent(paths.mirror)
        # A command can begin and end between two looks: its end tells it from the one before.
        again = sent.get("closed") and sent.get("ended_ms") != record.ended_ms
        if "run_id" not in sent or again:
            sent = self._open_sweep(paths, record)
        below = {PARENT_TAG: sent["run_id"], "sweeps.sweep": record.name}
        for cell in paths.cells():
            self._attempt(functools.partial(self._push_run, cell, below))
        for test in range_tests(paths.folder):
            self._attempt(functools.partial(self._push_range_test, test, sent["run_id"]))
        if record.status != "RUNNING" and not sent.get("closed"):
            self._close_sweep(paths, record, sent)

    def _open_sweep(self, paths: SweepPaths, record: SweepRecord) -> dict[str, Any]:
        run_id = self._store.find_or_create_run(
            key=record.key,
            name=record.name,
            tags={
                **_source_tags(),
                "sweeps.sweep": record.name,
                "sweeps.command": record.command,
            },
            params={"objective": record.objective},
            start_ms=record.started_ms,
        )
        sent = {"run_id": run_id, "experiment": self._store.experiment_key}
        replace_json(paths.mirror, sent)
        return sent

    def _close_sweep(self, paths: SweepPaths, record: SweepRecord, sent: dict[str, Any]) -> None:
        run_id = sent["run_id"]
        tables = (paths.results_csv, paths.results_markdown, paths.multirun, paths.report)
        figures = [(path, "figures") for path in sorted(paths.figures.glob("*.svg"))]
        self._store.log_files(run_id, [*((path, None) for path in tables), *figures])
        said = paths.note if paths.note.exists() else paths.results_markdown
        cells = [known for run in paths.cells() if (known := RunRecord.load(run))]
        tags = {}
        if said.exists():
            # The answer before the command: MLflow cuts a long note at its end.
            note = f"{said.read_text()}\n\n`{record.command}`"
            tags = {"mlflow.note.content": f"{self._share_view(record, run_id, cells)}\n\n{note}"}
        self._store.log(
            run_id, points=_summary(record, cells) + _measures(paths, record), tags=tags
        )
        self._store.end_run(run_id, record.status, record.ended_ms or record.started_ms)
        replace_json(paths.mirror, {**sent, "closed": True, "ended_ms": record.ended_ms})

    def _share_view(self, record: SweepRecord, run_id: str, cells: list[RunRecord]) -> str:
        state = runs_view(run_id, record.objective, cells)
        self._store.set_experiment_tag(f"{VIEW_TAG}{record.key}", state)
        return links(self._store.experiment_key.partition("@")[0], run_id, record.key)

    # Runs

    def _push_alone(self, paths: RunPaths) -> None:
        """Sends a run that is no part of a sweep, and its range test below it."""
        self._push_run(paths, {})
        run_id: str | None = self._sent(paths.mirror).get("run_id")
        if run_id is not None:
            for test in range_tests(paths.folder):
                self._attempt(functools.partial(self._push_range_test, test, run_id))

    def _push_range_test(self, paths: RunPaths, parent_id: str) -> None:
        self._push_run(paths, {PARENT_TAG: parent_id, RANGE_TEST_TAG: "true"})
        sent, found = self._sent(paths.mirror), read_json(paths.suggested_lr)
        if found is None or "run_id" not in sent or sent.get("suggested"):
            return
        point = Point("suggested_lr", found["steps"], found["lr"], found["time_ms"])
        self._store.log(sent["run_id"], points=[point])
        replace_json(paths.mirror, {**sent, "suggested": True})

    def _push_run(self, paths: RunPaths, tags: dict[str, str]) -> None:
        try:
            stamp = paths.record.stat().st_mtime_ns
        except FileNotFoundError:
            return
        if self._closed.get(paths.folder) == stamp:
            return
        record = RunRecord.load(paths)
        if record is None:
            return
        sent = self._sent(paths.mirror)
        if sent.get("closed") and sent.get("ended_ms") == record.ended_ms:
            self._closed[paths.folder] = stamp
            return
        if "run_id" not in sent or sent.get("closed"):
            sent = self._open_run(paths, record, tags)
        points, mark = read_new(paths.metrics, Mark(sent.get("inode"), sent["offset"]))
        if points:
            self._store.log(sent["run_id"], points=points)
            sent |= dataclasses.asdict(mark)
            replace_json(paths.mirror, sent)
        if record.status == "RUNNING":
            self._system.measure(sent["run_id"], record)
        else:
            self._close_run(paths, record, sent)

    def _open_run(self, paths: RunPaths, record: RunRecord, tags: dict[str, str]) -> dict[str, Any]:
        tags = {**_source_tags(), **tags, "sweeps.identity": record.identity}
        tags |= {"sweeps.folder": str(paths.folder), "sweeps.device": record.device}
        tags |= _trial_tags(paths)
        if record.git:
            tags |= {
                "mlflow.source.git.commit": record.git["commit"],
                "mlflow.source.git.branch": record.git["branch"],
                "sweeps.git_dirty": dirty_word(record.git),
            }
        for key in record.replaces:
            self._store.trash_run(key)
        run_id = self._store.find_or_create_run(
            key=record.key,
            name=record.name,
            tags=tags,
            params={**record.params, **record.choices},
            points=[
                Point(f"{SETTING}{key}", 0, value, record.started_ms)
                for key, value in record.numbers.items()
            ],
            start_ms=record.started_ms,
        )
        if record.dataset:  # a run that died before it began has none
            profile = {key: value for key, value in record.dataset.items() if key != "digest"}
            self._store.log_dataset(
                run_id,
                name=record.dataset["name"],
                digest=record.dataset["digest"],
                profile=json.dumps(profile),
            )
        config = [(path, "config") for path in sorted(paths.hydra.glob("*.yaml"))]
        self._store.log_files(
            run_id,
            [*config, *((path, None) for path in (paths.record, paths.environment, paths.diff))],
        )
        sent = {"run_id": run_id, "experiment": self._store.experiment_key, "offset": 0}
        replace_json(paths.mirror, sent)
        return sent

    def _close_run(self, paths: RunPaths, record: RunRecord, sent: dict[str, Any]) -> None:
        run_id, ended_ms = sent["run_id"], record.ended_ms or record.started_ms
        self._system.stop(run_id)
        self._store.log_files(
            run_id,
            [(p, None) for p in (paths.record, paths.log, paths.weights, paths.predictions)],
        )
        tags = {"sweeps.outcome": record.outcome or "unknown", **_trial_tags(paths)}
        tags |= {"sweeps.epochs_done": str(record.epochs_done)}
        tags |= {"sweeps.seconds": str(record.seconds)}  # MLflow's duration counts pauses too
        if record.error is not None:
            tags["sweeps.error"] = record.error[:5000]
        if record.best_epoch is not None:
            tags["sweeps.best_epoch"] = str(record.best_epoch)
        points = []
        if record.objective_value is not None:
            # The latest time is the one shown: a continued run has a better best than before.
            points.append(Point(f"best_{record.objective}", 0, record.objective_value, ended_ms))
        if record.start_loss is not None:
            points.append(Point("start_loss", 0, record.start_loss, record.started_ms))
        self._store.log(run_id, points=points, tags=tags)
        self._store.end_run(run_id, record.status, ended_ms)
        replace_json(paths.mirror, {**sent, "closed": True, "ended_ms": record.ended_ms})


def _summary(sweep: SweepRecord, cells: Sequence[RunRecord]) -> list[Point]:
    """Returns what sweeps are compared by: the best setting's mean, and how many runs ended how.

    `best_<objective>` is what the ranking wrote into sweep.json when the sweep ended. With one seed it
    is the best run's value.
    """
    outcomes = Counter(cell.outcome for cell in cells)
    values: dict[str, float] = {f"runs/{name}": outcomes[name] for name in COUNTED}
    if sweep.best_value is not None:
        values[f"best_{sweep.objective}"] = sweep.best_value
    # The latest time is the one shown: a sweep that was extended counts again.
    time_ms = sweep.ended_ms or sweep.started_ms
    return [Point(key, 0, value, time_ms) for key, value in values.items()]


def _measures(paths: SweepPaths, sweep: SweepRecord) -> list[Point]:
    """Returns what the report has measured, see `sweeps.reporting.measures`."""
    time_ms = sweep.ended_ms or sweep.started_ms
    found = (read_json(paths.measures) or {}).get("points", [])
    return [Point(p["key"], p["step"], p["value"], time_ms) for p in found]


def _trial_tags(paths: RunPaths) -> dict[str, str]:
    """Returns what a search has written down of a trial, see `sweeps.search.trials`."""
    trial = read_json(paths.trial) or {}
    found = {f"sweeps.{key}": trial.get(key) for key in ("rung", "reason")}
    found["sweeps.trial"] = trial.get("number")
    return {key: str(value) for key, value in found.items() if value not in (None, "")}


def _source_tags() -> dict[str, str]:
    tags = {"mlflow.source.name": "sweeps.train", "mlflow.source.type": "LOCAL"}
    try:
        tags["mlflow.user"] = getpass.getuser()
    except (OSError, KeyError):  # a container without a user name
        return tags
    return tags
