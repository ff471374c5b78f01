"""Mirrors run folders into MLflow from one background thread.

The folders are the truth. The mirror reads what is new in them and sends it in batches; when the
store is locked, slow or gone the training does not notice, and what is missing is sent later.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import getpass
import json
import logging
import os
import re
import shlex
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeps.config import TrackingConfig
from sweeps.errors import TrackingUnavailableError
from sweeps.paths import RunPaths, SweepPaths, range_tests, read_json, replace_json
from sweeps.points import Mark, read_new
from sweeps.records import RunRecord, SweepRecord
from sweeps.results import is_finite, maximised
from sweeps.tracking.store import PARENT_TAG, RANGE_TEST_TAG, SETTING, Store
from sweeps.tracking.view import VIEW_TAG, links, runs_view

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sweeps.config import Config

log = logging.getLogger(__name__)

PUSH_EVERY_S = 2.0
IMPORT_TIMEOUT_S = 120.0
SERVER_TIMEOUT_S = 10.0
GIVE_UP_ROUND_AFTER_S = 10.0
TRY_AGAIN_FOR_S = 15.0
QUIET_S = 4.0
MEASURING_ENDS_WITHIN_S = 2.0
OTHERWISE = "name another with tracking.uri=..., or type tracking=none"
COUNTED = ("finished", "diverged", "pruned", "failed")
LEAVE_WITHIN_S = 6.0
"""On Ctrl-C: what the store does not take in this time is sent by the next command."""


def tracking_uri(config: TrackingConfig, output_dir: Path) -> str:
    """Returns the store of a config: its own, the environment's, or SQLite in the output folder."""
    configured = config.uri or os.environ.get("MLFLOW_TRACKING_URI")
    return configured or f"sqlite:///{output_dir.absolute()}/mlflow.db"


def ui_command(config: Config) -> str:
    """Returns the command that opens the runs in MLflow, or the address of their server."""
    uri = tracking_uri(TrackingConfig(**config.tracking), Path(config.output_dir))
    if uri.startswith("http"):
        return uri
    shown = uri.replace(f"sqlite:///{Path.cwd()}/", "sqlite:///")
    return f"mlflow ui --backend-store-uri {shlex.quote(shown)}"


@contextlib.contextmanager
def mirror_of(config: Config) -> Iterator[Mirror]:
    """Gives the mirror that a config asks for; it begins to connect at once.

    Without tracking, and with `tracking.offline=true`, it is one that sends nothing.
    """
    tracking = TrackingConfig(**config.tracking)
    mirror = Mirror(tracking, Path(config.output_dir).absolute())
    if tracking.backend == "none" or tracking.offline:
        yield mirror
        return
    mirror.start()
    try:
        yield mirror
    except KeyboardInterrupt:
        mirror.close(timeout_s=LEAVE_WITHIN_S)
        raise
    except BaseException:
        mirror.close()
        raise
    mirror.close()


def experiment_name(config: TrackingConfig) -> str:
    """Returns the experiment of a config: its own, the environment's, or ours."""
    return config.experiment or os.environ.get("MLFLOW_EXPERIMENT_NAME") or "sweeps"


