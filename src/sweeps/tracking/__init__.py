"""What leaves the run's folder for MLflow; the folder stays the truth."""

from sweeps.tracking.mirror import Mirror, mirror_of, tracking_uri, ui_command

__all__ = ["Mirror", "mirror_of", "tracking_uri", "ui_command"]
