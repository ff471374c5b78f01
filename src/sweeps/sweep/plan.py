"""plan=true: says what the same command without it would do; reads, and changes nothing."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from sweeps.runs.outcome import Outcome
from sweeps.runs.record import RunRecord
from sweeps.runs.resume import standing
from sweeps.sweep.live_view import duration
from sweeps.sweep.strategy import WORDS

if TYPE_CHECKING:
    from sweeps.launchers.slots import Slots
    from sweeps.runs.paths import SweepPaths
    from sweeps.sweep.strategy import Outline, Rows


log = logging.getLogger(__name__)


def show_plan(outline: Outline, paths: SweepPaths, slots: Slots) -> None:
    """Lists the runs of a sweep with what is to be done for each, and how long it may take."""
    listed = outline.rows() if outline.rows else _rows(outline)
    states = [state for state, _ in listed]
    width = max(map(len, states))
    lines = [f"{state:{width}}  {label}" for state, label in listed]
    log.info("\n%s\n", "\n".join(lines))
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    if outline.left_out:
        log.info("%s", outline.left_out)
    log.info("%d runs: %s. Nothing was started.", len(listed), counts)
    left = sum(state in ("new", "to continue", "to run again") for state in states)
    records = [
        r for run in paths.cells() if (r := RunRecord.load(run)) and r.outcome == Outcome.FINISHED
    ]
    if left and outline.may_add:
        log.info("%s", outline.may_add)
    if left and records:
        each = sum(record.seconds for record in records) / len(records)
        at_once = min(left, len(slots))
        log.info(
            "About %s, by the mean of %d finished runs, %d at once.",
            duration(each * left / at_once),
            len(records),
            at_once,
        )
    elif left:
        log.info("How long it takes is known once a run of this sweep has finished.")


def _rows(outline: Outline) -> Rows:
    rows = [(WORDS[standing(cell.load())], cell.label) for cell in outline.samples]
    return rows + [("new", "chosen when it starts")] * (outline.total - len(rows))