class Mirror:
    """Keeps MLflow up to date with run folders while they grow.

    Args:
        config: Where to send to.
        output_dir: Holds the default database and its artifacts.
    """

    def __init__(self, config: TrackingConfig, output_dir: Path) -> None:
        self._config = config
        self._uri = tracking_uri(config, output_dir)
        self._experiment = experiment_name(config)
        local = self._uri.startswith("sqlite:")
        self._artifacts = output_dir.absolute() / "artifacts" if local else None
        self._store: Store | None = None
        self._error: Exception | None = None
        self._imported, self._connected = threading.Event(), threading.Event()
        self._closing = threading.Event()
        self._runs: list[RunPaths] = []
        self._sweeps: list[SweepPaths] = []
        self._monitors: dict[str, Any] = {}
        self._away = False
        self._failures: list[Exception] = []
        self._closed: dict[Path, int] = {}
        self._round_started = 0.0
        self._thread = threading.Thread(target=self._work, name="mlflow-mirror", daemon=True)

    def start(self) -> None:
        """Begins to connect, while the caller does something else."""
        self._thread.start()

    def wait_ready(self, timeout_s: float | None = None, *, otherwise: str = OTHERWISE) -> None:
        """Waits until the store answers; returns at once where nothing is sent.

        Args:
            timeout_s: How long; None: as the store needs.
            otherwise: What to type where it does not answer.

        Raises:
            TrackingUnavailableError: It did not answer in time, or refused.
        """
        if not self._thread.ident:
            return
        if timeout_s is None:
            # A database on a busy machine takes its time to be made; a server answers or is away.
            timeout_s = SERVER_TIMEOUT_S if self._artifacts is None else IMPORT_TIMEOUT_S
        self._imported.wait(IMPORT_TIMEOUT_S)
        answered = self._connected.wait(timeout_s)
        if answered and self._error is None:
            return
        reason = f"did not answer within {timeout_s:.0f} s"
        if self._error is not None:
            reason = f"cannot be used: {_short(self._error)}"
        self._runs, self._sweeps = [], []
        raise TrackingUnavailableError(
            f"The MLflow store {self._uri} {reason}. Start it, {otherwise}."
        )

    def watch_run(self, paths: RunPaths) -> None:
        """Mirrors one run from now on."""
        self._runs.append(paths)

    def watch_sweep(self, paths: SweepPaths) -> None:
        """Mirrors a sweep and all runs below it from now on."""
        self._sweeps.append(paths)

    @property
    def complete(self) -> bool:
        """Whether the store has everything that was in the folders at the last look."""
        return self._connected.is_set() and not self._failures and not self._thread.is_alive()

    def close(self, timeout_s: float = 60.0) -> None:
        """Sends what is left and ends the thread."""
        self._closing.set()
        if self._artifacts is not None:
            # Leaving while a local database is being made would leave half a schema behind.
            self._connected.wait(IMPORT_TIMEOUT_S)
        if not self._connected.is_set():
            return  # it never answered: nothing was promised to it, and the thread is a daemon
        self._thread.join(min(timeout_s, QUIET_S))
        if self._thread.is_alive() and timeout_s > QUIET_S:
            log.info("Sending the rest to MLflow ...")
            self._thread.join(timeout_s - QUIET_S)
        if not self.complete:
            watched = [paths.folder for paths in self._sweeps] + [p.folder for p in self._runs]
            folders = [os.path.relpath(folder) for folder in watched]
            log.warning(
                "MLflow does not have everything yet. Send it later with: python -m sweeps.sync %s",
                shlex.join(folders),
            )
        for run_id in list(self._monitors):
            self._stop_measuring(run_id)

    def _work(self) -> None:
        try:
            store = Store(self._uri, self._experiment, self._artifacts)
            self._imported.set()
            store.connect()
            self._store = store
        except Exception as error:
            self._error = error
            return
        finally:
            self._imported.set()
            self._connected.set()
        while True:
            last = self._closing.wait(PUSH_EVERY_S)
            self._push_all()
            if last:
                self._try_again()
                return

    def _try_again(self) -> None:
        """Gives a store that is busy, such as a locked database, some more time at the end."""
        deadline = time.monotonic() + TRY_AGAIN_FOR_S
        while self._failures and time.monotonic() < deadline:
            time.sleep(1)
            self._push_all()

    def _push_all(self) -> None:
        self._failures, self._round_started = [], time.monotonic()
        for paths in self._runs:
            self._attempt(functools.partial(self._push_alone, paths))
        for sweep in self._sweeps:
            self._attempt(functools.partial(self._push_sweep, sweep))
        if self._failures and not self._away:
            log.warning(
                "MLflow does not take the points (%s). The run goes on; they are kept in"
                " metrics.jsonl and sent as soon as the store takes them.",
                _short(self._failures[0]),
            )
        self._away = bool(self._failures)

    def _attempt(self, push: Callable[[], None]) -> None:
        """Lets one bad folder not keep the others out, without waiting long for a dead store."""
        if self._failures and time.monotonic() - self._round_started > GIVE_UP_ROUND_AFTER_S:
            return
        try:
            push()
        except Exception as error:
            self._failures.append(error)

    def _sent(self, path: Path) -> dict[str, Any]:
        """Returns what this experiment has; what another or a deleted store had counts nothing."""
        assert self._store is not None
        sent = read_json(path) or {}
        return sent if sent.get("experiment") == self._store.experiment_key else {}

    def _push_sweep(self, paths: SweepPaths) -> None:
        assert self._store is not None
        record = SweepRecord.load(paths)
        if record is None:
            return
        sent = self._sent(paths.mirror)
        run_id = sent.get("run_id")
        # A command can begin and end between two looks: its end tells it from the one before.
        again = sent.get("closed") and sent.get("ended_ms") != record.ended_ms
        if run_id is None or again:
            tags = {"sweeps.sweep": record.name, "sweeps.command": record.command}
            run_id = self._store.find_or_create_run(
                key=record.key,
                name=record.name,
                tags={**_source_tags(), **tags},
                params={"objective": record.objective},
                start_ms=record.started_ms,
            )
            sent = {"run_id": run_id, "experiment": self._store.experiment_key}
            replace_json(paths.mirror, sent)
        below = {PARENT_TAG: run_id, "sweeps.sweep": record.name}
        for cell in paths.cells():
            self._attempt(functools.partial(self._push_run, cell, below))
        for test in range_tests(paths.folder):
            self._attempt(functools.partial(self._push_range_test, test, run_id))
        if record.status != "RUNNING" and not sent.get("closed"):
            self._store.log_files(
                run_id,
                [(p, None) for p in (paths.results_csv, paths.results_markdown, paths.multirun)],
            )
            figures = [(path, "figures") for path in sorted(paths.figures.glob("*.svg"))]
            self._store.log_files(run_id, [(paths.report, None), *figures])
            said = paths.note if paths.note.exists() else paths.results_markdown
            cells = [known for run in paths.cells() if (known := RunRecord.load(run))]
            self._store.log_points(run_id, _summary(record, cells))
            if said.exists():
                # The answer first: MLflow cuts a long note at its end.
                note = f"{said.read_text()}\n\n`{record.command}`"
                note = f"{self._share_view(record, run_id, cells)}\n\n{note}"
                self._store.set_tags(run_id, {"mlflow.note.content": note})
            self._store.end_run(run_id, record.status, record.ended_ms or record.started_ms)
            replace_json(paths.mirror, {**sent, "closed": True, "ended_ms": record.ended_ms})

    def _share_view(self, record: SweepRecord, run_id: str, cells: list[RunRecord]) -> str:
        assert self._store is not None
        state = runs_view(run_id, record.objective, cells)
        self._store.set_experiment_tag(f"{VIEW_TAG}{record.key}", state)
        return links(self._store.experiment_key.partition("@")[0], run_id, record.key)

    def _push_alone(self, paths: RunPaths) -> None:
        """Sends a run that is no part of a sweep, and its range test below it."""
        self._push_run(paths, {})
        run_id: str | None = self._sent(paths.mirror).get("run_id")
        if run_id is not None:
            for test in range_tests(paths.folder):
                self._attempt(functools.partial(self._push_range_test, test, run_id))

    def _push_range_test(self, paths: RunPaths, parent_id: str) -> None:
        assert self._store is not None
        self._push_run(paths, {PARENT_TAG: parent_id, RANGE_TEST_TAG: "true"})
        sent, found = self._sent(paths.mirror), read_json(paths.suggested_lr)
        if found is None or "run_id" not in sent or sent.get("suggested"):
            return
        point = {"value": found["lr"], "step": found["steps"], "time_ms": found["time_ms"]}
        self._store.log_points(sent["run_id"], [{"key": "suggested_lr", **point}])
        replace_json(paths.mirror, {**sent, "suggested": True})

    def _push_run(self, paths: RunPaths, tags: dict[str, str]) -> None:
        assert self._store is not None
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
            self._store.log_points(sent["run_id"], points)
            sent |= dataclasses.asdict(mark)
            replace_json(paths.mirror, sent)
        if record.status == "RUNNING":
            self._measure_system(sent["run_id"], record)
        else:
            self._close_run(paths, record, sent)

    def _open_run(self, paths: RunPaths, record: RunRecord, tags: dict[str, str]) -> dict[str, Any]:
        assert self._store is not None
        tags = {**_source_tags(), **tags, "sweeps.identity": record.identity}
        tags |= {"sweeps.folder": str(paths.folder), "sweeps.device": record.device}
        tags |= _trial_tags(paths)
        if record.git:
            tags |= {
                "mlflow.source.git.commit": record.git["commit"],
                "mlflow.source.git.branch": record.git["branch"],
                "sweeps.git_dirty": str(record.git["dirty"]).lower(),
            }
        for key in record.replaces:
            self._store.trash_run(key)
        run_id = self._store.find_or_create_run(
            key=record.key,
            name=record.name,
            tags=tags,
            params={**record.params, **record.choices},
            start_ms=record.started_ms,
        )
        settings = [
            {"key": f"{SETTING}{key}", "value": value, "step": 0, "time_ms": record.started_ms}
            for key, value in record.numbers.items()
        ]
        self._store.log_points(run_id, settings)
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
        assert self._store is not None
        run_id = sent["run_id"]
        self._stop_measuring(run_id)
        self._store.log_files(
            run_id, [(path, None) for path in (paths.record, paths.log, paths.weights)]
        )
        tags = {"sweeps.outcome": record.outcome or "unknown", **_trial_tags(paths)}
        tags |= {"sweeps.epochs_done": str(record.epochs_done)}
        tags |= {"sweeps.seconds": str(record.seconds)}  # MLflow's duration counts pauses too
        if record.error is not None:
            tags["sweeps.error"] = record.error[:5000]
        if record.best_epoch is not None:
            tags["sweeps.best_epoch"] = str(record.best_epoch)
        self._store.set_tags(run_id, tags)
        if record.objective_value is not None:
            best = {"key": f"best_{record.objective}", "value": record.objective_value, "step": 0}
            # The latest time is the one shown: a continued run has a better best than before.
            ended_ms = record.ended_ms or record.started_ms
            self._store.log_points(run_id, [best | {"time_ms": ended_ms}])
        self._store.end_run(run_id, record.status, record.ended_ms or record.started_ms)
        replace_json(paths.mirror, {**sent, "closed": True, "ended_ms": record.ended_ms})

    def _measure_system(self, run_id: str, record: RunRecord) -> None:
        after = self._config.system_metrics_after_s
        young = after is None or time.time() - record.started_ms / 1000 < after
        if young or run_id in self._monitors:
            return
        self._monitors[run_id] = None  # one try: no measurement is worth a run's points
        with contextlib.suppress(Exception):
            from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

            monitor: Any = SystemMetricsMonitor(  # type: ignore[no-untyped-call]
                run_id, tracking_uri=self._uri, resume_logging=True
            )
            monitor.start()
            self._monitors[run_id] = monitor

    def _stop_measuring(self, run_id: str) -> None:
        monitor = self._monitors.pop(run_id, None)
        if monitor is not None:
            # It waits for the store, for as long as a silent server keeps it waiting.
            ending = threading.Thread(target=_finish, args=(monitor,), daemon=True)
            ending.start()
            ending.join(MEASURING_ENDS_WITHIN_S)


