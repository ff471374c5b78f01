"""What a person sees while a run trains: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import TracebackType

    from sweeps.training.protocol import Report


log = logging.getLogger(__name__)

LINE_EVERY_S = 2.0


class ConsoleHandler(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to the standard output of the moment, above a progress bar where there is one."""

    def __init__(self) -> None:
        super().__init__(sys.stdout)

    def emit(self, record: logging.LogRecord) -> None:
        """Writes one record, unless it is for the log file alone."""
        if getattr(record, "file_only", False):
            return
        self.stream = sys.stdout
        super().emit(record)


class Progress:
    """Shows one run's progress.

    Args:
        name: Shown before the bar and on each line.
        total_steps: Optimizer steps of the whole run.
        done_steps: Steps done before, where the run continues.
        epochs: Epochs of the whole run.
        batch_size: Images a step.
    """

    def __init__(
        self, name: str, *, total_steps: int, done_steps: int, epochs: int, batch_size: int
    ) -> None:
        self._name = name
        self._total, self._epochs, self._batch_size = total_steps, epochs, batch_size
        self._first_step = self._step = done_steps
        self._started = self._last_line = time.monotonic()
        self._bar = self._make_bar() if sys.stdout.isatty() else None

    def __enter__(self) -> Progress:
        if self._bar is not None:
            self._bar.start()
            self._task = self._bar.add_task(
                self._name, total=self._total, completed=self._step, rate="", note=""
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, report: Report) -> None:
        """Takes one report of the loop."""
        self._step = report.step
        if self._bar is not None and (report.step % 5 == 0 or report.epoch_done):
            self._bar.update(self._task, completed=report.step, rate=self._rate())
        if report.epoch_done:
            self._line(report)

    def _line(self, report: Report) -> None:
        values = "  ".join(
            f"{key} {value:.4g}" for key, value in report.metrics.items() if key != "lr"
        )
        now = time.monotonic()
        # Short epochs would flood a sweep's output; the log file has every line.
        show = report.epoch == self._epochs or now - self._last_line > LINE_EVERY_S
        if show:
            self._last_line = now
        if self._bar is not None:
            self._bar.update(self._task, note=values)
        log.info(
            "%s  epoch %d/%d  %s  %s",
            self._name,
            report.epoch,
            self._epochs,
            values,
            self._rate(),
            extra={"file_only": self._bar is not None or not show},
        )

    def _rate(self) -> str:
        seconds = time.monotonic() - self._started
        images = (self._step - self._first_step) * self._batch_size / max(seconds, 1e-9)
        return f"{images:,.0f} images/s"

    def _make_bar(self) -> Any:
        from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        return RichProgress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[rate]}  {task.fields[note]}"),
            transient=True,
        )
