"""TensorBoard: one event file a run, in the run's folder, written without torch."""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sweeps.errors import TrackingUnavailableError
from sweeps.runs.paths import RunPaths

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from sweeps.runs.metrics import Point
    from sweeps.tracking.tracker import Ending, RunToTrack


VERSION = "brain.Event:2"
"""What the first record of an event file says."""
LENGTH_BYTES, CHECKSUM_BYTES = 8, 4


@dataclass
class _EventFile:
    """A file of records: the length, its checksum, the event, its checksum.

    See https://github.com/tensorflow/tensorboard/blob/master/tensorboard/summary/writer/record_writer.py.

    Attributes:
        path: The file.
        end: Where its last whole record ends, in bytes; what a kill has left after it is overwritten.
        known: Metric, step and time of each point in it.
    """

    path: Path
    end: int = 0
    known: set[tuple[str, int, int]] = field(default_factory=set)


class TensorBoardTracker:
    """Scalars for TensorBoard, see `sweeps.tracking.tracker.Tracker`.

    A sweep has none of its own, and what a run results in is no curve: neither is written.
    """

    name = "TensorBoard"
    where = "TensorBoard"

    def __init__(self) -> None:
        self._files: dict[str, _EventFile] = {}

    def connect(self) -> str:
        """Imports TensorBoard's own writer, which needs no torch."""
        try:
            from tensorboard.compat.proto import event_pb2  # noqa: F401
            from tensorboard.summary.writer import record_writer  # noqa: F401
        except ImportError:
            raise TrackingUnavailableError(
                "tracking.tensorboard=true needs TensorBoard. Type pip install tensorboard, or leave"
                " it out."
            ) from None
        return "event files"

    def open_run(self, run: RunToTrack) -> str:
        """Reads what the run's event file has; those of runs that it replaces are deleted."""
        folder = RunPaths(run.folder).tensorboard
        for key in run.replaces:
            for path in folder.glob(f"events.out.tfevents.*.{key}"):
                path.unlink()
        # TensorBoard knows an event file by the word, and reads those of a folder by their time.
        file = _EventFile(folder / f"events.out.tfevents.{run.started_ms // 1000}.{run.key}")
        if run.kind != "sweep":
            if file.path.exists():
                file = _read(file.path)
            self._files[run.key] = file
        return run.key

    def log(self, run_id: str, points: Sequence[Point]) -> None:
        """Appends the points that the file does not have."""
        file = self._files[run_id]
        new = {(p.key, p.step, p.time_ms): p.value for p in points}
        new = {point: value for point, value in new.items() if point not in file.known}
        if not new:
            return
        content = _encoded(new, begins=file.end == 0)
        file.path.parent.mkdir(exist_ok=True)
        with file.path.open("r+b" if file.path.exists() else "xb") as stream:
            stream.seek(file.end)
            stream.truncate()
            stream.write(content)
        file.end += len(content)
        file.known |= new.keys()

    def log_files(self, run_id: str, files: Sequence[tuple[Path, str | None]]) -> None:
        """Keeps none: they lie beside the event file."""

    def close_run(self, run_id: str, ending: Ending | None) -> None:  # noqa: ARG002 - the protocol's
        """Forgets the run; its file is whole after each point."""
        self._files.pop(run_id, None)


def _encoded(points: Mapping[tuple[str, int, int], float], *, begins: bool) -> bytes:
    """Returns points as records; those that begin a file come after its first record."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.record_writer import RecordWriter

    buffer = io.BytesIO()
    writer = RecordWriter(buffer)
    if begins:
        first_ms = min(time_ms for _, _, time_ms in points)
        writer.write(Event(wall_time=first_ms / 1000, file_version=VERSION).SerializeToString())
    for (key, step, time_ms), value in points.items():
        summary = Summary(value=[Summary.Value(tag=key, simple_value=value)])
        event = Event(wall_time=time_ms / 1000, step=step, summary=summary)
        writer.write(event.SerializeToString())
    return buffer.getvalue()


def _read(path: Path) -> _EventFile:
    from tensorboard.compat.proto.event_pb2 import Event

    file = _EventFile(path)
    for content, end in _records(path.read_bytes()):
        event = Event.FromString(content)
        time_ms = round(event.wall_time * 1000)
        file.known |= {(value.tag, event.step, time_ms) for value in event.summary.value}
        file.end = end
    return file


def _records(content: bytes) -> Iterator[tuple[bytes, int]]:
    """Yields each whole record of an event file, and where it ends."""
    end = 0
    while len(content) - end >= LENGTH_BYTES + CHECKSUM_BYTES:
        (length,) = struct.unpack_from("<Q", content, end)
        start = end + LENGTH_BYTES + CHECKSUM_BYTES
        end = start + length + CHECKSUM_BYTES
        if end > len(content):
            return
        yield content[start : start + length], end
