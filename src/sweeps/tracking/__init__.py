"""What leaves the run's folder for MLflow; the folder stays the truth."""

from sweeps.tracking.mirror import Mirror, tracking_uri

__all__ = ["Mirror", "tracking_uri"]
