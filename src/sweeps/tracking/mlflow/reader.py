"""Reads runs back from an MLflow store, in pages: never a question for each run."""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeps.errors import BadInputError, TrackingUnavailableError, did_you_mean
from sweeps.runs.metrics import Point, is_finite
from sweeps.runs.outcome import Outcome
from sweeps.runs.results import CHANGES, Collection, RunResult, SweepResult, as_settings, best_point
from sweeps.tracking.address import find_experiment
from sweeps.tracking.mlflow.client import explain, open_client
from sweeps.tracking.mlflow.store import KEY_TAG, NOT_MEASURED, PARENT_TAG, RANGE_TEST_TAG

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


RUNS_PER_PAGE = 100  # more take a busy server longer than the patience of one request
RUNS_PER_HISTORY = 100
POINTS_PER_HISTORY = 25_000
EVALUATED = ("val_accuracy", "val_loss", "test_accuracy", "test_loss", "train_loss")


class StoreReader:
    """Asks one tracking store.

    Args:
        uri: The tracking URI.

    Raises:
        TrackingUnavailableError: There is no database where the URI says.
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri
        otherwise = "Name a sweep's folder, or another store with --tracking-uri URI."
        with self._explaining():
            self._client = open_client(uri, otherwise)

    def children(self, run_id: str) -> Collection:
        """Returns the runs below a parent, or the run itself where it is a run alone."""
        with self._explaining(f"It has no run {run_id}."):
            run = self._client.get_run(run_id)
        found = self._search([run.info.experiment_id], f"tags.`{PARENT_TAG}` = '{run_id}'")
        return self._collect([run, *found])

    def sweep(self, name: str, experiment: str | None) -> Collection:
        """Returns the runs of a sweep by its name; none where the store does not know it."""
        quoted = name.replace("'", "")
        known = self._find_experiment(experiment)
        runs = [] if known is None else self._search([known], f"tags.`sweeps.sweep` = '{quoted}'")
        return self._collect(runs)

    def experiment(self, name: str | None, filter_string: str) -> Collection:
        """Returns the runs of an experiment that pass a filter of MLflow's.

        Raises:
            BadInputError: There is no such experiment, or the filter is none.
        """
        known = self._find_experiment(name)
        if known is None:
            assert name is not None  # an id that there is none of has been refused
            with self._explaining():
                names = [str(item.name) for item in self._client.search_experiments()]
            raise BadInputError(
                f"{self._uri} has no experiment '{name}'.{did_you_mean(name, names)}"
                f" It has: {', '.join(sorted(names))}."
            )
        return self._collect(self._search([known], filter_string))

    def _find_experiment(self, name: str | None) -> str | None:
        with self._explaining():
            found = find_experiment(self._client, name)
        return None if found is None else str(found.experiment_id)

    def _search(self, experiments: list[str], filter_string: str) -> list[Any]:
        from mlflow.exceptions import MlflowException

        runs: list[Any] = []
        token = None
        with self._explaining():
            while True:
                try:
                    page = self._client.search_runs(
                        experiments, filter_string, max_results=RUNS_PER_PAGE, page_token=token
                    )
                except MlflowException as error:
                    if error.error_code != "INVALID_PARAMETER_VALUE":
                        raise
                    raise BadInputError(
                        f'MLflow does not understand --filter "{filter_string}": {explain(error)}.'
                        " Write it like \"params.model = 'mlp' and metrics.val_accuracy > 0.9\"."
                    ) from error
                runs += page
                token = page.token
                if not token:
                    return runs

    def _collect(self, runs: list[Any]) -> Collection:
        history = StoreHistory(self._uri)
        runs = [run for run in runs if RANGE_TEST_TAG not in run.data.tags]
        parents = {run.data.tags[PARENT_TAG] for run in runs if PARENT_TAG in run.data.tags}
        sweeps, cells = [], []
        for run in runs:
            tags = run.data.tags
            if run.info.run_id in parents or "sweeps.command" in tags:
                name = tags.get("sweeps.sweep", run.info.run_name)
                command = tags.get("sweeps.command", "")
                sweeps.append(SweepResult(name, command, 0, run_id=run.info.run_id))
            else:
                cells.append(_result(run, history))
        cells = _with_missing_values(cells, history)
        return Collection(tuple(cells), tuple(sweeps))

    @contextlib.contextmanager
    def _explaining(self, hint: str = "") -> Iterator[None]:
        try:
            yield
        except BadInputError:
            raise
        except Exception as error:  # MLflow lets through what SQLAlchemy and requests raise
            if hint and getattr(error, "error_code", "") == "RESOURCE_DOES_NOT_EXIST":
                raise BadInputError(f"{self._uri}: {hint}") from error
            raise TrackingUnavailableError(
                f"The MLflow store {self._uri} cannot be read: {explain(error)}."
                " Name the sweep's folder instead; it needs no store."
            ) from error


class StoreHistory:
    """Asks for metric points of a hundred runs at a time; the keys are those of our tags.

    Args:
        uri: The tracking URI.
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self.run_ids: dict[str, str] = {}

    def load(self, keys: Sequence[str], metric: str) -> dict[str, list[Point]]:
        """Returns the points of a metric by the key of the run, ordered by step."""
        by_id = {self.run_ids[key]: key for key in keys}
        found: dict[str, list[Point]] = {key: [] for key in keys}
        ids = sorted(by_id)
        for start in range(0, len(ids), RUNS_PER_HISTORY):
            for run_id, point in self._ask(ids[start : start + RUNS_PER_HISTORY], metric):
                found[by_id[run_id]].append(point)
        return {key: sorted(points) for key, points in found.items()}

    def _ask(self, ids: list[str], metric: str) -> list[tuple[str, Point]]:
        ask = self._ask_server if self._uri.startswith("http") else self._ask_database
        answer = ask(ids, metric)
        if len(answer) < POINTS_PER_HISTORY or len(ids) == 1:
            return answer
        middle = len(ids) // 2  # the answer was cut
        return self._ask(ids[:middle], metric) + self._ask(ids[middle:], metric)

    def _ask_database(self, ids: list[str], metric: str) -> list[tuple[str, Point]]:
        from mlflow.tracking._tracking_service.utils import _get_store

        store: Any = _get_store(self._uri)  # type: ignore[no-untyped-call]
        rows = store.get_metric_history_bulk(ids, metric, POINTS_PER_HISTORY)
        return [(row.run_id, Point(metric, row.step, row.value, row.timestamp)) for row in rows]

    def _ask_server(self, ids: list[str], metric: str) -> list[tuple[str, Point]]:
        from mlflow.tracking._tracking_service.utils import _get_store
        from mlflow.utils.rest_utils import http_request, verify_rest_response

        endpoint = "/ajax-api/2.0/mlflow/metrics/get-history-bulk"
        store: Any = _get_store(self._uri)  # type: ignore[no-untyped-call]
        response: Any = http_request(  # type: ignore[no-untyped-call]
            store.get_host_creds(),
            endpoint,
            "GET",
            params={"run_id": ids, "metric_key": metric, "max_results": POINTS_PER_HISTORY},
        )
        rows = json.loads(verify_rest_response(response, endpoint).text).get("metrics", [])
        return [
            (
                row["run_id"],
                Point(metric, int(row["step"]), float(row["value"]), int(row["timestamp"])),
            )
            for row in rows
        ]


