"""What a run needs: to start, to continue, to run again, nothing; and how dead ones are closed."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sweeps.files import lock_holder
from sweeps.runs.outcome import Outcome
from sweeps.runs.paths import RunPaths
from sweeps.runs.record import RunRecord, SweepRecord, now_ms

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from sweeps.runs.paths import SweepPaths


log = logging.getLogger(__name__)

Standing = Literal["new", "continue", "again", "done"]


def standing(record: RunRecord | None) -> Standing:
    """Returns what a command has to do for a run whose folder holds this record."""
    if record is None:
        return "new"
    if record.outcome is not None and record.outcome.is_whole:
        return "done"
    return "again" if record.outcome == Outcome.FAILED else "continue"


def changes(record: RunRecord, *, code: str, digest: str | None) -> list[str]:
    """Returns what is no longer as it was when the run was made.

    Args:
        record: The run.
        code: The present `code_digest`.
        digest: The data's present digest, or None where it was not read.
    """
    from sweeps.runs.provenance import library_versions  # late: --help must not wait for it

    found = []
    if record.code and record.code != code:
        found.append("code")
    if digest and record.dataset.get("digest") not in (None, digest):
        found.append("data")
    before = record.environment.get("packages", {})
    for name, version in library_versions().items():
        if name in before and before[name] != version:
            found.append(f"{name} {before[name]} to {version}")
    return found


def restart(paths: RunPaths, record: RunRecord) -> RunRecord:
    """Makes a finished run one to be trained from its start; its run in a tracker is replaced."""
    for path in (paths.checkpoint, paths.previous_checkpoint, *paths.mirrors()):
        path.unlink(missing_ok=True)
    again = dataclasses.replace(
        record,
        key=uuid.uuid4().hex,
        replaces=[*record.replaces, record.key],
        status="RUNNING",
        outcome=None,
        seconds=0.0,
        started_ms=now_ms(),
        ended_ms=None,
        epochs_done=0,
        best_epoch=None,
        objective_value=None,
        metrics={},
    )
    again.save(paths)
    # Only now: until then they belong to a whole run.
    epochs = paths.weights_after("*")
    for path in (
        paths.metrics,
        paths.metric_times,
        paths.weights,
        paths.predictions,
        *epochs.parent.glob(epochs.name),
    ):
        path.unlink(missing_ok=True)
    return again


def say_changes(names: Sequence[str], changed: Iterable[str], *, refresh: bool) -> None:
    """Says of finished runs, in one line, that they would come out differently today, and why."""
    what = ", ".join(changed)
    if len(names) == 1:
        verb = "it is trained again" if refresh else "it is kept; refresh=true trains it again"
        log.warning("%s changed since it finished (%s): %s.", names[0], what, verb)
    else:
        verb = "trained again" if refresh else "kept; refresh=true trains them again"
        log.warning("%d finished runs: %s changed since. They are %s.", len(names), what, verb)


def close_orphan(paths: RunPaths, record: RunRecord | None = None) -> bool:
    """Ends a run that says RUNNING and whose process is gone; returns whether it did.

    Args:
        paths: The run.
        record: Of the run, where it has been read.
    """
    record = record or RunRecord.load(paths)
    if record is None or record.status != "RUNNING" or lock_holder(paths.lock) is not None:
        return False
    record.status, record.outcome = Outcome.INTERRUPTED.status, Outcome.INTERRUPTED
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
