"""Hydra plugins of sweeps: thin, and free of torch and mlflow, because Hydra imports them at each start."""