def _result(run: Any, history: StoreHistory) -> RunResult:
    tags, params, metrics = run.data.tags, run.data.params, dict(run.data.metrics)
    key = tags.get(KEY_TAG, run.info.run_id)
    history.run_ids[key] = run.info.run_id
    objective = params.get("objective") or _guess_objective(metrics)
    value = metrics.pop(f"best_{objective}", None)
    start_loss = metrics.pop("start_loss", None)
    started, ended = run.info.start_time or 0, run.info.end_time
    best_epoch = tags.get("sweeps.best_epoch")
    epochs = params.get("epochs", "")
    return RunResult(
        key=key,
        identity=tags.get("sweeps.identity", ""),
        name=run.info.run_name or run.info.run_id,
        sweep=tags.get("sweeps.sweep", ""),
        objective=objective,
        outcome=_outcome(run, value),
        started_ms=started,
        history=history,
        settings=as_settings(params),
        value=value if is_finite(value) else None,
        best_epoch=int(best_epoch) if best_epoch else None,
        epochs_done=int(tags.get("sweeps.epochs_done", 0)),
        epochs=int(epochs) if epochs.isdecimal() else 0,
        metrics={
            key: value
            for key, value in metrics.items()
            if is_finite(value) and not key.startswith(NOT_MEASURED)
        },
        seconds=float(tags.get("sweeps.seconds", (ended - started) / 1000 if ended else 0.0)),
        error=tags.get("sweeps.error"),
        start_loss=start_loss if is_finite(start_loss) else None,
        data=_dataset(run),
        overrides=_overrides(run.info.run_name or ""),
        about=_about(tags),
        folder=_folder(tags),
        run_id=run.info.run_id,
        experiment_id=run.info.experiment_id,
    )


