"""What a person sees while a sweep runs: a table on a terminal, a line a run elsewhere."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sweeps.analysis.format import show
from sweeps.analysis.ranking import rank
from sweeps.runs.metrics import Mark, Point, read_new
from sweeps.runs.record import RunRecord
from sweeps.runs.results import Collection, result_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType

    from sweeps.analysis.ranking import Part, Setting
    from sweeps.runs.paths import RunPaths
    from sweeps.runs.results import RunResult
    from sweeps.sweep.cell import Cell


log = logging.getLogger(__name__)

REFRESH_S = 0.5
MOST_ROWS = 20


@dataclass
class CellView:
    """One run as it is shown, read from its folder while it grows."""

    name: str
    paths: RunPaths
    record: RunRecord | None = None
    state: str = "waiting"
    values: dict[str, float] = field(default_factory=dict)
    step: int = 0
    epoch: int = 0
    started: float = 0.0
    first_step: int | None = None
    note: str = ""
    _mark: Mark = field(default_factory=Mark)
    _result: tuple[RunRecord, RunResult] | None = None

    def begin(self) -> None:
        """Takes that it runs from now on."""
        self.state, self.started, self.first_step = "running", time.monotonic(), None
        self.record, self.note = None, ""

    def read(self) -> None:
        """Takes in what is new in the run's folder while it runs."""
        if self.record is None:
            with contextlib.suppress(Exception):  # it may be half there; the next look sees it
                self.record = RunRecord.load(self.paths)
        self.read_points()

    def read_points(self) -> None:
        """Takes in the points that are new."""
        with contextlib.suppress(OSError):
            points, self._mark = read_new(self.paths.metrics, self._mark)
            for point in points:
                self._take(point)

    def _take(self, point: Point) -> None:
        self.values[point.key] = point.value
        self.step = point.step
        if self.first_step is None:
            self.first_step = self.step
        if self.record is not None and self.record.steps:
            self.epoch = self.step * self.record.epochs // self.record.steps

    @property
    def result(self) -> RunResult | None:
        """What its record says; made once for each record, since thousands are ranked again and again."""
        if self.record is None:
            return None
        if self._result is None or self._result[0] is not self.record:
            self._result = self.record, result_of(self.record, self.paths)
        return self._result[1]

    @property
    def left_s(self) -> float | None:
        """Seconds that the run will still take, by its own speed so far."""
        done = self.step - (self.first_step or 0)  # a continued run has more behind it
        if self.state != "running" or done <= 0 or self.record is None:
            return None
        return (time.monotonic() - self.started) / done * (self.record.steps - self.step)


