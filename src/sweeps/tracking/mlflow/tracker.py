"""How runs look in MLflow: parents and children, tags, settings to sort by, a page for each sweep."""

from __future__ import annotations

import getpass
import json
from typing import TYPE_CHECKING

from sweeps.runs.metrics import Point
from sweeps.runs.paths import SweepPaths
from sweeps.runs.record import RunRecord, dirty_word
from sweeps.tracking.mlflow.store import PARENT_TAG, RANGE_TEST_TAG, SETTING, Store
from sweeps.tracking.mlflow.system import SystemMetrics
from sweeps.tracking.mlflow.view import VIEW_TAG, links, runs_view

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from sweeps.tracking.tracker import Ending, RunToTrack


class MLflowTracker:
    """One experiment of MLflow, see `sweeps.tracking.tracker.Tracker`.

    Args:
        uri: The tracking URI.
        experiment: Name of the experiment; it is created where missing. None: MLFLOW_EXPERIMENT_ID.
        artifacts: Where a new experiment of a local database keeps files; None: the server says.
        system_metrics_after_s: Age of a run from which the machine is measured, or None for never.
    """

    name = "MLflow"

    def __init__(
        self,
        uri: str,
        experiment: str | None,
        artifacts: Path | None,
        system_metrics_after_s: float | None = None,
    ) -> None:
        self.where = f"The MLflow store {uri}"
        self._store = Store(uri, experiment, artifacts)
        self._system = SystemMetrics(uri, system_metrics_after_s)
        self._runs: dict[str, RunToTrack] = {}

    def connect(self) -> str:
        """Opens the store and finds or makes the experiment."""
        self._store.connect()
        return self._store.experiment_key

    def open_run(self, run: RunToTrack) -> str:
        """Finds the run by the tag that holds its key, or makes it, and measures it beside."""
        with self._store.explaining_trash():
            for key in run.replaces:
                self._store.trash_run(key)
            run_id = self._find_or_create(run)
        self._runs[run_id] = run
        if run.under_way and run.kind != "sweep":
            self._system.measure(run_id, run.started_ms)
        return run_id

    def log(self, run_id: str, points: Sequence[Point]) -> None:
        """Sends points in batches; MLflow itself drops those that it has."""
        with self._store.explaining_trash():
            self._store.log(run_id, points=points)

    def log_files(self, run_id: str, files: Sequence[tuple[Path, str | None]]) -> None:
        """Stores files as artifacts."""
        self._store.log_files(run_id, files)

    def close_run(self, run_id: str, ending: Ending | None) -> None:
        """Ends a run; of a sweep, its description begins with links to its pages."""
        self._system.stop(run_id)
        if ending is not None:
            with self._store.explaining_trash():
                self._end(run_id, ending)
        del self._runs[run_id]

    def _find_or_create(self, run: RunToTrack) -> str:
        run_id = self._store.find_or_create_run(
            key=run.key,
            name=run.name,
            tags=_tags(run),
            params=dict(run.params),
            points=[
                Point(f"{SETTING}{key}", 0, value, run.started_ms)
                for key, value in run.numbers.items()
            ],
            start_ms=run.started_ms,
        )
        if run.dataset:  # a run that died before it began has none
            profile = {key: value for key, value in run.dataset.items() if key != "digest"}
            self._store.log_dataset(
                run_id,
                name=run.dataset["name"],
                digest=run.dataset["digest"],
                profile=json.dumps(profile),
            )
        return run_id

    def _end(self, run_id: str, ending: Ending) -> None:
        tags = _own(ending.tags)
        if ending.note is not None:
            tags["mlflow.note.content"] = f"{self._share_view(run_id)}\n\n{ending.note}"
        self._store.log(run_id, points=ending.summary, tags=tags)
        self._store.end_run(run_id, ending.status, ending.ended_ms)

    def _share_view(self, run_id: str) -> str:
        run = self._runs[run_id]
        cells = [
            known for paths in SweepPaths(run.folder).cells() if (known := RunRecord.load(paths))
        ]
        state = runs_view(run_id, run.params["objective"], cells)
        self._store.set_experiment_tag(f"{VIEW_TAG}{run.key}", state)
        return links(self._store.experiment_key.partition("@")[0], run_id, run.key)


def _tags(run: RunToTrack) -> dict[str, str]:
    tags = {**_source_tags(), **_own(run.tags)}
    if run.parent is not None:
        tags[PARENT_TAG] = run.parent
    if run.kind == "range_test":
        tags[RANGE_TEST_TAG] = "true"
    if run.git:
        tags |= {
            "mlflow.source.git.commit": run.git["commit"],
            "mlflow.source.git.branch": run.git["branch"],
            "sweeps.git_dirty": dirty_word(dict(run.git)),
        }
    return tags


def _own(tags: Mapping[str, str]) -> dict[str, str]:
    return {f"sweeps.{key}": value for key, value in tags.items()}


def _source_tags() -> dict[str, str]:
    tags = {"mlflow.source.name": "sweeps.train", "mlflow.source.type": "LOCAL"}
    try:
        tags["mlflow.user"] = getpass.getuser()
    except (OSError, KeyError):  # a container without a user name
        return tags
    return tags
