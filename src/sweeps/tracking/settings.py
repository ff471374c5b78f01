"""Which trackers a config asks for, and where each of them writes: the one place with the defaults."""

from __future__ import annotations

import inspect
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from sweeps.config.trust import check_trusted, named_object
from sweeps.errors import BadInputError
from sweeps.tracking.address import experiment_of, sqlite_uri
from sweeps.tracking.mlflow.tracker import MLflowTracker
from sweeps.tracking.tensorboard import TensorBoardTracker

if TYPE_CHECKING:
    from sweeps.config import Config, TrackingConfig
    from sweeps.tracking.tracker import Tracker


OFFER = ("connect", "open_run", "log", "log_files", "close_run")
"""What makes a class a tracker, see `sweeps.tracking.tracker`."""


def trackers_of(config: Config) -> list[Tracker]:
    """Returns the trackers that a config asks for; with `tracking=none` there are none.

    With `tracking.offline=true` nothing leaves the run's folder.

    Raises:
        BadInputError: A tracker of `tracking.extra` is not trusted, not there, or no tracker.
    """
    tracking = config.tracking
    output_dir, trusted = Path(config.output_dir).absolute(), tuple(config.trusted_targets)
    own = [] if tracking.offline else tracking.extra
    return [
        *built_in_trackers(tracking, output_dir),
        *(own_tracker(name, output_dir, trusted) for name in own),
    ]


def built_in_trackers(config: TrackingConfig, output_dir: Path) -> list[Tracker]:
    """Returns those of ours that a config asks for."""
    trackers: list[Tracker] = []
    if config.tensorboard:
        trackers.append(TensorBoardTracker())
    if _uses_mlflow(config) and not config.offline:
        trackers.append(mlflow_tracker(config, output_dir))
    return trackers


def mlflow_tracker(config: TrackingConfig, output_dir: Path) -> MLflowTracker:
    """Returns the tracker that sends to MLflow."""
    uri = tracking_uri(config, output_dir)
    artifacts = output_dir.absolute() / "artifacts" if uri.startswith("sqlite:") else None
    name = experiment_name(config)
    return MLflowTracker(uri, name, artifacts, config.system_metrics_after_s)


def own_tracker(name: str, output_dir: Path, trusted: tuple[str, ...]) -> Tracker:
    """Returns a person's own tracker, made with the output folder.

    Args:
        name: Of its class, such as 'my_package.MyTracker'.
        output_dir: Holds the runs.
        trusted: Packages whose code may run.

    Raises:
        BadInputError: It is not trusted, not there, or no tracker.
    """
    check_trusted("tracking.extra", name, trusted)
    found, _ = named_object("tracking.extra", name, trusted)
    offers_all = all(callable(getattr(found, method, None)) for method in OFFER)
    is_tracker = offers_all and inspect.isclass(found)
    if not is_tracker:
        raise BadInputError(
            f"tracking.extra={name} is no tracker: it must be a class with {', '.join(OFFER)}. The"
            " smallest one is shown in docs/extending/tracker.md."
        )
    tracker: Tracker = found(output_dir)
    return tracker


def tracking_uri(config: TrackingConfig, output_dir: Path) -> str:
    """Returns the store of a config: its own, the environment's, or SQLite in the output folder."""
    configured = config.uri or os.environ.get("MLFLOW_TRACKING_URI")
    return configured or sqlite_uri(output_dir / "mlflow.db")


def experiment_name(config: TrackingConfig) -> str | None:
    """Returns the experiment of a config: its own, the environment's, or ours; see `experiment_of`."""
    return experiment_of(config.experiment)


def where_tracked(config: Config, folder: Path) -> str | None:
    """Returns how to see the runs of a folder in MLflow, or how to send them there first.

    Without MLflow there is nothing to say.
    """
    tracking = config.tracking
    if not _uses_mlflow(tracking):
        return None
    if tracking.offline:
        sync = shlex.join(["python", "-m", "sweeps.sync", os.path.relpath(folder)])
        return f"MLflow has none of it yet. To send it: {sync}"
    return f"Compare in the browser: {_ui_command(tracking, Path(config.output_dir))}"


def _uses_mlflow(config: TrackingConfig) -> bool:
    return config.backend != "none"


def _ui_command(config: TrackingConfig, output_dir: Path) -> str:
    """Returns the command that opens the runs in MLflow, or the address of their server."""
    uri = tracking_uri(config, output_dir)
    if uri.startswith("http"):
        return uri
    shown = uri.replace(f"sqlite:///{Path.cwd()}/", "sqlite:///")
    return f"mlflow ui --backend-store-uri {shlex.quote(shown)}"
