"""The training loop: forward, loss, backward, step; evaluation after each epoch; test at the end."""

from __future__ import annotations

import contextlib
import copy
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from sweeps.seeding import derive
from sweeps.training.checkpoint import TrainState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor, nn
    from torch.optim import Optimizer

    from sweeps.data import Batches
    from sweeps.training.schedules import Schedule


EPOCH_TRAIN_LOSS = "epoch_train_loss"
"""The mean training loss of the epoch so far, measured where it is the objective."""


@dataclass(frozen=True, slots=True)
class Report:
    """What the loop says after each optimizer step, and after each evaluation.

    Attributes:
        step: Optimizer steps done.
        epoch: Epochs completed.
        metrics: New values at this step; empty for most steps.
        epoch_done: Whether this report ends an epoch.
    """

    step: int
    epoch: int
    metrics: dict[str, float] = field(default_factory=dict)
    epoch_done: bool = False


class Trainer:
    """Trains one model and yields reports; it knows tensors, objects and numbers, no config.

    Args:
        model: On its device already.
        loss: Maps outputs (n, classes) and targets (n,) to the mean loss of the batch.
        optimizer: Holds the base rate of each of its parameter groups.
        schedule: Gives the factor on the base rates at each step.
        train: Batches to learn from.
        val: Evaluated after each epoch, or None.
        test: Evaluated at the end, or after each epoch where there is no `val`.
        epochs: Passes over `train`.
        objective: The metric that picks the best epoch, such as 'val_accuracy' or `EPOCH_TRAIN_LOSS`.
        pick: Whether the 'best' epoch by the objective or the 'last' one is the result.
        log_every: Optimizer steps between two `train_loss` points.
        seed: Seeds torch's own generators, which dropout uses.
        device: Where the tensors live.
        bf16: Whether the forward pass runs in bfloat16.
        compiled: The compiled form of `model`, where compilation is asked for.
        report_every: Optimizer steps between two evaluations besides those after an epoch, or None.
    """

    def __init__(
        self,
        *,
        model: nn.Module,
        loss: nn.Module,
        optimizer: Optimizer,
        schedule: Schedule,
        train: Batches,
        val: Batches | None,
        test: Batches,
        epochs: int,
        objective: str,
        log_every: int,
        seed: int,
        device: torch.device,
        bf16: bool = False,
        compiled: Any = None,
        report_every: int | None = None,
        pick: str = "best",
    ) -> None:
        self.model = model
        self.epochs = epochs
        self.objective = objective
        self._pick = pick
        self.diverged = False
        self.state = TrainState(model={}, optimizer={}, schedule={})
        self._forward = compiled if compiled is not None else model
        self._loss = loss
        self._optimizer = optimizer
        self._schedule = schedule
        self._base_rates = [float(group["lr"]) for group in optimizer.param_groups]
        self._train, self._val, self._test = train, val, test
        self._log_every = log_every
        self._report_every = report_every
        self.device = device
        self._bf16 = bf16
        self._unread: list[tuple[Tensor, int]] = []
        self._predictions: Tensor | None = None  # of the latest evaluation
        torch.manual_seed(derive(seed, "dropout"))

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the whole training."""
        return self.epochs * self._train.steps_per_epoch

    @property
    def done(self) -> bool:
        """Whether nothing is left to train or to measure."""
        trained = self.state.epoch >= self.epochs
        return self.diverged or (trained and (self._val is None or self.state.tested))

    def run(self) -> Iterator[Report]:
        """Trains from the present state to the end, or until the loss is not finite."""
        state = self.state
        while state.epoch < self.epochs and not self.diverged:
            yield from self._train_epoch()
            if not self.diverged:
                yield self._end_epoch()
        if not self.done:
            yield self._report(self._test_best())

    def capture(self) -> TrainState:
        """Returns the complete state, ready to be saved."""
        self._read_losses()
        state = copy.copy(self.state)
        state.model = self.model.state_dict()
        state.optimizer = self._optimizer.state_dict()
        state.schedule = self._schedule.state_dict()
        state.rng = {"cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            state.rng["cuda"] = torch.cuda.get_rng_state(self.device)
        elif self.device.type == "mps":
            state.rng["mps"] = torch.mps.get_rng_state()
        return state

    def restore(self, state: TrainState) -> None:
        """Continues from a saved state."""
        self.state = state
        self.model.load_state_dict(state.model)
        self._optimizer.load_state_dict(state.optimizer)
        self._schedule.load_state_dict(state.schedule)
        torch.set_rng_state(state.rng["cpu"])
        own = state.rng.get(self.device.type)  # none where it has trained on another device
        if own is not None and self.device.type == "cuda":
            torch.cuda.set_rng_state(own, self.device)
        elif own is not None and self.device.type == "mps":
            torch.mps.set_rng_state(own)

    def _train_epoch(self) -> Iterator[Report]:
        state = self.state
        self.model.train()
        # Reading the loss waits for a GPU; there it is read once a window, on a CPU at each step.
        read_each_step = self.device.type == "cpu"
        for x, y in self._train.epoch(state.epoch, start=state.batch):
            factor = self._schedule.factor
            for group, rate in zip(self._optimizer.param_groups, self._base_rates, strict=True):
                group["lr"] = rate * factor
            self._optimizer.zero_grad(set_to_none=True)
            with self._autocast():
                loss = self._loss(self._forward(x), y)
            loss.backward()
            self._optimizer.step()
            rate_in_use = float(self._optimizer.param_groups[0]["lr"])
            self._schedule.advance()
            state.step += 1
            state.batch += 1
            self._unread.append((loss.detach(), len(y)))
            log_now = state.step % self._log_every == 0
            if read_each_step or log_now or state.batch == self._train.steps_per_epoch:
                self._read_losses()
                # Only here: a checkpoint in between must not change where a run diverges.
                self.diverged = not math.isfinite(state.window_loss)
            metrics = {}
            if log_now or self.diverged:
                metrics = {"train_loss": self._close_window(), "lr": rate_in_use}
            if self._evaluates_here():
                metrics |= self._measure()
                self.model.train()
            yield self._report(metrics)
            if self.diverged:
                return

    def _evaluates_here(self) -> bool:
        """Returns whether to evaluate within the epoch; its end is evaluated anyway."""
        state, every = self.state, self._report_every
        if every is None or self.diverged or state.batch == self._train.steps_per_epoch:
            return False
        return state.step % every == 0

    def _read_losses(self) -> None:
        state = self.state
        if self._unread and state.step == len(self._unread):
            state.start_loss = self._unread[0][0].item()
        for loss, images in self._unread:
            total = loss.item() * images
            state.window_loss += total
            state.window_images += images
            state.epoch_loss += total
            state.epoch_images += images
        self._unread.clear()

    def _close_window(self) -> float:
        mean = self.state.window_loss / self.state.window_images
        self.state.window_loss, self.state.window_images = 0.0, 0
        return mean

    def _end_epoch(self) -> Report:
        state = self.state
        state.epoch += 1
        state.batch = 0
        metrics = {}
        if state.window_images:
            metrics["train_loss"] = self._close_window()
            metrics["lr"] = float(self._optimizer.param_groups[0]["lr"])
        metrics |= self._measure()
        state.epoch_loss, state.epoch_images = 0.0, 0
        loss = metrics["test_loss" if self._val is None else "val_loss"]
        self._schedule.epoch_end(loss)
        self.diverged = not math.isfinite(loss)
        if not self.diverged:
            self._keep_best(metrics)
        return self._report(metrics, epoch_done=True)

    def _measure(self) -> dict[str, float]:
        """Evaluates on the validation images, or on the test images where there are none."""
        split, batches = ("test", self._test) if self._val is None else ("val", self._val)
        loss, accuracy, self._predictions = self._evaluate(batches)
        metrics = {f"{split}_loss": loss, f"{split}_accuracy": accuracy}
        self._read_losses()
        # A checkpoint of format 1 at the end of an epoch knows nothing of that epoch.
        if self.objective == EPOCH_TRAIN_LOSS and self.state.epoch_images:
            metrics[EPOCH_TRAIN_LOSS] = self.state.epoch_loss / self.state.epoch_images
        return metrics

    def _report(self, metrics: dict[str, float], *, epoch_done: bool = False) -> Report:
        self.state.points += len(metrics)
        return Report(self.state.step, self.state.epoch, metrics, epoch_done)

    def _keep_best(self, metrics: dict[str, float]) -> None:
        state = self.state
        value = metrics.get(self.objective)
        if value is None:
            return
        sign = 1 if self.objective.endswith("_accuracy") else -1
        better = state.best_value is None or sign * value > sign * state.best_value
        if better or self._pick == "last":
            state.best_value, state.best_epoch = value, state.epoch
            state.best_metrics = dict(metrics)
            if self._val is None:
                state.predictions = self._predictions
            state.best_model = {
                name: tensor.detach().to("cpu", copy=True)
                for name, tensor in self.model.state_dict().items()
            }

    def _test_best(self) -> dict[str, float]:
        last = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}
        if self.state.best_model:
            self.model.load_state_dict(self.state.best_model)
        loss, accuracy, self.state.predictions = self._evaluate(self._test)
        self.model.load_state_dict(last)
        self.state.tested = True
        self.state.best_metrics |= {"test_loss": loss, "test_accuracy": accuracy}
        return {"test_loss": loss, "test_accuracy": accuracy}

    @torch.no_grad()
    def _evaluate(self, batches: Batches) -> tuple[float, float, Tensor]:
        """Returns the mean loss per sample, the accuracy in 0..1, and classes (2, n)."""
        self.model.eval()
        total = torch.zeros((), dtype=torch.float64, device="cpu")
        classes: list[Tensor] = []
        correct, images = 0, 0
        for x, y in batches.ordered():
            with self._autocast():
                outputs = self._forward(x)
                loss = self._loss(outputs, y)
            total += loss.cpu().double() * len(y)  # MPS has no float64
            predicted = outputs.argmax(dim=1)
            classes.append(torch.stack([predicted, y]).to(torch.int16))
            correct += int((predicted == y).sum())
            images += len(y)
        return float(total) / images, correct / images, torch.cat(classes, dim=1).cpu()

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        if not self._bf16:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)
