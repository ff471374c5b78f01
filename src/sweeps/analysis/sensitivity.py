"""The values of one numeric setting in a row: which is best, how wide its range is, what lies beyond."""

from __future__ import annotations

import functools
import math
import shlex
from typing import TYPE_CHECKING

from sweeps.analysis.axes import ABSENT, SEED, in_order, number
from sweeps.analysis.format import show_behind, show_estimate, show_p
from sweeps.analysis.next_values import next_values
from sweeps.analysis.ranking import against_first
from sweeps.config.identity import key_of
from sweeps.runs.metrics import is_finite
from sweeps.runs.outcome import Outcome
from sweeps.runs.results import curves

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sweeps.analysis.chosen_best import BestTest
    from sweeps.analysis.ranking import Part, Setting
    from sweeps.runs.results import RunResult


CURVES_A_SETTING = 5
"""A majority of five is one of many; a store takes its time over each point."""
LAST_PART = 0.1
"""Of a training: what happens in it says whether more of it would help."""
STILL = 0.01
"""A loss that falls by this share of itself in the last part of its training still improves."""


class Ladder:
    """The values of a numeric axis for one line, the rest as in that line's best setting."""

    def __init__(self, part: Part, axis: str, line: str | None, best: Setting) -> None:
        self.axis, self.line, self.best = axis, line, best
        self.name = f"{part.line_axis}={line}" if line is not None else ""
        self._part = part
        rest = [a for a in part.axes if a != axis]
        same = [s for s in part.settings if all(s.settings[a] == best.settings[a] for a in rest)]
        self.rungs = sorted(same, key=self._value)
        self._all = [s for s in part.on(line) if s.settings[axis] != ABSENT]

    @classmethod
    def of(cls, part: Part, axis: str, line: str | None) -> Ladder | None:
        """Returns the ladder of a line that has a result on this axis."""
        best = part.best_of(line)
        if best is None or best.settings[axis] == ABSENT:
            return None
        return cls(part, axis, line, best)

    @property
    def tried(self) -> list[str]:
        """Every value of the axis on this line, also where the run failed."""
        return in_order(setting.settings[self.axis] for setting in self._all)

    @property
    def flat(self) -> bool:
        """Whether the value makes no difference: all that came to their end are equal."""
        whole = [rung for rung in self.rungs if rung.whole]
        return len(whole) > 1 and all(rung.values == self.best.values for rung in whole)

    @property
    def edge(self) -> str:
        """'smallest' or 'largest' where the best is the last one tried and more can follow, else ''."""
        value, tried = self.best.settings[self.axis], self.tried
        if self.flat or not self.additions or value not in (tried[0], tried[-1]):
            return ""
        return "smallest" if value == tried[0] else "largest"

    @property
    def small_or_best(self) -> list[Setting]:
        """The best setting and those of smaller rates, which may not have been trained enough."""
        if self.axis != "lr":
            return [self.best]
        small = self.rungs[: self.rungs.index(self.best) + 1]
        # What was pruned was never trained to its end.
        return [rung for rung in small if not rung.count(Outcome.PRUNED)]

    def in_words(self, still: dict[str, bool]) -> str:
        """Returns a sentence on the best value, how wide its range is, and what lies outside."""
        if self.flat:
            said = [self._no_difference(), self._behind_the_best(), *self._diverged()]
        else:
            at = f"{self.axis}={self.best.settings[self.axis]}"
            best = f"best at {at} ({show_estimate(self.best.result)})"
            said = [best, self._behind_the_best(), self._range()]
            said += [*self._diverged(), *self._small(still)]
        name = f"{self.name}: " if self.name else ""
        sentence = f"{name}{'; '.join(part for part in said if part)}."
        named = sentence.startswith(name or self.axis)  # names stay as they are typed
        return sentence if named else sentence[0].upper() + sentence[1:]

    @functools.cached_property
    def additions(self) -> list[str]:
        """The next values beyond the best one, in the steps of the grid, which its config allows."""
        larger = self.best.settings[self.axis] == self.tried[-1]
        return next_values(self.axis, self.tried, larger=larger, run=self.best.runs[0])

    def extension(self, flags: Sequence[str] = ()) -> str:
        """Returns the command that adds values beyond the edge to the same named sweep, or ''.

        Args:
            flags: Of Hydra's that the sweep was typed with, such as --config-dir.
        """
        run = self.best.runs[0]
        if not self.edge or not run.overrides:
            return ""
        kept = [o for o in run.overrides if key_of(o) not in ("name", self.axis, SEED)]
        seeds = in_order(r.settings[SEED] for r in self.best.runs if SEED in r.settings)
        named = [f"name={run.sweep}"] if run.sweep else []
        seeded = (
            [f"seed={','.join(seeds)}"] if any(key_of(o) == SEED for o in run.overrides) else []
        )
        words = [*named, *kept, f"{self.axis}={','.join(self.additions)}", *seeded]
        return shlex.join(["python", "-m", "sweeps.train", "-m", *flags, *words])

    def edge_in_words(self) -> str:
        """Returns which edge the best value lies on, and what to add there."""
        name = f"{self.name} " if self.name else ""
        at = f"{name}{self.axis}={self.best.settings[self.axis]}"
        return f"{at} is the {self.edge} tried: add {','.join(self.additions)}"

    def _no_difference(self) -> str:
        whole = [rung.settings[self.axis] for rung in self.rungs if rung.whole]
        alone = self.best.result is not None and self.best.result.n == 1
        how = "is equal in one seed" if alone else "makes no difference"
        value = show_estimate(self.best.result)
        return f"{self.axis} {how} from {whole[0]} to {whole[-1]} ({value})"

    def _behind_the_best(self) -> str:
        test = self.best.against_best
        if test is None or test.p is None:
            return ""
        if test.clear:
            return f"clearly behind the best ({show_p(test.p)})"
        assert self.best.result is not None
        return f"{show_behind(test.difference, self.best.result.mean)}, a tie ({show_p(test.p)})"

    def _range(self) -> str:
        if len(self.rungs) < 2:
            return f"no other {self.axis} tried"
        tests = self._tests()
        if not tests or any(test is None or test.p is None for _, test in tests):
            return ""
        behind = [rung for rung, test in tests if test and test.clear]
        if len(behind) == len(tests):
            return f"every other {self.axis} is clearly behind it"
        row = [rung.settings[self.axis] for rung in self._row_of_ties(behind)]
        if len(row) == 1:
            return f"the next {self.axis} on both sides is clearly behind it"
        low, high = number(row[0]) or 0.0, number(row[-1]) or 0.0
        factor = f", a factor of {high / low:.3g}" if low > 0 else ""
        return f"tied from {row[0]} to {row[-1]}{factor}"

    def _tests(self) -> list[tuple[Setting, BestTest | None]]:
        """Returns the test of this line's best against each other whole rung.

        Of the best of all it is the one in the table, of another line's best one within the line.
        """
        others = [s for s in self._part.settings if s in self.rungs and s.whole]
        others = [rung for rung in others if rung is not self.best]
        if self.best is self._part.best or not self.best.whole:
            return [(rung, rung.against_best) for rung in others]
        part, ranked = self._part, [self.best, *others]
        return list(zip(others, against_first(ranked, part.sign, looks=part.looks), strict=True))

    def _row_of_ties(self, behind: Sequence[Setting]) -> list[Setting]:
        """Returns the unbroken row of rungs around the best that no test tells from it."""
        apart = [not rung.whole or rung in behind for rung in self.rungs]
        low = high = self.rungs.index(self.best)
        while low > 0 and not apart[low - 1]:
            low -= 1
        while high + 1 < len(apart) and not apart[high + 1]:
            high += 1
        return self.rungs[low : high + 1]

    def _diverged(self) -> list[str]:
        broken = [s for s in self._all if s.count(Outcome.DIVERGED)]
        largest = max((self._value(s) for s in self._all if s.whole), default=-math.inf)
        above = [s for s in broken if self._value(s) > largest]
        below = [s for s in broken if s not in above]
        too_large = ": too large" if self.axis == "lr" else ""
        return [
            *self._ending(above, too_large),
            *self._ending(below, f", though {self.axis}={largest:g} trained"),
        ]

    def _value(self, setting: Setting) -> float:
        return number(setting.settings[self.axis]) or 0.0

    def _ending(self, broken: Sequence[Setting], reason: str) -> list[str]:
        if not broken:
            return []
        runs = [run for s in broken for run in s.runs]
        count = sum(run.outcome == Outcome.DIVERGED for run in runs)
        values = ", ".join(in_order(s.settings[self.axis] for s in broken))
        return [f"{self.axis}={values} diverged ({count} of {len(runs)} runs){reason}"]

    def _row(self, values: Sequence[str]) -> str:
        """Returns rungs in words, as a range where they follow each other."""
        row = [rung.settings[self.axis] for rung in self.rungs]
        first = row.index(values[0])
        if len(values) > 2 and row[first : first + len(values)] == list(values):
            return f"{values[0]} to {values[-1]}"
        return ", ".join(values)

    def _small(self, still: dict[str, bool]) -> list[str]:
        small = [rung for rung in self.small_or_best if rung is not self.best]
        slow = [r.settings[self.axis] for r in small if most_improve(r.runs, still)]
        fell = f"{_loss(self._part.objective)} still fell by {100 * STILL:.0f} % or more at the end"
        said = []
        if slow:
            said.append(f"lr={self._row(slow)}: {fell}: too small, or train longer")
        if most_improve(self.best.runs, still):
            said.append(f"of the best itself {fell}: train longer")
        return said