def _with_missing_values(runs: list[RunResult], history: StoreHistory) -> list[RunResult]:
    """Finds the best epoch of runs that have not said theirs: they run, or others logged them."""
    import dataclasses

    missing = [
        r for r in runs if r.value is None and r.outcome in (Outcome.FINISHED, Outcome.RUNNING)
    ]
    points: dict[str, list[Point]] = {}
    for objective in {run.objective for run in missing if run.objective}:
        keys = [run.key for run in missing if run.objective == objective]
        points |= history.load(keys, objective)
    found = []
    for run in runs:
        if run.key in points:
            value, epoch = best_point(points[run.key], run.objective)
            diverged = value is None and run.outcome == Outcome.FINISHED and bool(points[run.key])
            run = dataclasses.replace(  # noqa: PLW2901 - the same run, knowing more
                run,
                value=value,
                best_epoch=epoch,
                epochs_done=len(points[run.key]),
                outcome=Outcome.DIVERGED if diverged else run.outcome,
            )
        found.append(run)
    return found


def _outcome(run: Any, value: float | None) -> Outcome:
    if said := run.data.tags.get("sweeps.outcome"):
        outcome = Outcome.said(str(said))
        lost = outcome is Outcome.FINISHED and not is_finite(value)
        return Outcome.DIVERGED if lost else outcome
    if value is not None and not is_finite(value):
        return Outcome.DIVERGED
    return Outcome.of_status(run.info.status)


def _guess_objective(metrics: dict[str, float]) -> str:
    best = sorted(key.removeprefix("best_") for key in metrics if key.startswith("best_"))
    return next(iter([*best, *(key for key in EVALUATED if key in metrics)]), "")


def _dataset(run: Any) -> dict[str, str]:
    inputs = run.inputs.dataset_inputs if run.inputs else []
    if not inputs:
        return {}
    dataset = inputs[0].dataset
    try:
        profile = json.loads(dataset.profile or "{}")
    except json.JSONDecodeError:
        profile = {}
    sizes = {key: str(value) for key, value in profile.items() if isinstance(value, (int, list))}
    return {"name": dataset.name, "digest": dataset.digest, **sizes}


def _overrides(name: str) -> tuple[str, ...]:
    parts = re.split(r""",(?=[+~]{0,2}[\w./@]+=)(?=(?:[^"]*"[^"]*")*[^"]*$)""", name)
    return tuple(parts) if all("=" in part for part in parts) else ()


def _folder(tags: dict[str, str]) -> Path | None:
    folder = tags.get("sweeps.folder")
    return Path(folder) if folder and Path(folder).is_dir() else None


def _about(tags: dict[str, str]) -> dict[str, str]:
    dirty = CHANGES.get(tags.get("sweeps.git_dirty", ""), "")
    about = {"device": tags.get("sweeps.device", "")}
    if commit := tags.get("mlflow.source.git.commit"):
        about["git commit"] = f"{commit}{dirty}"
    return {key: value for key, value in about.items() if value}
