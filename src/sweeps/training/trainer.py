"""The training loop: forward, loss, backward, step; evaluation after each epoch; test at the end."""

from __future__ import annotations

import contextlib
import copy
import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from sweeps.seeding import derive
from sweeps.training.averaging import JudgedWeights
from sweeps.training.best import keep_best
from sweeps.training.checkpoint import TrainState
from sweeps.training.evaluation import evaluate
from sweeps.training.loss_meter import LossMeter
from sweeps.training.objective import EPOCH_TRAIN_LOSS
from sweeps.training.protocol import Report
from sweeps.training.stepper import Stepper

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor, nn
    from torch.optim import Optimizer

    from sweeps.data import Batches
    from sweeps.training.evaluation import Evaluation
    from sweeps.training.schedules import Schedule


@dataclass(frozen=True)
class Parts:
    """What a training is made of.

    Attributes:
        model: On its device already.
        loss: Maps outputs (n, classes) and targets (n,) to the mean loss of the batch.
        optimizer: Holds the base rate of each of its parameter groups.
        schedule: Gives the factor on the base rates at each step.
        train: Batches to learn from.
        val: Evaluated after each epoch, or None.
        test: Evaluated at the end, or after each epoch where there is no `val`.
        compiled: The compiled form of `model`, where compilation is asked for.
    """

    model: nn.Module
    loss: nn.Module
    optimizer: Optimizer
    schedule: Schedule
    train: Batches
    val: Batches | None
    test: Batches
    compiled: Any = None

    @property
    def forward(self) -> Any:
        """Maps inputs to outputs: the model, compiled where that is asked for."""
        return self.model if self.compiled is None else self.compiled