def improving(settings: Iterable[Setting], objective: str) -> dict[str, bool]:
    """Tells for a few finished runs of each setting whether more training would have helped.

    It would where in the `LAST_PART` of its training the loss came below all that was before, by
    `STILL` of that or more, and where the objective was best in that part as well.
    """
    finished = [
        run
        for setting in settings
        for run in [r for r in setting.runs if r.outcome == Outcome.FINISHED][:CURVES_A_SETTING]
    ]
    found = curves(finished, _loss(objective))
    return {
        run.key: _is_best_at_end(run) and _still_falls([p.value for p in found[run.key]])
        for run in finished
        if len(found.get(run.key, ())) > 1
    }


def _loss(objective: str) -> str:
    return f"{objective.partition('_')[0]}_loss"


def _is_best_at_end(run: RunResult) -> bool:
    if not run.best_epoch or not run.epochs_done:
        return True  # of somebody else's run it is not known
    return run.best_epoch > run.epochs_done - _last(run.epochs_done)


def _still_falls(losses: Sequence[float]) -> bool:
    last = _last(len(losses))
    before = min(losses[:-last])
    return before - min(losses[-last:]) >= STILL * abs(before) > 0


def _last(count: int) -> int:
    """Returns how many of some epochs or points are the last part: at least one, and not all."""
    return max(1, math.floor(LAST_PART * count))


def most_improve(runs: Iterable[RunResult], still: dict[str, bool]) -> bool:
    """Returns whether most of some runs with a value still improved, see `improving`."""
    known = [still[run.key] for run in runs if run.key in still and is_finite(run.value)]
    return bool(known) and sum(known) * 2 > len(known)
