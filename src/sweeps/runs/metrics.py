"""metrics.jsonl, the truth of every metric point: one JSON object a line, append-only."""

from __future__ import annotations

import contextlib
import json
import math
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from sweeps.files import read_json, replace_json, replace_text
from sweeps.runs.paths import RunPaths
from sweeps.runs.record import now_ms

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType


NO_POINT = "no metric point"


class Point(NamedTuple):
    """One value of a metric.

    Attributes:
        step: Optimizer steps done.
        time_ms: When it was first written, in milliseconds since 1970.
    """

    key: str
    step: int
    value: float
    time_ms: int


@dataclass(frozen=True)
class Mark:
    """How far a file has been read; it holds for one file alone, whatever its name."""

    inode: int | None = None
    offset: int = 0


def parse_line(line: bytes) -> Point:
    """Returns the point that a line holds.

    Raises:
        ValueError: A kill has torn the line, or no run has written it.
    """
    try:
        found = json.loads(line.decode())
        key, step, time_ms = found["key"], found["step"], found["time_ms"]
        point = Point(key, step, float(found["value"]), time_ms)
    except (LookupError, TypeError, OverflowError, RecursionError) as error:
        raise ValueError(NO_POINT) from error
    if type(key) is not str or type(step) is not int or type(time_ms) is not int:
        raise ValueError(NO_POINT)
    return point


def read_points(path: Path) -> list[Point]:
    """Returns the points of a file, in order, up to the first line that a kill has torn."""
    points: list[Point] = []
    for line in path.read_bytes().split(b"\n") if path.exists() else ():
        try:
            points.append(parse_line(line))
        except ValueError:
            break
    return points


def read_metric(path: Path, key: str) -> list[Point]:
    """Returns the points of one metric by step; only the lines that name it are parsed."""
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    wanted, points = json.dumps(key).encode(), []
    for line in lines:
        if wanted not in line:
            continue
        with contextlib.suppress(ValueError):  # the line a kill has torn
            points.append(parse_line(line))
    return sorted(point for point in points if point.key == key)


def read_new(path: Path, mark: Mark) -> tuple[list[Point], Mark]:
    """Returns the points of the complete lines after a mark, and the mark after them.

    A continued run replaces the file by a shorter one, which is read from its start.
    """
    if not path.exists():
        return [], mark
    with path.open("rb") as file:
        inode = os.fstat(file.fileno()).st_ino
        offset = mark.offset if mark.inode == inode else 0
        file.seek(offset)
        content = file.read()
    complete = content[: content.rfind(b"\n") + 1]
    return [parse_line(line) for line in complete.splitlines()], Mark(inode, offset + len(complete))


class PointWriter:
    """Appends points to the file of one run.

    A run that continues produces again what came after its checkpoint. Those points keep the times
    of their first writing, so that a store which has them already sees nothing new. The times stand
    in a file of their own until all are written again, for the run may be cut once more before.

    Args:
        path: The file.
        keep: Points that the checkpoint knows; what stands after them is taken out of the file.
    """

    def __init__(self, path: Path, *, keep: int) -> None:
        points = read_points(path)
        kept, dropped = points[:keep], points[keep:]
        self._times = RunPaths(path.parent).metric_times
        earlier = (read_json(self._times) or {}).get("times", [])
        self._first_written = {(key, step): time_ms for key, step, time_ms in earlier}
        self._first_written |= {(point.key, point.step): point.time_ms for point in dropped}
        if dropped:
            times = [[*at, time_ms] for at, time_ms in self._first_written.items()]
            replace_json(self._times, {"times": times})
        replace_text(path, "".join(map(_line, kept)))
        self.last = {point.key: point.value for point in kept}
        self._latest_ms: int = max((point.time_ms for point in kept), default=0)
        self._file = path.open("a")

    def __enter__(self) -> PointWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.sync()
        finally:
            self._file.close()
        if not self._first_written:
            self._times.unlink(missing_ok=True)

    def write(self, metrics: Mapping[str, float], step: int) -> None:
        """Appends the values of one step; they are safe from a kill, not yet from a power cut."""
        points = [Point(key, step, value, self._time(key, step)) for key, value in metrics.items()]
        self.last |= metrics
        self._file.write("".join(map(_line, points)))
        self._file.flush()

    def sync(self) -> None:
        """Makes what was written safe from a power cut."""
        os.fsync(self._file.fileno())

    def _time(self, key: str, step: int) -> int:
        # A clock set back must not turn the order of the points around.
        now = max(now_ms(), self._latest_ms)
        self._latest_ms = self._first_written.pop((key, step), now)
        return self._latest_ms


def _line(point: Point) -> str:
    content = {"key": point.key, "value": point.value, "step": point.step, "time_ms": point.time_ms}
    return f"{json.dumps(content)}\n"


HUGE = 1e100
"""No metric of a training that works comes near; squares of what is below are still numbers."""


def is_finite(value: float | None) -> bool:
    """Tells a number from none, NaN, infinity (MLflow's largest double), and what is nearly that."""
    return value is not None and math.isfinite(value) and abs(value) < HUGE
