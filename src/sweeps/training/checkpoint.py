"""The one thing that must survive a kill: the complete state of a training."""

from __future__ import annotations

import dataclasses
import logging
import os
import pickle
import shutil
import zipfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import torch

from sweeps.errors import CheckpointError
from sweeps.files import replacing

if TYPE_CHECKING:
    from pathlib import Path


log = logging.getLogger(__name__)

FORMAT = 2
"""Format 1 has no `epoch_loss` and `epoch_images`, which begin at 0."""


class CheckpointFiles(Protocol):
    """Where a run keeps its states, see `sweeps.runs.paths.RunPaths`."""

    @property
    def checkpoint(self) -> Path:
        """The last complete state."""
        ...

    @property
    def previous_checkpoint(self) -> Path:
        """The complete state before it."""
        ...

    @property
    def metrics(self) -> Path:
        """The points that belong to a state."""
        ...


@dataclass
class TrainState:
    """Everything needed to continue at the next optimizer step as if nothing had happened.

    Attributes:
        epoch: Epochs completed.
        batch: Batches done in the epoch under way.
        window_loss: Sum over the window of mean loss x batch size, since the last train_loss point.
        window_images: Images in that window.
        epoch_loss: The same sum over the epoch under way.
        epoch_images: Images in that sum.
        best_value: Objective at the best epoch so far, or at the last where that one is picked.
        points: Metric points reported so far.
        tested: Whether the test images have been measured.
        start_loss: Loss of the first batch before the first step.
        predictions: Classes (2, n) of the test images: as the best epoch predicts them, and true.
        rng: State of torch's own generators, which dropout uses.
        average: The moving average of the weights, where there is one.
    """

    model: dict[str, Any]
    optimizer: dict[str, Any]
    schedule: dict[str, Any]
    step: int = 0
    epoch: int = 0
    batch: int = 0
    window_loss: float = 0.0
    window_images: int = 0
    epoch_loss: float = 0.0
    epoch_images: int = 0
    points: int = 0
    tested: bool = False
    start_loss: float | None = None
    predictions: torch.Tensor | None = None
    best_value: float | None = None
    best_epoch: int | None = None
    best_metrics: dict[str, float] = field(default_factory=dict)
    best_model: dict[str, Any] = field(default_factory=dict)
    rng: dict[str, Any] = field(default_factory=dict)
    average: dict[str, Any] = field(default_factory=dict)
    format: int = FORMAT


def save(files: CheckpointFiles, state: TrainState) -> None:
    """Writes the state atomically; the checkpoint before it is kept as the previous one.

    Raises:
        OSError: The disk is full or the folder cannot be written; the old checkpoints stay.
    """
    fields = {item.name: getattr(state, item.name) for item in dataclasses.fields(state)}
    with replacing(files.checkpoint) as file:
        torch.save(fields, file)
        _keep_previous(files)


def load_newest(files: CheckpointFiles, *, points: int) -> TrainState | None:
    """Returns the last whole state, or None where there is none; what is damaged is named in a warning.

    Args:
        files: Of the run.
        points: Metric points in the run's file; a state that knows more of them is of no use.
    """
    for path in (files.checkpoint, files.previous_checkpoint):
        if not path.exists():
            continue
        try:
            state = load(path)
        except CheckpointError as error:
            log.warning("%s Going back to the state before it.", error)
            continue
        if state.points <= points:
            return state
        log.warning("%s has lost points that %s knows.", files.metrics, path.name)
    return None


def load(path: Path) -> TrainState:
    """Reads a state onto the CPU; nothing in the file is executed.

    Raises:
        CheckpointError: The file is missing, damaged, or of another format.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()  # torch itself does not compare checksums
        if damaged is not None:
            raise CheckpointError(f"{path} is damaged: the checksum of {damaged} differs.")
        fields = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, zipfile.BadZipFile) as error:
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        raise CheckpointError(f"{path} cannot be read: {reason}.") from error
    except (pickle.UnpicklingError, KeyError, ValueError) as error:
        raise CheckpointError(
            f"{path} cannot be read: it holds more than a training state."
        ) from error
    if not isinstance(fields, dict) or fields.get("format") not in (1, FORMAT):
        raise CheckpointError(f"{path} is not a checkpoint of format 1 or {FORMAT}.")
    return TrainState(**(fields | {"format": FORMAT}))


def _keep_previous(files: CheckpointFiles) -> None:
    """Gives the present checkpoint a second name, so that there is one at every instant."""
    if not files.checkpoint.exists():
        return
    previous = files.previous_checkpoint
    temporary = previous.with_name(f".{previous.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        temporary.hardlink_to(files.checkpoint)
    except OSError:  # a file system without second names
        shutil.copyfile(files.checkpoint, temporary)
    temporary.replace(previous)
