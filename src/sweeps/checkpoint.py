"""The one thing that must survive a kill: the complete state of a training."""

from __future__ import annotations

import dataclasses
import pickle
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from sweeps.errors import CheckpointError
from sweeps.paths import replace_file

if TYPE_CHECKING:
    from pathlib import Path

FORMAT = 1


@dataclass
class TrainState:
    """Everything needed to continue at the next optimizer step as if nothing had happened.

    Attributes:
        epoch: Epochs completed.
        batch: Batches done in the epoch under way.
        window_loss: Sum over the window of mean loss x batch size, since the last train_loss point.
        window_images: Images in that window.
        best_value: Objective at the best epoch so far.
        rng: State of torch's own generators, which dropout uses.
    """

    model: dict[str, Any]
    optimizer: dict[str, Any]
    schedule: dict[str, Any]
    step: int = 0
    epoch: int = 0
    batch: int = 0
    window_loss: float = 0.0
    window_images: int = 0
    best_value: float | None = None
    best_epoch: int | None = None
    best_metrics: dict[str, float] = field(default_factory=dict)
    best_model: dict[str, Any] = field(default_factory=dict)
    rng: dict[str, Any] = field(default_factory=dict)
    format: int = FORMAT


def save(path: Path, state: TrainState) -> None:
    """Writes the state atomically.

    Raises:
        OSError: The disk is full or the folder cannot be written; the old checkpoint stays.
    """
    fields = {item.name: getattr(state, item.name) for item in dataclasses.fields(state)}
    replace_file(path, lambda file: torch.save(fields, file))


def load(path: Path) -> TrainState:
    """Reads a state onto the CPU; nothing in the file is executed.

    Raises:
        CheckpointError: The file is missing, damaged, or of another format.
    """
    try:
        fields = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, KeyError) as error:
        reason = str(error).strip().splitlines()[0]
        raise CheckpointError(f"{path} cannot be read: {reason}") from error
    if not isinstance(fields, dict) or fields.get("format") != FORMAT:
        raise CheckpointError(f"{path} is not a checkpoint of format {FORMAT}.")
    return TrainState(**fields)
