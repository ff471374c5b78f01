"""Ends the records of runs and sweeps whose process was killed before it could."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from sweeps.paths import RunPaths, lock_holder
from sweeps.records import RunRecord, SweepRecord, now_ms

if TYPE_CHECKING:
    from pathlib import Path

    from sweeps.paths import SweepPaths


def close_orphan(paths: RunPaths) -> bool:
    """Ends a run that says RUNNING and whose process is gone; returns whether it did."""
    record = RunRecord.load(paths)
    if record is None or record.status != "RUNNING" or lock_holder(paths.lock) is not None:
        return False
    record.status, record.outcome = "KILLED", "interrupted"
    record.ended_ms = _end_ms(record)
    record.save(paths)
    return True


def close_orphan_sweep(paths: SweepPaths) -> bool:
    """Ends a sweep that says RUNNING and whose command is gone; returns whether it did."""
    record = SweepRecord.load(paths)
    if record is None or record.status != "RUNNING" or lock_holder(paths.lock) is not None:
        return False
    record.status = "KILLED"
    record.ended_ms = _end_ms(record)
    record.save(paths)
    return True


def remove_refused(folder: Path) -> None:
    """Leaves nothing of a run that never began, such as a log of its check."""
    paths = RunPaths(folder)
    if paths.record.exists() or lock_holder(paths.lock) is not None:
        return
    with contextlib.suppress(OSError):
        for path in (paths.log, paths.lock):
            path.unlink(missing_ok=True)
        folder.rmdir()
        folder.parent.rmdir()


def _end_ms(record: RunRecord | SweepRecord) -> int:
    return max(now_ms(), record.started_ms)
