"""What leaves the run's folder for MLflow; the folder stays the truth."""

from sweeps.tracking.mirror import Mirror, tracking_uri
from sweeps.tracking.reader import RUN_ID, Reader

__all__ = ["RUN_ID", "Mirror", "Reader", "tracking_uri"]