def _summary(sweep: SweepRecord, cells: Sequence[RunRecord]) -> list[dict[str, Any]]:
    """Returns what sweeps are compared by: the best objective, and how many runs ended how."""
    outcomes = Counter(cell.outcome for cell in cells)
    values: dict[str, float] = {f"runs/{name}": outcomes[name] for name in COUNTED}
    finished = [
        cell.objective_value
        for cell in cells
        if cell.outcome == "finished" and is_finite(cell.objective_value)
    ]
    if finished:
        pick = max if maximised(sweep.objective) else min
        values[f"best_{sweep.objective}"] = pick(value for value in finished if value is not None)
    # The latest time is the one shown: a sweep that was extended counts again.
    time_ms = sweep.ended_ms or sweep.started_ms
    return [
        {"key": key, "value": value, "step": 0, "time_ms": time_ms} for key, value in values.items()
    ]


def _finish(monitor: Any) -> None:
    with contextlib.suppress(Exception):  # no measurement is worth a message
        monitor.finish()


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


def _short(error: Exception) -> str:
    # A failed connection is a page of nested exceptions whose last words say it all.
    if found := re.findall(r"\[Errno -?\d+\] ([^'\")]+)", str(error)):
        return str(found[-1]).strip()
    if "timed out" in str(error):
        return "it does not answer"
    if found := re.findall(r"too many (\d+) error responses", str(error)):
        return f"it answers {found[-1]}"
    lines = str(error).strip().splitlines() or [repr(error)]
    return lines[0][:200]
