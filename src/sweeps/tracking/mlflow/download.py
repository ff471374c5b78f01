"""Reads one run back from MLflow, into the form of a run folder: a store needs no folder beside it."""

from __future__ import annotations

import re
import shutil
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sweeps.errors import BadInputError
from sweeps.runs.paths import RunPaths
from sweeps.tracking.mlflow.client import explain, open_client
from sweeps.tracking.mlflow.store import KEY_TAG, NOT_MEASURED

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


RUN_ID = re.compile(r"[0-9a-f]{32}")
MOST_ARTIFACT_BYTES = 512 * 1024 * 1024
MOST_POINTS = 5_000_000


@dataclass(frozen=True)
class StoredRun:
    """One run of a store.

    Attributes:
        run_id: MLflow's id.
        experiment: Name of its experiment.
        points: Every metric point, by key and step.
    """

    run_id: str
    experiment: str
    points: dict[tuple[str, int], float]


class Reader:
    """Reads from an existing store and never makes one.

    Args:
        uri: The tracking URI.

    Raises:
        TrackingUnavailableError: There is no such store.
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._client = open_client(
            uri,
            "Name the one that has the run with --tracking-uri URI, MLFLOW_TRACKING_URI, or"
            " --output-dir FOLDER.",
        )

    def fetch(self, run_id: str, folder: Path) -> StoredRun:
        """Writes the run's files as a run folder has them, and returns its points.

        Raises:
            BadInputError: There is no such run, or it is not one of ours.
        """
        run = self._ask("get_run", run_id)
        experiment = self._ask("get_experiment", run.info.experiment_id)
        files = dict(self._list(run_id, None)) | dict(self._list(run_id, "config"))
        if "config/config.yaml" not in files or "run.json" not in files:
            raise BadInputError(
                f"MLflow run {run_id} has no saved config and record: it is a sweep's parent, or was"
                " not made by sweeps.train. Type the id of a single run, or a sweep's name with --best."
            )
        paths = RunPaths(folder)
        paths.hydra.mkdir(parents=True)
        for stored, target in (
            ("config/config.yaml", paths.config),
            ("run.json", paths.record),
            ("uncommitted.diff", paths.diff),
            ("model.safetensors", paths.weights),
        ):
            if stored in files:
                self._download(run_id, stored, files[stored], target)
        return StoredRun(run_id, str(experiment.name), self._points(run_id, run.data.metrics))

    def find(self, key: str) -> tuple[str, str] | None:
        """Returns the id and the experiment's name of the run that has a key, in any experiment."""
        if not RUN_ID.fullmatch(key):
            return None
        experiments = {e.experiment_id: e.name for e in self._ask("search_experiments")}
        found = self._ask("search_runs", list(experiments), f"tags.`{KEY_TAG}` = '{key}'")
        if not found:
            return None
        return str(found[0].info.run_id), str(experiments[found[0].info.experiment_id])

    def _points(self, run_id: str, keys: Any) -> dict[tuple[str, int], float]:
        points: dict[tuple[str, int], float] = {}
        for key in keys:
            if key.startswith(NOT_MEASURED):
                continue
            # A continued run sends what it lost a second time, later.
            history = self._ask("get_metric_history", run_id, key)
            for point in sorted(history, key=lambda point: int(point.timestamp)):
                points[str(key), int(point.step)] = _with_infinity(float(point.value))
            if len(points) > MOST_POINTS:
                raise BadInputError(f"MLflow run {run_id} has more than {MOST_POINTS} points.")
        return points

    def _list(self, run_id: str, folder: str | None) -> Iterator[tuple[str, int]]:
        for item in self._ask("list_artifacts", run_id, folder):
            yield str(item.path), int(item.file_size or 0)

    def _download(self, run_id: str, stored: str, size: int, target: Path) -> None:
        if size > MOST_ARTIFACT_BYTES:
            raise BadInputError(
                f"{stored} of MLflow run {run_id} has {size} bytes; it is not read."
            )
        scratch = target.with_name(f"{target.name}.download")
        scratch.mkdir()
        # Copied, never moved: a local store may answer with its own file.
        shutil.copyfile(self._ask("download_artifacts", run_id, stored, str(scratch)), target)

    def _ask(self, method: str, *arguments: Any) -> Any:
        from mlflow.exceptions import MlflowException

        try:
            return getattr(self._client, method)(*arguments)
        except (MlflowException, OSError) as error:
            raise BadInputError(
                f"The MLflow store {self._uri} says: {explain(error)}. Check the id, or name another"
                " store with --tracking-uri URI."
            ) from None


def _with_infinity(value: float) -> float:
    # MLflow stores infinities as the largest numbers there are.
    if abs(value) >= sys.float_info.max:
        return float("inf") if value > 0 else float("-inf")
    return value
