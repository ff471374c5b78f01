"""What of run folders goes to a tracker: each look sends what is new since the last one."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import time
from typing import TYPE_CHECKING, Any, Literal

from sweeps.files import read_json, replace_json
from sweeps.runs.metrics import Mark, read_new
from sweeps.runs.paths import RunPaths, SweepPaths, range_tests
from sweeps.runs.record import RunRecord, SweepRecord
from sweeps.tracking.describe import (
    ended_run_files,
    ended_sweep_files,
    run_ending,
    run_files,
    run_to_track,
    sweep_ending,
    sweep_to_track,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from sweeps.tracking.tracker import RunToTrack, Tracker

    Paths = RunPaths | SweepPaths
    Note = dict[str, Any]


GIVE_UP_ROUND_AFTER_S = 10.0


class Pusher:
    """Brings a tracker up to date with folders; what it has is written down in each of them.

    Args:
        tracker: Connected.
        place: What its `connect` returned.
    """

    def __init__(self, tracker: Tracker, place: str) -> None:
        self._tracker, self._place = tracker, place
        self._open: dict[Path, str] = {}
        self._told: set[Path] = set()
        self._closed: dict[Path, tuple[int, bool]] = {}
        self._failures: list[Exception] = []
        self._started = 0.0

    def push(self, runs: Sequence[RunPaths], sweeps: Sequence[SweepPaths]) -> list[Exception]:
        """Sends what is new of some runs and sweeps; returns what went wrong."""
        self._failures, self._started = [], time.monotonic()
        for run in runs:
            self._attempt(functools.partial(self._push_alone, run))
        for sweep in sweeps:
            self._attempt(functools.partial(self._push_sweep, sweep))
        return self._failures

    def leave(self) -> None:
        """Lets go of the runs that could not be closed."""
        for run_id in self._open.values():
            with contextlib.suppress(Exception):  # what is missing was said
                self._tracker.close_run(run_id, None)

    def _attempt(self, push: Callable[[], None]) -> None:
        """Lets one bad folder not keep the others out, without waiting long for a dead tracker."""
        if self._failures and time.monotonic() - self._started > GIVE_UP_ROUND_AFTER_S:
            return
        try:
            push()
        except Exception as error:
            self._failures.append(error)

    def _push_sweep(self, paths: SweepPaths) -> None:
        record = SweepRecord.load(paths)
        if record is None:
            return
        note = self._note(paths)
        # A command can begin and end between two looks: its end tells it from the one before.
        done = _is_closed(note, record)
        if not done:
            note = self._opened(paths, note, lambda: sweep_to_track(paths, record))
        run_id = note["run_id"]
        for cell in paths.cells():
            push = functools.partial(self._push_run, cell, parent=run_id, sweep=record.name)
            self._attempt(push)
        for test in range_tests(paths.folder):
            self._attempt(functools.partial(self._push_range_test, test, run_id))
        if not done and record.status != "RUNNING":
            self._tracker.log_files(run_id, ended_sweep_files(paths))
            self._tracker.close_run(run_id, sweep_ending(paths, record))
            self._write_closed(paths, note, record)

    def _push_alone(self, paths: RunPaths) -> None:
        """Sends a run that is no part of a sweep, and its range test below it."""
        self._push_run(paths)
        run_id: str | None = self._note(paths).get("run_id")
        if run_id is not None:
            for test in range_tests(paths.folder):
                self._attempt(functools.partial(self._push_range_test, test, run_id))

    def _push_range_test(self, paths: RunPaths, parent: str) -> None:
        self._push_run(paths, kind="range_test", parent=parent)

    def _push_run(
        self,
        paths: RunPaths,
        *,
        kind: Literal["run", "range_test"] = "run",
        parent: str | None = None,
        sweep: str | None = None,
    ) -> None:
        suggested = paths.suggested_lr.exists()  # it comes after the end of a range test
        try:
            state = paths.record.stat().st_mtime_ns, suggested
        except FileNotFoundError:
            return
        if self._closed.get(paths.folder) == state:
            return
        record = RunRecord.load(paths)
        if record is None:
            return
        note = self._note(paths)
        if _is_closed(note, record) and suggested <= note.get("suggested", False):
            self._closed[paths.folder] = state
            return
        about = functools.partial(run_to_track, paths, record, kind=kind, parent=parent)
        note = self._opened(paths, note, lambda: about(sweep=sweep))
        note = self._push_points(paths, note)
        if record.status != "RUNNING":
            self._tracker.log_files(note["run_id"], ended_run_files(paths))
            self._tracker.close_run(note["run_id"], run_ending(paths, record))
            self._write_closed(paths, note | ({"suggested": True} if suggested else {}), record)

    def _push_points(self, paths: RunPaths, note: Note) -> Note:
        points, mark = read_new(paths.metrics, Mark(note.get("inode"), note["offset"]))
        if not points:
            return note
        self._tracker.log(note["run_id"], points)
        return self._write(paths, note | dataclasses.asdict(mark))

    def _opened(self, paths: Paths, note: Note, about: Callable[[], RunToTrack]) -> Note:
        """Returns the note of a run that is open in this process; it is opened where it is not."""
        goes_on = "run_id" in note and not note.get("closed")
        if goes_on and paths.folder in self._told:
            return note
        run_id = self._open[paths.folder] = self._tracker.open_run(about())
        if isinstance(paths, RunPaths):
            self._tracker.log_files(run_id, run_files(paths))
        self._told.add(paths.folder)
        if goes_on and note["run_id"] == run_id:
            return note
        return self._write(paths, {"run_id": run_id, "experiment": self._place, "offset": 0})

    def _write_closed(self, paths: Paths, note: Note, record: RunRecord | SweepRecord) -> None:
        del self._open[paths.folder]
        self._told.remove(paths.folder)
        self._write(paths, {**note, "closed": True, "ended_ms": record.ended_ms})

    def _note(self, paths: Paths) -> Note:
        """Returns what this place has; what another or a deleted one had counts nothing."""
        note = read_json(paths.mirror_for(self._tracker.name)) or {}
        return note if note.get("experiment") == self._place else {}

    def _write(self, paths: Paths, note: Note) -> Note:
        replace_json(paths.mirror_for(self._tracker.name), note)
        return note


def _is_closed(note: Note, record: RunRecord | SweepRecord) -> bool:
    return bool(note.get("closed")) and note.get("ended_ms") == record.ended_ms
