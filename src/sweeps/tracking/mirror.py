"""Mirrors run folders into MLflow from one background thread.

The folders are the truth. The mirror reads what is new in them and sends it in batches; when the
store is locked, slow or gone the training does not notice, and what is missing is sent later.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import shlex
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from sweeps.errors import TrackingUnavailableError
from sweeps.tracking.address import experiment_of, sqlite_uri
from sweeps.tracking.mlflow.client import explain
from sweeps.tracking.mlflow.system import SystemMetrics
from sweeps.tracking.mlflow.tracker import Store
from sweeps.tracking.push import Pusher

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sweeps.config import Config, TrackingConfig
    from sweeps.runs.paths import RunPaths, SweepPaths


log = logging.getLogger(__name__)

PUSH_EVERY_S = 2.0
IMPORT_TIMEOUT_S = 120.0
SERVER_TIMEOUT_S = 10.0
TRY_AGAIN_FOR_S = 15.0
QUIET_S = 4.0
OTHERWISE = "name another with tracking.uri=..., or type tracking=none"
LEAVE_WITHIN_S = 6.0
"""On Ctrl-C: what the store does not take in this time is sent by the next command."""


def tracking_uri(config: TrackingConfig, output_dir: Path) -> str:
    """Returns the store of a config: its own, the environment's, or SQLite in the output folder."""
    configured = config.uri or os.environ.get("MLFLOW_TRACKING_URI")
    return configured or sqlite_uri(output_dir / "mlflow.db")


def _ui_command(config: Config) -> str:
    """Returns the command that opens the runs in MLflow, or the address of their server."""
    uri = tracking_uri(config.tracking, Path(config.output_dir))
    if uri.startswith("http"):
        return uri
    shown = uri.replace(f"sqlite:///{Path.cwd()}/", "sqlite:///")
    return f"mlflow ui --backend-store-uri {shlex.quote(shown)}"


def where_tracked(config: Config, folder: Path) -> str:
    """Returns how to see the runs of a folder in MLflow, or how to send them there first."""
    if config.tracking.offline:
        sync = shlex.join(["python", "-m", "sweeps.sync", os.path.relpath(folder)])
        return f"MLflow has none of it yet. To send it: {sync}"
    return f"Compare in the browser: {_ui_command(config)}"


@contextlib.contextmanager
def mirror_of(config: Config) -> Iterator[Mirror]:
    """Gives the mirror that a config asks for; it begins to connect at once.

    Without tracking, and with `tracking.offline=true`, it is one that sends nothing.
    """
    tracking = config.tracking
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


def experiment_name(config: TrackingConfig) -> str | None:
    """Returns the experiment of a config: its own, the environment's, or ours; see `experiment_of`."""
    return experiment_of(config.experiment)


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
        self._system = SystemMetrics(self._uri, config.system_metrics_after_s)
        self._store: Store | None = None
        self._pusher: Pusher | None = None
        self._error: Exception | None = None
        self._imported, self._connected = threading.Event(), threading.Event()
        self._closing = threading.Event()
        self._runs: list[RunPaths] = []
        self._sweeps: list[SweepPaths] = []
        self._away = False
        self._trash: str | None = None
        self._failures: list[Exception] = []
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
            reason = f"cannot be used: {explain(self._error)}"
        self._runs, self._sweeps = [], []
        if isinstance(self._error, TrackingUnavailableError):
            raise self._error
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
            self._thread.join(None if timeout_s == math.inf else timeout_s - QUIET_S)
        if not self.complete:
            watched = [paths.folder for paths in self._sweeps] + [p.folder for p in self._runs]
            folders = [os.path.relpath(folder) for folder in watched]
            log.warning(
                "MLflow does not have everything yet. Send it later with: python -m sweeps.sync %s",
                shlex.join(folders),
            )
        self._system.close()

    def _work(self) -> None:
        try:
            self._store = Store(self._uri, self._experiment, self._artifacts)
            self._imported.set()
            self._store.connect()
            self._pusher = Pusher(self._store, self._system)
        except Exception as error:
            self._error = error
            return
        finally:
            self._imported.set()
            self._connected.set()
        while True:
            last = self._closing.wait(PUSH_EVERY_S)
            self._push()
            if last:
                self._try_again()
                return

    def _try_again(self) -> None:
        """Gives a store that is busy, such as a locked database, some more time at the end."""
        deadline = time.monotonic() + TRY_AGAIN_FOR_S
        while self._failures and not self._trash and time.monotonic() < deadline:
            time.sleep(1)
            self._push()

    def _push(self) -> None:
        assert self._pusher is not None
        self._failures = self._pusher.push(self._runs, self._sweeps)
        if self._failures and not self._away:
            self._trash = self._why_trash()
            log.warning(
                "MLflow does not take the points (%s). The run goes on; they are kept in"
                " metrics.jsonl and sent as soon as the store takes them.",
                self._trash or explain(self._failures[0]),
            )
        self._away = bool(self._failures)

    def _why_trash(self) -> str | None:
        """Returns what to type where the experiment is in the trash: no waiting brings it back."""
        assert self._store is not None
        with contextlib.suppress(Exception):  # a store that is away
            return self._store.explain_trash()
        return None
