"""The MLflow store: the few calls we need, in batches, never printing."""

from __future__ import annotations

import contextlib
import logging
import shlex
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from sweeps.errors import TrackingUnavailableError
from sweeps.files import locked
from sweeps.tracking.address import find_experiment, remove_quoted_folder, sqlite_file
from sweeps.tracking.mlflow.client import load_mlflow, make_client
from sweeps.tracking.moved import bring_along

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from sweeps.runs.metrics import Point


log = logging.getLogger(__name__)

KEY_TAG = "sweeps.key"
KIND = {"mlflow.experimentKind": "custom_model_development"}
"""Tells MLflow's pages that runs are trainings; without it they ask, and show those of chats."""
SETTING = "settings/"
"""Before a numeric setting that is a metric too: MLflow sorts params as text, metrics by size."""
NOT_MEASURED = (SETTING, "system/", "best_", "start_", "suggested_")
"""Metrics of a store that are no points of a training."""
PARENT_TAG = "mlflow.parentRunId"
RANGE_TEST_TAG = "sweeps.range_test"
""""true" on a range test: it is below what it was run for, and not to be compared with it."""

ITEMS_PER_REQUEST = 1000
WORDS_PER_REQUEST = 100
"""Params, and as many tags: MLflow's limits."""
PARAM_LENGTH = 6000
NAME_LENGTH = 250