class LiveView:
    """Shows the runs of a sweep while they train.

    Args:
        total: How many there will be.
        workers: How many run at once.
        live: Whether they are heard of while they run; else each is shown when it has ended.
    """

    def __init__(self, *, total: int, workers: int, live: bool = True) -> None:
        self._total, self._workers, self._is_live = total, max(1, workers), live
        self._by_folder: dict[Path, CellView] = {}
        self._shown = 0.0
        self._best: str | None = None  # until the next run ends
        self._live: Any = None

    def __enter__(self) -> LiveView:
        if self._is_live and sys.stdout.isatty():
            from rich.live import Live

            self._live = Live(self._table(), refresh_per_second=4, transient=True)
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, cells: Sequence[Cell]) -> None:
        """Shows the runs of a sweep, to which some have been added since the last time."""
        for cell in cells[len(self._by_folder) :]:
            self._add(cell)
        self._total = max(self._total, len(cells))

    def _add(self, cell: Cell) -> None:
        shown = self._by_folder[cell.folder] = CellView(cell.label, cell.paths, cell.record)
        shown.read_points()
        outcome = cell.record.outcome if cell.record else None
        if outcome is not None and outcome.is_well:
            shown.state, self._best = outcome, None

    def running(self, runs: Sequence[Cell]) -> None:
        """Takes which runs are under way, and shows them a few times a second."""
        cells = [self._by_folder[run.folder] for run in runs]
        for cell in cells:
            if cell.state != "running":
                cell.begin()
        if self._live is None or time.monotonic() - self._shown < REFRESH_S:
            return
        self._shown = time.monotonic()
        for cell in cells:
            cell.read()
        self._live.update(self._table())

    def ended(self, run: Cell, note: str = "") -> None:
        """Takes that a run has ended, as its record says."""
        cell = self._by_folder[run.folder]
        cell.record = record = run.record
        cell.read_points()
        cell.state, self._best = (record.outcome if record else None) or "lost", None
        over = sum(item.state not in ("waiting", "running") for item in self._cells)
        cell.note = note
        result = "" if record is None else _result(record)
        said = " ".join(filter(None, (record.error if record else None, note)))
        level = logging.WARNING if cell.state in ("failed", "lost") else logging.INFO
        log.log(
            level,
            "[%d/%d] %s  %s%s%s",
            over,
            self._total,
            cell.name,
            cell.state,
            result,
            f"  {said}" if said else "",
        )

    @property
    def _cells(self) -> list[CellView]:
        return list(self._by_folder.values())

    def left_s(self) -> float | None:
        """Seconds until all have ended, by the runs that have ended in this command."""
        ended = [cell.record.seconds for cell in self._cells if cell.record and cell.record.outcome]
        if not ended:
            return None
        each = sum(ended) / len(ended)
        begun = sum(cell.state != "waiting" for cell in self._cells)
        waiting = (self._total - begun) * each
        running = [
            each / 2 if (left := cell.left_s) is None else left
            for cell in self._cells
            if cell.state == "running"
        ]
        return max([(waiting + sum(running)) / self._workers, *running], default=0.0)

    def _table(self) -> Any:
        from rich.table import Table

        table = Table(box=None, pad_edge=False, header_style="bold")
        for title in ("run", "state", "epoch", "latest", "left"):
            table.add_column(title, no_wrap=True, overflow="ellipsis")
        for cell in self._visible():
            epochs = cell.record.epochs if cell.record else 0
            table.add_row(
                cell.name,
                cell.state,
                f"{cell.epoch}/{epochs}" if epochs else "",
                "  ".join(filter(None, (_latest(cell), cell.note))),
                duration(cell.left_s),
            )
        over = sum(cell.state not in ("waiting", "running") for cell in self._cells)
        hidden = self._total - len(self._visible())
        more = f", {hidden} not shown" if hidden else ""
        left = duration(self.left_s())
        table.caption = f"{over} of {self._total} done{more}{f', {left} left' if left else ''}"
        if best := self.best_so_far():
            table.caption += f"    best so far: {best}"
        table.caption_justify = "left"
        return table

    def _visible(self) -> list[CellView]:
        order = {"running": 0, "waiting": 2}
        ranked = sorted(self._cells, key=lambda cell: order.get(cell.state, 1))
        shown = set(map(id, ranked[:MOST_ROWS]))
        return [cell for cell in self._cells if id(cell) in shown]

    def best_so_far(self) -> str:
        """Returns the best setting so far, or ''; the runs are ranked again after each end alone."""
        if self._best is None:
            runs = tuple(result for cell in self._cells if (result := cell.result))
            ranked = rank(Collection(runs))
            self._best = "; ".join(_in_words(part, best) for part, best, _ in ranked.winners)
        return self._best


def duration(seconds: float | None) -> str:
    """Returns seconds as a person says them, such as '2 min 5 s'."""
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _latest(cell: CellView) -> str:
    wanted = ("val_accuracy", "test_accuracy", "val_loss", "train_loss")
    return next((f"{key} {cell.values[key]:.4g}" for key in wanted if key in cell.values), "")


def _in_words(part: Part, best: Setting) -> str:
    assert best.result is not None
    value = f"{best.label}  {part.objective} {show(best.result.mean)}"
    return f"{value} (mean of {best.result.n} seeds)" if best.result.n > 1 else value


def _result(record: RunRecord) -> str:
    if record.objective_value is None:
        return ""
    value = f"{record.objective} {record.objective_value:.4f}"
    return f"  {value} at epoch {record.best_epoch}  {record.seconds:.1f} s"
