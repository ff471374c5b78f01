"""What a training is judged by: the metric that picks its best epoch, and which way is better."""

from __future__ import annotations

EPOCH_TRAIN_LOSS = "epoch_train_loss"
"""The mean training loss of the epoch so far, measured where it is the objective."""


def maximised(metric: str) -> bool:
    """Returns whether more is better."""
    return metric.endswith("accuracy")


def measured_by(objective: str) -> str:
    """Returns the metric that an objective is read from, which has one point an evaluation.

    The points of train_loss are means of a few steps each; its mean over an epoch is another metric.
    """
    return EPOCH_TRAIN_LOSS if objective == "train_loss" else objective
