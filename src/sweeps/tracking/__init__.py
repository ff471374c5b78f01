"""What leaves the run's folder for trackers such as MLflow; the folder stays the truth."""

from sweeps.runs.metrics import Point
from sweeps.tracking.mirror import Mirror, mirror_of
from sweeps.tracking.mlflow.download import RUN_ID, Reader
from sweeps.tracking.mlflow.store import Store
from sweeps.tracking.settings import (
    built_in_trackers,
    experiment_name,
    mlflow_tracker,
    own_tracker,
    trackers_of,
    tracking_uri,
    where_tracked,
)
from sweeps.tracking.tracker import Ending, RunToTrack, Tracker

__all__ = [
    "RUN_ID",
    "Ending",
    "Mirror",
    "Point",
    "Reader",
    "RunToTrack",
    "Store",
    "Tracker",
    "built_in_trackers",
    "experiment_name",
    "mirror_of",
    "mlflow_tracker",
    "own_tracker",
    "trackers_of",
    "tracking_uri",
    "where_tracked",
]
