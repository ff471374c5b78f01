"""A run under way: trained step by step, and all of it written down in its folder."""

from __future__ import annotations

import dataclasses
import errno
import logging
import time
import traceback
from typing import TYPE_CHECKING

from sweeps.errors import RunFailedError
from sweeps.runs.bookkeeping import end_record
from sweeps.runs.console import Progress
from sweeps.runs.metrics import PointWriter, read_points
from sweeps.runs.outcome import Outcome
from sweeps.runs.weights import save_predictions, save_weights
from sweeps.signals import Interrupted, StopRequest, graceful_stop
from sweeps.training import checkpoint

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sweeps.runs.paths import RunPaths
    from sweeps.runs.record import RunRecord
    from sweeps.runs.runner import Observer, RunRequest
    from sweeps.training.protocol import Report, Training


log = logging.getLogger(__name__)


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
                state = self.training.capture()
                save_weights(self.paths.weights_after(report.epoch), state.average or state.model)
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
        with self._progress() as progress:
            for report in self.training.run():
                self._diverged = report.diverged
                if report.metrics:
                    points.write(report.metrics, report.step)
                    self.record.metrics |= report.metrics
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


def _explain_failure(failure: Exception) -> str:
    text = (str(failure).strip() or repr(failure)).splitlines()[0]
    if isinstance(failure, OSError) and failure.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{text}. Free some space and type the same command: it continues"
    if "deterministic" in text and "deterministic=false" not in text:
        text += " (deterministic=false allows it)"
    return f"{type(failure).__name__}: {text}"
