"""What a grid has left open: values beyond the edge that a best lies on, and a longer training.

The values are those that the report advises. Where they were not enough the next ones lie further
apart, as in a search for an unbounded optimum: a grid that is 100 times off is bracketed after six.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import TYPE_CHECKING

from sweeps.analysis.axes import SEED, in_order, number
from sweeps.analysis.growth import Change, Growth
from sweeps.analysis.next_values import HOW_MANY, next_values
from sweeps.analysis.sensitivity import Ladder, improving, most_improve
from sweeps.runs.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Sequence

    from sweeps.analysis.ranking import Part, Setting
    from sweeps.runs.results import RunResult


STRIDES = (0.0, 10**0.5, 10.0)
"""The least factor between rates that are added first, after those, and from then on."""
HARDLY = 0.9
"""A loss that has come to no less than this share of its start was trained at a rate of no use."""
LONGEST = 4
"""Times the epochs that were typed: a best that improves for ever is not followed for ever."""


def extensions(part: Part, typed: Container[str]) -> list[Growth]:
    """Returns what is to be trained besides, the most wanted first; nothing where nothing is open.

    Each is one value with the seeds of the best setting that it extends. Longer trainings come last:
    they are of the best, and that must be found first.

    Args:
        part: Runs that have all come to their end.
        typed: Identities of the runs that were asked for; the others were added.
    """
    part = _as_typed(part, typed)
    axis = part.numeric_axis
    if axis is None or axis == "epochs":
        return _longer(part, typed)
    beyond = [_beyond(part, axis, line, typed) for line in part.lines]
    in_turn = itertools.chain.from_iterable(itertools.zip_longest(*beyond))
    return [growth for growth in in_turn if growth is not None] or _longer(part, typed)


def _as_typed(part: Part, typed: Container[str]) -> Part:
    """Returns a part in which longer trainings, where only they were added, are no axis."""
    epochs = {_epochs_of(run) for run in part.runs if run.identity in typed}
    kept = [axis for axis in part.axes if axis != "epochs" or len(epochs) > 1]
    return dataclasses.replace(part, axes=tuple(kept))


def _beyond(part: Part, axis: str, line: str | None, typed: Container[str]) -> list[Growth]:
    """Returns the next values of one line, where its best may lie beyond those tried."""
    ladder = Ladder.of(part, axis, line)
    where = f"{part.line_axis}={line}" if line is not None else ""
    if ladder is not None:
        larger, why = _open_side(ladder, part.objective)
        base, tried = ladder.best, ladder.tried
    else:
        settings = [s for s in part.on(line) if number(s.settings[axis]) is not None]
        all_diverged = (
            axis == "lr" and bool(settings) and all(s.count(Outcome.DIVERGED) for s in settings)
        )
        larger, why = False, f"every {axis} diverged" if all_diverged else ""
        tried = in_order(setting.settings[axis] for setting in settings)
        base = next((s for s in settings if s.settings[axis] == tried[0]), part.settings[0])
    if not why:
        return []
    runs = [run for setting in part.on(line) for run in setting.runs if run.identity in typed]
    asked = in_order(run.settings[axis] for run in runs if number(run.settings[axis]) is not None)
    added = [value for value in tried if _is_beyond(value, asked, larger=larger)]
    strides = STRIDES[min(len(added) // HOW_MANY, len(STRIDES) - 1) :] if axis == "lr" else (0.0,)
    for stride in strides:  # equal differences soon come to 0, factors do not
        values = next_values(axis, tried, larger=larger, run=base.runs[0], least_factor=stride)
        if values:
            return [Growth(_changes(base, axis, value), where, why) for value in values]
    return []


def _open_side(ladder: Ladder, objective: str) -> tuple[bool, str]:
    """Returns whether larger values are to be tried, or smaller ones, and why; '' for neither."""
    tried, axis, best = ladder.tried, ladder.axis, ladder.best
    at = best.settings[axis]
    if axis == "lr" and (lowest := _lowest_loss(ladder, objective)):
        # All of them are as good as chance, or worse than nothing: the loss says where to go.
        at, best = lowest.settings[axis], lowest
    elif ladder.flat:
        return False, ""
    if len(tried) < 2 or at not in (tried[0], tried[-1]):
        return False, ""
    side = "largest" if at == tried[-1] else "smallest"
    return at == tried[-1], f"the best, {axis}={at}, is the {side} tried"


def _lowest_loss(ladder: Ladder, objective: str) -> Setting | None:
    """Returns the setting of the lowest loss where the best has hardly learned, else None."""
    best = _loss(ladder.best, objective)
    starts = [r.start_loss for r in ladder.best.runs if r.start_loss is not None]
    if best is None or not starts or best < HARDLY * sum(starts) / len(starts):
        return None
    known = [(loss, s) for s in ladder.rungs if s.whole and (loss := _loss(s, objective))]
    return min(known, key=lambda pair: pair[0])[1]


def _loss(setting: Setting, objective: str) -> float | None:
    """Returns the mean loss of a setting on what its objective is measured on, where it is known."""
    key = f"{objective.partition('_')[0]}_loss"
    found = [run.metrics[key] for run in setting.runs if key in run.metrics]
    return sum(found) / len(found) if found else None


def _is_beyond(value: str, asked: Sequence[str], *, larger: bool) -> bool:
    if not asked:
        return False
    edge, own = number(asked[-1 if larger else 0]), number(value)
    return edge is not None and own is not None and (own > edge if larger else own < edge)


def _longer(part: Part, typed: Container[str]) -> list[Growth]:
    """Returns twice the epochs for the best of every line, where one of them still improves.

    Of every line, so that they stay comparable.
    """
    bests = [best for line in part.lines if (best := part.best_of(line)) and best.whole]
    still = improving(bests, part.objective)
    improve = [best for best in bests if most_improve(best.runs, still)]
    longest = 2 * max((_epochs(best) for best in bests), default=0)
    most = LONGEST * max((_epochs_of(run) for run in part.runs if run.identity in typed), default=0)
    if not improve or not 0 < longest <= most:
        return []
    changes = [change for best in bests for change in _changes(best, "epochs", str(longest))]
    why = f"{improve[0].label} still improved at the end"
    return [Growth(tuple(changes), "", why)]


def _epochs(setting: Setting) -> int:
    return _epochs_of(setting.runs[0])


def _epochs_of(run: RunResult) -> int:
    return int(number(run.settings.get("epochs", "")) or run.epochs)


def _changes(base: Setting, key: str, value: str) -> tuple[Change, ...]:
    """Returns a value for each seed of a setting."""
    return tuple(Change(run, key, value) for run in _one_of_each_seed(base.runs))


def _one_of_each_seed(runs: Iterable[RunResult]) -> list[RunResult]:
    return list({run.settings.get(SEED, run.key): run for run in runs}.values())
