"""A run under way: built, begun or continued, trained, and all of it written down in its folder."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import logging
import time
import traceback
from typing import TYPE_CHECKING, Any

import torch

from sweeps.config.identity import targets
from sweeps.errors import RunFailedError
from sweeps.files import replace_bytes, replace_json, replace_text
from sweeps.runs.bookkeeping import begin_record, end_record
from sweeps.runs.build import build_trainer
from sweeps.runs.console import Progress
from sweeps.runs.metrics import PointWriter, read_points
from sweeps.runs.outcome import Outcome
from sweeps.runs.provenance import capture_provenance
from sweeps.runs.weights import save_predictions, save_weights
from sweeps.signals import Interrupted, StopRequest, graceful_stop
from sweeps.training import checkpoint
from sweeps.training.determinism import describe_numerics, find_device

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sweeps.data import Dataset
    from sweeps.runs.paths import RunPaths
    from sweeps.runs.provenance import Provenance
    from sweeps.runs.record import RunRecord
    from sweeps.runs.runner import Observer, RunRequest
    from sweeps.training.trainer import Report, Training


log = logging.getLogger(__name__)


def begin(
    request: RunRequest, paths: RunPaths, earlier: RunRecord | None, observe: Observer | None
) -> RunUnderWay:
    """Builds a run, and writes into its folder all that is known before its first step.

    Args:
        request: What to train.
        paths: Where; its lock is held.
        earlier: What an earlier part of the run has written down.
        observe: See `sweeps.runs.runner.run`.

    Raises:
        BadInputError: The run cannot be built; nothing was written.
    """
    # Bits depend on the number of threads: a continued run keeps the number of its first start.
    threads = earlier.threads if earlier else request.config.threads or request.threads
    if threads is not None:
        torch.set_num_threads(threads)
    training, dataset = build_trainer(request.config)
    device = find_device(request.config.device)
    if earlier and paths.checkpoint.exists():
        _say_other_device(earlier, device)
    _say_stored_order(request, dataset)
    provenance = capture_provenance(targets(request.config), device)
    _prepare_folder(request, paths, provenance, fresh=earlier is None)
    record = begin_record(request, training, dataset, provenance, earlier)
    record.save(paths)
    return RunUnderWay(request, paths, record, training, observe)


def _say_other_device(earlier: RunRecord, device: torch.device) -> None:
    before, now = earlier.device, str(device)
    if (model := earlier.numerics.get("device_name")) is not None:
        before = f"{before} ({model})"
        now = f"{now} ({describe_numerics(device)['device_name']})"
    if before != now:
        log.warning(
            "%s began on %s and continues on %s: its numbers may differ from those of one device.",
            earlier.name,
            before,
            now,
        )


def _say_stored_order(request: RunRequest, dataset: Dataset) -> None:
    if not request.config.shuffle and dataset.train.class_by_class:
        log.warning(
            "shuffle=false: the training images stand class by class, so nearly every batch is of one"
            " class alone, and little is learned. Type shuffle=true."
        )


def _prepare_folder(
    request: RunRequest, paths: RunPaths, provenance: Provenance, *, fresh: bool
) -> None:
    """Takes away what a killed process left half written, and writes config, code and machine."""
    paths.hydra.mkdir(parents=True, exist_ok=True)
    for leftover in paths.folder.glob(".*.tmp"):  # of a killed process; we hold the lock
        if paths.mirror.name not in leftover.name and paths.trial.name not in leftover.name:
            leftover.unlink(missing_ok=True)  # those two are the controller's
    for name, text in request.hydra_files.items():
        replace_text(paths.hydra / name, text)
    replace_json(paths.environment, provenance.environment)
    if provenance.diff:
        replace_bytes(paths.diff, provenance.diff)
    if fresh:
        for stale in (paths.checkpoint, paths.previous_checkpoint, paths.mirror):
            stale.unlink(missing_ok=True)


@dataclasses.dataclass
class RunUnderWay:
    """A run that has begun; its folder is locked.

    Attributes:
        request: What was asked for.
        paths: Its files.
        record: Its run.json, written at its beginning and at its end.
        training: Trains it.
        observe: Sees each report, and may end the run by a word.
    """

    request: RunRequest
    paths: RunPaths
    record: RunRecord
    training: Training
    observe: Observer | None
    _stop: StopRequest = dataclasses.field(default_factory=StopRequest)
    _diverged: bool = False

    def train(self) -> RunRecord:
        """Trains to the end, or until it is asked to stop, and writes down what has come of it.

        Raises:
            RunFailedError: The training raised.
            Interrupted: A signal stopped it.
        """
        started, seconds_before = time.monotonic(), self.record.seconds
        # To the end: a signal must not leave a record that says RUNNING.
        with graceful_stop() as self._stop:
            outcome, error = self._attempt()
            self.record.seconds = seconds_before + time.monotonic() - started
            end_record(self.record, self.training, outcome, error)
            self.record.save(self.paths)
        if self._stop.signum is not None:
            raise Interrupted(self._stop.signum)
        if error is not None:
            raise RunFailedError(f"{self.record.name} failed: {error}. Its log: {self.paths.log}")
        return self.record

    def _attempt(self) -> tuple[Outcome, str | None]:
        """Trains from the newest checkpoint; returns the outcome, and why it failed."""
        try:
            self._go_on_from_checkpoint()
            with PointWriter(self.paths.metrics, keep=self.training.state.points) as points:
                ending = self._train_until_asked(points)
            outcome = Outcome.DIVERGED if self._diverged else ending or Outcome.FINISHED
            if outcome == Outcome.FINISHED:
                self._save_results()
        except Interrupted:
            return Outcome.INTERRUPTED, None
        except Exception as failure:
            error, details = _explain_failure(failure), traceback.format_exc()
            said = (self.record.name, error, details)
            log.error("%s failed: %s\n%s", *said, extra={"file_only": True})
            return Outcome.FAILED, error
        return outcome, None

    def _go_on_from_checkpoint(self) -> None:
        state = checkpoint.load_newest(self.paths, points=len(read_points(self.paths.metrics)))
        if state is not None:
            self.training.restore(state)
            log.info("Continuing at epoch %d, step %d.", state.epoch, state.step)

    def _train_until_asked(self, points: PointWriter) -> Outcome | None:
        """Trains to the end, or until asked to stop; returns 'interrupted', or the observer's word."""
        self.record.metrics = dict(points.last)
        saved_at = time.monotonic()
        for report in self._reports(points):
            if report.epoch_done and self.request.config.keep_every_epoch:
                save_weights(self.paths.weights_after(report.epoch), self.training.capture().model)
            ending = self._asked_to_end(report)
            if self.training.done:
                break
            due = time.monotonic() - saved_at >= self.request.config.checkpoint_every_s
            if report.epoch_done or due or ending:
                points.sync()
                checkpoint.save(self.paths, self.training.capture())
                saved_at = time.monotonic()
            if ending:
                return ending
        return None

    def _asked_to_end(self, report: Report) -> Outcome | None:
        word = None
        if self.observe is not None and self._stop.signum is None:
            word = self.observe(report)
        return word or (Outcome.INTERRUPTED if self._stop.signum is not None else None)

    def _reports(self, points: PointWriter) -> Iterator[Report]:
        """Yields the training's reports once their points are written and shown."""
        with _tensorboard(self.request, self.paths) as board, self._progress() as progress:
            for report in self.training.run():
                self._diverged = report.diverged
                if report.metrics:
                    points.write(report.metrics, report.step)
                    self.record.metrics |= report.metrics
                    for key, value in report.metrics.items():
                        board(key, value, report.step)
                progress.show(report)
                yield report

    def _progress(self) -> Progress:
        return Progress(
            self.record.name,
            total_steps=self.training.total_steps,
            done_steps=self.training.state.step,
            epochs=self.request.config.epochs,
            batch_size=self.request.config.batch_size,
        )

    def _save_results(self) -> None:
        state = self.training.state
        if not state.best_model:
            return
        save_weights(self.paths.weights, state.best_model)
        if state.predictions is not None:
            save_predictions(self.paths.predictions, state.predictions)


@contextlib.contextmanager
def _tensorboard(request: RunRequest, paths: RunPaths) -> Iterator[Any]:
    if not request.config.tracking.tensorboard:
        yield lambda *_: None
        return
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(paths.tensorboard)) as writer:
        yield writer.add_scalar


def _explain_failure(failure: Exception) -> str:
    text = (str(failure).strip() or repr(failure)).splitlines()[0]
    if isinstance(failure, OSError) and failure.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{text}. Free some space and type the same command: it continues"
    if "deterministic" in text and "deterministic=false" not in text:
        text += " (deterministic=false allows it)"
    return f"{type(failure).__name__}: {text}"