class Store:
    """One experiment of one tracking server or database.

    Args:
        uri: The tracking URI.
        experiment: Name of the experiment; it is created where missing. None: MLFLOW_EXPERIMENT_ID.
        artifacts: Where a new experiment of a local database keeps files; None: the server says.
    """

    def __init__(self, uri: str, experiment: str | None, artifacts: Path | None) -> None:
        self._uri, self._experiment, self._artifacts = uri, experiment, artifacts

    def connect(self) -> None:
        """Opens the store and finds or makes the experiment."""
        load_mlflow()
        database = sqlite_file(self._uri)
        if database is None:
            self._open()
            return
        database.parent.mkdir(parents=True, exist_ok=True)
        with (
            locked(database.with_name(f"{database.name}.lock")),  # making the schema races
            ThreadPoolExecutor(1) as thread,  # Python waits for it: half a schema would stay behind
        ):
            thread.submit(self._open).result()
            remove_quoted_folder(self._uri)
            if self._artifacts and self._artifacts.parent == database.absolute().parent:
                self._settle_in(database.absolute(), self._artifacts)

    @contextlib.contextmanager
    def explaining_trash(self) -> Iterator[None]:
        """Says how to restore the experiment where what was asked is refused because it is in the trash.

        Raises:
            TrackingUnavailableError: It is; no waiting brings it back.
        """
        from mlflow.exceptions import MlflowException

        try:
            yield
        except MlflowException as error:
            refused = error.error_code == "INVALID_PARAMETER_VALUE"  # an answer, so it is not away
            if refused and (restore := self._explain_trash()):
                raise TrackingUnavailableError(restore) from error
            raise

    @property
    def experiment_key(self) -> str:
        """Names the experiment across stores: a deleted database that is made anew has another."""
        return f"{self._experiment_id}@{self._created_ms}"

    def find_or_create_run(
        self,
        *,
        key: str,
        name: str,
        tags: dict[str, str],
        params: dict[str, Any],
        points: Sequence[Point] = (),
        start_ms: int,
    ) -> str:
        """Returns the id of the run with a key, making it where there is none.

        The params that it does not have yet are added; a param never changes.
        """
        run_id, known = self._find_run(key), {}
        if run_id is not None:
            self._client.update_run(run_id, status="RUNNING")
            known = self._client.get_run(run_id).data.params
        else:
            made = self._client.create_run(
                self._experiment_id,
                start_time=start_ms,
                run_name=name[:NAME_LENGTH],
                tags={KEY_TAG: key, **tags},
            )
            run_id, tags = str(made.info.run_id), {}
        new = {key: value for key, value in params.items() if key not in known}
        self.log(run_id, points=points, params=new, tags=tags)
        return run_id

    def trash_run(self, key: str) -> None:
        """Moves the run with a key to the trash, from which MLflow can restore it."""
        run_id = self._find_run(key)
        if run_id is not None:
            self._client.delete_run(run_id)

    def log(
        self,
        run_id: str,
        *,
        points: Sequence[Point] = (),
        params: dict[str, Any] | None = None,
        tags: dict[str, str] | None = None,
    ) -> None:
        """Sends all of it in as few requests as MLflow allows: each costs more than what is in it.

        Args:
            run_id: The run.
            points: Of metrics, with their own times; sending one again changes nothing.
            params: Must be new, or have the value they had.
            tags: Replace old values.
        """
        from mlflow.entities import Metric, Param, RunTag

        metrics = [Metric(p.key, p.value, p.time_ms, p.step) for p in points]
        words = [Param(key, str(value)[:PARAM_LENGTH]) for key, value in (params or {}).items()]
        labels = [RunTag(key, value) for key, value in (tags or {}).items()]
        while metrics or words or labels:
            these, those = words[:WORDS_PER_REQUEST], labels[:WORDS_PER_REQUEST]
            room = ITEMS_PER_REQUEST - len(these) - len(those)
            self._client.log_batch(run_id, metrics=metrics[:room], params=these, tags=those)
            metrics, words, labels = metrics[room:], words[len(these) :], labels[len(those) :]

    def set_experiment_tag(self, key: str, value: str) -> None:
        """Sets a tag of the experiment, replacing an old value."""
        self._client.set_experiment_tag(self._experiment_id, key, value)

    def log_dataset(self, run_id: str, *, name: str, digest: str, profile: str) -> None:
        """Says which data the run was trained on."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        entity = Dataset(
            name=name, digest=digest, source_type="local", source=name, profile=profile
        )
        tag = InputTag("mlflow.data.context", "training")
        self._client.log_inputs(run_id, datasets=[DatasetInput(entity, [tag])])

    def log_files(self, run_id: str, files: Iterable[tuple[Path, str | None]]) -> None:
        """Stores those of the files that exist, each under a folder of the run's artifacts."""
        for path, folder in files:
            if path.exists():
                self._client.log_artifact(run_id, str(path), folder)

    def end_run(self, run_id: str, status: str, end_ms: int) -> None:
        """Closes a run."""
        self._client.set_terminated(run_id, status, end_ms)

    def _find_run(self, key: str) -> str | None:
        found = self._client.search_runs(
            [self._experiment_id], filter_string=f"tags.`{KEY_TAG}` = '{key}'", max_results=1
        )
        return str(found[0].info.run_id) if found else None

    def _open(self) -> None:
        from mlflow.exceptions import MlflowException

        self._client = make_client(self._uri)
        found = find_experiment(self._client, self._experiment)
        if found is None:
            location = self._artifacts.as_uri() if self._artifacts else None
            try:
                self._client.create_experiment(self._experiment, location, KIND)
            except MlflowException:  # another process was faster, or there is no making one
                if find_experiment(self._client, self._experiment) is None:
                    raise
            found = find_experiment(self._client, self._experiment)
        self._experiment_id, self._created_ms = found.experiment_id, found.creation_time

    def _explain_trash(self) -> str | None:
        """Returns how to restore the experiment where it is in the trash, else None."""
        found = self._client.get_experiment(self._experiment_id)
        if found.lifecycle_stage == "active":
            return None
        restore = f"mlflow experiments restore --experiment-id {found.experiment_id}"
        return (
            f"its experiment '{found.name}' is in the trash; to restore it:"
            f" MLFLOW_TRACKING_URI={shlex.quote(self._uri)} {restore}; or name another with"
            " tracking.experiment=NAME"
        )

    def _settle_in(self, database: Path, artifacts: Path) -> None:
        """Makes a store that lies in the output folder know where that is, and what is in it."""
        found = self._client.get_experiment(self._experiment_id)
        if before := bring_along(database, found, artifacts):
            log.info(
                "The project was in %s: MLflow keeps its files here from now on.", before.parent
            )
        for key, value in KIND.items():
            if found.lifecycle_stage == "active" and key not in found.tags:
                self._client.set_experiment_tag(self._experiment_id, key, value)
