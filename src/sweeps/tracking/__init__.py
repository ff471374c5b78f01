"""What leaves the run's folder for MLflow; the folder stays the truth."""

from sweeps.tracking.mirror import Mirror, experiment_name, mirror_of, tracking_uri, where_tracked
from sweeps.tracking.mlflow.download import RUN_ID, Reader
from sweeps.tracking.mlflow.tracker import Store

__all__ = [
    "RUN_ID",
    "Mirror",
    "Reader",
    "Store",
    "experiment_name",
    "mirror_of",
    "tracking_uri",
    "where_tracked",
]
