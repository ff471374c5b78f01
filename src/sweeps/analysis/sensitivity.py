"""The values of one numeric setting in a row: which is best, how wide its range is, what lies beyond."""

from __future__ import annotations

import math
import shlex
from typing import TYPE_CHECKING

from sweeps.analysis.axes import ABSENT, SEED, in_order, number
from sweeps.analysis.format import show_behind, show_estimate, show_p
from sweeps.config.identity import key_of
from sweeps.runs.metrics import is_finite
from sweeps.runs.results import curves

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sweeps.analysis.ranking import Part, Setting
    from sweeps.runs.results import RunResult


CURVES_A_SETTING = 5
"""A majority of five is one of many; a store takes its time over each point."""


class Ladder:
    """The values of a numeric axis for one line, the rest as in that line's best setting."""

    def __init__(self, part: Part, axis: str, line: str | None, best: Setting) -> None:
        self.axis, self.line, self.best = axis, line, best
        self.name = f"{part.line_axis}={line}" if line is not None else ""
        self._part = part
        rest = [a for a in part.axes if a != axis]
        same = [s for s in part.settings if all(s.settings[a] == best.settings[a] for a in rest)]
        self.rungs = sorted((s for s in same), key=lambda s: number(s.settings[axis]) or 0.0)
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
        """'smallest' or 'largest' where the best value is the last one tried, else ''."""
        value, tried = self.best.settings[self.axis], self.tried
        if self.flat or len(tried) < 2 or value not in (tried[0], tried[-1]):
            return ""
        return "smallest" if value == tried[0] else "largest"

    @property
    def small_or_best(self) -> list[Setting]:
        """The best setting and those of smaller rates, which may not have been trained enough."""
        if self.axis != "lr":
            return [self.best]
        small = self.rungs[: self.rungs.index(self.best) + 1]
        return [rung for rung in small if not rung.count("pruned")]  # never trained to their end

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

    def additions(self) -> list[str]:
        """Returns the next values beyond the edge, in the steps of the grid."""
        found = [n for n in (number(value) for value in self.tried) if n is not None]
        if self.edge == "largest":
            found.reverse()
        if len(found) < 2 or found[0] <= 0 or found[1] <= 0:
            return []
        first = found[0] / found[1]
        second = found[1] / found[2] if len(found) > 2 and found[2] > 0 else first
        if not (max(first, 1 / first) >= 1.5 and math.isfinite(second)):
            return []
        whole = all(n == int(n) for n in found)
        steps = [found[0] * second, found[0] * second * first]
        texts = [str(max(1, round(n))) if whole else f"{n:.2g}" for n in steps]
        return [text for text in dict.fromkeys(texts) if text not in self.tried]

    def extension(self, flags: Sequence[str] = ()) -> str:
        """Returns the command that adds values beyond the edge to the same named sweep, or ''.

        Args:
            flags: Of Hydra's that the sweep was typed with, such as --config-dir.
        """
        values = self.additions()
        run = self.best.runs[0]
        if not values or not run.overrides:
            return ""
        kept = [o for o in run.overrides if key_of(o) not in ("name", self.axis, SEED)]
        seeds = in_order(r.settings[SEED] for r in self.best.runs if SEED in r.settings)
        named = [f"name={run.sweep}"] if run.sweep else []
        seeded = (
            [f"seed={','.join(seeds)}"] if any(key_of(o) == SEED for o in run.overrides) else []
        )
        words = [*named, *kept, f"{self.axis}={','.join(values)}", *seeded]
        return shlex.join(["python", "-m", "sweeps.train", "-m", *flags, *words])

    def edge_in_words(self) -> str:
        """Returns which edge the best value lies on, and what to add there."""
        name = f"{self.name} " if self.name else ""
        at = f"{name}{self.axis}={self.best.settings[self.axis]}"
        beyond = "smaller" if self.edge == "smallest" else "larger"
        added = ",".join(self.additions()) or f"{beyond} values"
        return f"{at} is the {self.edge} tried: add {added}"

    def _no_difference(self) -> str:
        whole = [rung.settings[self.axis] for rung in self.rungs if rung.whole]
        return (
            f"{self.axis} makes no difference from {whole[0]} to {whole[-1]}"
            f" ({show_estimate(self.best.result)})"
        )

    def _behind_the_best(self) -> str:
        test = self.best.against_best
        if test is None or test.p is None:
            return ""
        if test.clear:
            return f"clearly behind the best ({show_p(test.p)})"
        return f"{show_behind(test.difference)}, a tie ({show_p(test.p)})"

    def _range(self) -> str:
        assert self.best.result is not None
        if len(self.rungs) < 2:
            return f"no other {self.axis} tried"
        if self.best.result.half is None:
            return ""
        good = self._good()
        if len(good) == 1:
            return f"no other {self.axis} within its interval"
        low, high = number(good[0]) or 0.0, number(good[-1]) or 0.0
        factor = f", a factor of {high / low:.3g}" if low > 0 else ""
        return f"good from {good[0]} to {good[-1]}{factor}"

    def _good(self) -> list[str]:
        """Returns the unbroken row of values around the best that lie within its interval."""
        result, sign = self.best.result, self._part.sign
        assert result is not None
        good = [
            rung.whole
            and rung.result is not None
            and sign * rung.result.mean >= sign * result.mean - (result.half or 0.0)
            for rung in self.rungs
        ]
        low = high = self.rungs.index(self.best)
        while low > 0 and good[low - 1]:
            low -= 1
        while high + 1 < len(good) and good[high + 1]:
            high += 1
        return [rung.settings[self.axis] for rung in self.rungs[low : high + 1]]

    def _diverged(self) -> list[str]:
        broken = [s for s in self._all if s.count("diverged")]
        if not broken:
            return []
        runs = [run for s in broken for run in s.runs]
        count = sum(run.outcome == "diverged" for run in runs)
        values = ", ".join(in_order(s.settings[self.axis] for s in broken))
        reason = ": too large" if self.axis == "lr" else ""
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
        slow = [r.settings[self.axis] for r in small if _most_improve(r.runs, still)]
        said = []
        if slow:
            said.append(
                f"lr={self._row(slow)} still improved at the last epoch: too small, or train longer"
            )
        if _most_improve(self.best.runs, still):
            said.append("the best itself still improved at the last epoch: train longer")
        return said


def improving(settings: Iterable[Setting], objective: str) -> dict[str, bool]:
    """Tells for a few finished runs of each setting whether the loss was lowest at the last epoch."""
    split = objective.partition("_")[0]
    finished = [
        run
        for setting in settings
        for run in [r for r in setting.runs if r.outcome == "finished"][:CURVES_A_SETTING]
    ]
    return {
        key: points[-1].value <= min(point.value for point in points)
        for key, points in curves(finished, f"{split}_loss").items()
        if len(points) > 1
    }


def _most_improve(runs: Iterable[RunResult], still: dict[str, bool]) -> bool:
    known = [still[run.key] for run in runs if run.key in still and is_finite(run.value)]
    return bool(known) and sum(known) * 2 > len(known)