@dataclass(frozen=True)
class TrainerSettings:
    """How long a model is trained, and what is measured of it.

    Attributes:
        epochs: Passes over the training batches.
        objective: The metric that picks the best epoch, such as 'val_accuracy' or `EPOCH_TRAIN_LOSS`.
        log_every: Optimizer steps between two `train_loss` points.
        seed: Seeds torch's own generators, which dropout uses.
        device: Where the tensors live.
        bf16: Whether the forward pass runs in bfloat16.
        report_every: Optimizer steps between two evaluations besides those after an epoch, or None.
        pick: Whether the 'best' epoch by the objective or the 'last' one is the result.
        clip_norm: The largest norm of a step's gradient, or None for any.
        accumulate: Batches whose gradients make one optimizer step.
        ema: Decay of the moving average of the weights by which a run is judged, or None for none.
    """

    epochs: int
    objective: str
    log_every: int
    seed: int
    device: torch.device
    bf16: bool = False
    report_every: int | None = None
    pick: str = "best"
    clip_norm: float | None = None
    accumulate: int = 1
    ema: float | None = None

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Returns the precision of forward passes."""
        if not self.bf16:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)


class Trainer:
    """Trains one model and yields reports; it knows tensors, objects and numbers, no config."""

    def __init__(self, parts: Parts, settings: TrainerSettings) -> None:
        self.model = parts.model
        self.state = TrainState(model={}, optimizer={}, schedule={})
        self.diverged = False
        self._parts, self._settings = parts, settings
        self._losses = LossMeter(self.state)
        self._stepper, self._judged = Stepper(parts, settings), JudgedWeights(parts, settings)
        torch.manual_seed(derive(settings.seed, "dropout"))

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the whole training."""
        batches = self._parts.train.steps_per_epoch
        return self._settings.epochs * math.ceil(batches / self._settings.accumulate)

    @property
    def done(self) -> bool:
        """Whether nothing is left to train or to measure."""
        trained = self.state.epoch >= self._settings.epochs
        return self.diverged or (trained and (self._parts.val is None or self.state.tested))

    def run(self) -> Iterator[Report]:
        """Trains from the present state to the end, or until the loss is not finite."""
        while self.state.epoch < self._settings.epochs and not self.diverged:
            yield from self._train_epoch()
            if not self.diverged:
                yield self._end_epoch()
        if not self.done:
            yield self._report(self._test_best())

    def capture(self) -> TrainState:
        """Returns the complete state, ready to be saved."""
        self._losses.read()
        state = copy.copy(self.state)
        state.model = self.model.state_dict()
        state.optimizer = self._parts.optimizer.state_dict()
        state.schedule = self._parts.schedule.state_dict()
        state.average = self._judged.average
        state.rng = _generators(self._settings.device)
        return state

    def restore(self, state: TrainState) -> None:
        """Continues from a saved state."""
        self.state, self._losses = state, LossMeter(state)
        self.model.load_state_dict(state.model)
        self._judged.average = {n: t.to(self._settings.device) for n, t in state.average.items()}
        self._parts.optimizer.load_state_dict(state.optimizer)
        self._parts.schedule.load_state_dict(state.schedule)
        _set_generators(state.rng, self._settings.device)

    def _train_epoch(self) -> Iterator[Report]:
        state = self.state
        self._judged.train()
        batches = self._parts.train.epoch(state.epoch, start=state.batch)
        while taken := list(itertools.islice(batches, self._settings.accumulate)):
            loss = self._stepper.take(taken)
            state.step += 1
            state.batch += len(taken)
            self._judged.update(state.step)
            self._losses.add(loss, sum(len(y) for _, y in taken))
            metrics = self._read_loss()
            if self._evaluates_here():
                with self._judged.in_place(state.epoch):
                    metrics |= self._measure().metrics
                self._judged.train()
            yield self._report(metrics)
            if self.diverged:
                return

    def _read_loss(self) -> dict[str, float]:
        """Returns the points of a step, where it has some, and sees whether the loss is finite."""
        state, settings = self.state, self._settings
        log_now = state.step % settings.log_every == 0
        # Reading the loss waits for a GPU; there it is read once a window, on a CPU at each step.
        read_each_step = settings.device.type == "cpu"
        if read_each_step or log_now or state.batch == self._parts.train.steps_per_epoch:
            self._losses.read()
            # Only here: a checkpoint in between must not change where a run diverges.
            self.diverged = not math.isfinite(state.window_loss)
        if log_now or self.diverged:
            return {"train_loss": self._losses.close_window(), **self._stepper.rates()}
        return {}

    def _evaluates_here(self) -> bool:
        """Returns whether to evaluate within the epoch; its end is evaluated anyway."""
        state, every = self.state, self._settings.report_every
        if every is None or self.diverged or state.batch == self._parts.train.steps_per_epoch:
            return False
        return state.step % every == 0

    def _end_epoch(self) -> Report:
        state, parts, settings = self.state, self._parts, self._settings
        state.epoch += 1
        state.batch = 0
        metrics = {}
        if state.window_images:
            metrics["train_loss"] = self._losses.close_window()
            metrics |= self._stepper.rates()
        with self._judged.in_place(state.epoch):
            measured = self._measure()
            metrics |= measured.metrics
            self.diverged = not math.isfinite(measured.loss)
            by, pick = settings.objective, settings.pick
            if not self.diverged and keep_best(state, metrics, self.model, by=by, pick=pick):
                state.predictions = measured.classes if parts.val is None else state.predictions
        self._losses.close_epoch()
        parts.schedule.epoch_end(measured.loss)
        return self._report(metrics, epoch_done=True)

    def _measure(self) -> Evaluation:
        """Evaluates on the validation images, or on the test images where there are none."""
        parts = self._parts
        split, batches = ("test", parts.test) if parts.val is None else ("val", parts.val)
        measured = evaluate(split, batches, parts, self._settings)
        self._losses.read()
        # A checkpoint of format 1 at the end of an epoch knows nothing of that epoch.
        if self._settings.objective == EPOCH_TRAIN_LOSS and self.state.epoch_images:
            measured.metrics[EPOCH_TRAIN_LOSS] = self._losses.epoch_mean
        return measured

    def _report(self, metrics: dict[str, float], *, epoch_done: bool = False) -> Report:
        self.state.points += len(metrics)
        return Report(self.state.step, self.state.epoch, metrics, epoch_done, self.diverged)

    def _test_best(self) -> dict[str, float]:
        last = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}
        if self.state.best_model:
            self.model.load_state_dict(self.state.best_model)
        measured = evaluate("test", self._parts.test, self._parts, self._settings)
        self.model.load_state_dict(last)
        self.state.tested, self.state.predictions = True, measured.classes
        self.state.best_metrics |= measured.metrics
        return measured.metrics


def _generators(device: torch.device) -> dict[str, Tensor]:
    """Returns the state of torch's own generators, which dropout uses."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    elif device.type == "mps":
        states["mps"] = torch.mps.get_rng_state()
    return states


def _set_generators(states: dict[str, Tensor], device: torch.device) -> None:
    torch.set_rng_state(states["cpu"])
    own = states.get(device.type)  # none where it has trained on another device
    if own is not None and device.type == "cuda":
        torch.cuda.set_rng_state(own, device)
    elif own is not None and device.type == "mps":
        torch.mps.set_rng_state(own)
