"""Sweeps over PyTorch trainings, composed by Hydra and tracked in MLflow."""

__version__ = "0.1.0"
