"""The answer in words: what is best, how sure that is, and what to try next."""

from __future__ import annotations

import math
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sweeps.reporting.axes import ABSENT, SEED, in_order, key_of, number
from sweeps.results import curves, is_finite

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sweeps.reporting.ranking import Comparison, Part, Setting
    from sweeps.reporting.statistics import Estimate
    from sweeps.results import RunResult

LINES_IN_WORDS = 3
SEEDS_TO_TYPE = "0,1,2,3,4"
CURVES_A_SETTING = 5
"""A majority of five is one of many; a store takes its time over each point."""


@dataclass(frozen=True)
class Command:
    """Something to type next, and what for."""

    purpose: str
    line: str


@dataclass(frozen=True)
class Answer:
    """What a part of a comparison says.

    Attributes:
        about: What the part is, where there are several; else ''.
        lines: Three to six sentences.
        commands: What to type to know more.
    """

    about: str
    lines: tuple[str, ...]
    commands: tuple[Command, ...] = ()


def answers(comparison: Comparison) -> list[Answer]:
    """Returns one answer for each part, the largest part first."""
    return [_answer(part, comparison) for part in comparison.parts]


def show(value: float | None) -> str:
    """Returns a metric's value as people read it."""
    if value is None or not math.isfinite(value):
        return "-"
    return f"{value:.4f}" if 1e-3 <= abs(value) < 1e5 or value == 0 else f"{value:.3g}"


def show_estimate(found: Estimate | None) -> str:
    """Returns a mean with its interval."""
    if found is None:
        return "-"
    return show(found.mean) if found.half is None else f"{show(found.mean)} ± {show(found.half)}"


def show_p(p: float | None) -> str:
    """Returns a p-value, rounded up where it is tiny."""
    if p is None:
        return "-"
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


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


def _answer(part: Part, comparison: Comparison) -> Answer:
    about = part.about if len(comparison.parts) > 1 else ""
    best = part.best
    if best is None or best.result is None:
        return Answer(about, (_nothing(part), *_failures(part)))
    lines = [_winner(part, best), _verdict(part, best)]
    axis = part.numeric_axis
    commands = []
    if axis is not None:
        ladders = [
            ladder for line in part.lines if (ladder := _Ladder.of(part, axis, line)) is not None
        ]
        ladders.sort(key=lambda ladder: part.settings.index(ladder.best))
        shown = ladders[:LINES_IN_WORDS]
        still = improving([s for ladder in shown for s in ladder.small_or_best], part.objective)
        lines += [ladder.in_words(still) for ladder in shown]
        if len(ladders) > LINES_IN_WORDS:
            lines.append(f"{len(ladders) - LINES_IN_WORDS} more: see the table.")
        edges = [ladder for ladder in ladders if ladder.edge]
        if edges:
            lines.append(_edges(edges))
            commands = [c for ladder in edges for c in ladder.extension()]
    if best.count("finished") == 1:
        commands += _more_seeds(comparison)
    return Answer(about, (*lines, *_failures(part))[:7], tuple(commands))


def _nothing(part: Part) -> str:
    runs = part.runs
    counts = ", ".join(
        f"{sum(run.outcome == outcome for run in runs)} {outcome}"
        for outcome in sorted({run.outcome for run in runs})
    )
    if not part.objective:
        return f"These {len(runs)} runs have logged no metric to rank by ({counts})."
    hint = ""
    if all(run.outcome == "diverged" for run in runs):
        hint = " Every rate was too large, or the data or the model is broken: try smaller values."
    return f"No run has a {part.objective} to rank by yet: {counts}.{hint}"


def _winner(part: Part, best: Setting) -> str:
    assert best.result is not None
    how = _seeds(best.result.n)
    if best.result.n > 1:
        how = f"mean and 95 % interval of {how}"
    so_far = "" if best.whole else " so far"
    test = f"; {part.test_metric} {show_estimate(best.test)}" if best.test else ""
    if part.test_metric == part.objective:
        test = "; there is no validation split, so this is chosen on test images and looks too good"
    return (
        f"Best{so_far}: {best.label}, {part.objective} {show_estimate(best.result)} ({how}){test}."
    )


def _verdict(part: Part, best: Setting) -> str:
    others = [s for s in part.settings if s is not best and s.whole]
    if len(part.settings) == 1:
        return "There is one setting only, so nothing to compare it with."
    if not others:
        return "No other setting has finished without divergence, so nothing can be compared yet."
    tests = [(s, s.against_best) for s in others if s.against_best and s.against_best.p is not None]
    nearest = others[0]
    assert best.result is not None
    assert nearest.result is not None
    gap = part.sign * (best.result.mean - nearest.result.mean)
    if not tests:
        return (
            f"Whether it is really better than the next, {nearest.label}"
            f" ({show(nearest.result.mean)}), cannot be said: with one seed nothing tells a"
            f" difference of {show(gap)} from chance. Repeat with seed={SEEDS_TO_TYPE}."
        )
    how = f"paired t-test over {_seeds(max(t.pairs for _, t in tests))}"
    if len(tests) > 1:
        how += f", Holm's correction for {len(tests)} comparisons"
    ties = [(s, t) for s, t in tests if not t.clear]
    if not ties:
        least = max(t.p for _, t in tests if t.p is not None)
        others_named = "each of the others" if len(tests) > 1 else nearest.label
        return f"Clearly better than {others_named}: {show_p(least)} or less ({how})."
    setting, test = ties[0]
    needed = "no number of seeds up to 1000 would settle it"
    if (seeds := test.seeds_needed()) is not None:
        needed = f"about {max(seeds, test.pairs + 1)} seeds would settle it"
    many = f"{len(ties)} of the {len(tests)} others" if len(tests) > 1 else "the other"
    return (
        f"A tie: {many} cannot be told from it ({how}). The nearest, {setting.label},"
        f" is {_behind(test.difference)} ({show_p(test.p)}); {needed}."
    )


def _behind(difference: float) -> str:
    if difference == 0:
        return "equal"
    return f"{show(abs(difference))} {'behind' if difference > 0 else 'ahead'}"


def _failures(part: Part) -> list[str]:
    failed = [run for run in part.runs if run.outcome == "failed"]
    if not failed:
        return []
    return [
        f"{len(failed)} of {len(part.runs)} runs failed, such as {failed[0].name}: {failed[0].error}"
    ]


class _Ladder:
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
    def of(cls, part: Part, axis: str, line: str | None) -> _Ladder | None:
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
    def edge(self) -> str:
        """'smallest' or 'largest' where the best value is the last one tried, else ''."""
        value, tried = self.best.settings[self.axis], self.tried
        if len(tried) < 2 or value not in (tried[0], tried[-1]):
            return ""
        return "smallest" if value == tried[0] else "largest"

    @property
    def small_or_best(self) -> list[Setting]:
        """The best setting and those of smaller rates, which may not have been trained enough."""
        return self.rungs[: self.rungs.index(self.best) + 1] if self.axis == "lr" else [self.best]

    def in_words(self, still: dict[str, bool]) -> str:
        """Returns a sentence on the best value, how wide its range is, and what lies outside."""
        at = f"{self.axis}={self.best.settings[self.axis]}"
        result = self.best.result
        said = [f"best at {at} ({show_estimate(result)})", self._behind_the_best(), self._range()]
        said += self._diverged()
        said += self._small(still)
        name = f"{self.name}: " if self.name else ""
        sentence = f"{name}{'; '.join(part for part in said if part)}."
        return sentence[0].upper() + sentence[1:] if not self.name else sentence

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

    def extension(self) -> list[Command]:
        """Returns the command that adds values beyond the edge to the same named sweep."""
        values = self.additions()
        run = self.best.runs[0]
        if not values or not run.overrides:
            return []
        kept = [o for o in run.overrides if key_of(o) not in ("name", self.axis, SEED)]
        seeds = in_order(r.settings[SEED] for r in self.best.runs if SEED in r.settings)
        named = [f"name={run.sweep}"] if run.sweep else []
        seeded = (
            [f"seed={','.join(seeds)}"] if any(key_of(o) == SEED for o in run.overrides) else []
        )
        words = [*named, *kept, f"{self.axis}={','.join(values)}", *seeded]
        purpose = f"beyond the edge{f' for {self.name}' if self.name else ''}"
        return [Command(purpose, shlex.join(["python", "-m", "sweeps.train", "-m", *words]))]

    def _behind_the_best(self) -> str:
        test = self.best.against_best
        if test is None or test.p is None:
            return ""
        if test.clear:
            return f"clearly behind the best ({show_p(test.p)})"
        return f"{_behind(test.difference)}, a tie ({show_p(test.p)})"

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


def _edges(ladders: Sequence[_Ladder]) -> str:
    said = []
    for ladder in ladders:
        name = f"{ladder.name} " if ladder.name else ""
        value = (
            f"{name}{ladder.axis}={ladder.best.settings[ladder.axis]} is the {ladder.edge} tried"
        )
        additions = ladder.additions()
        beyond = "smaller" if ladder.edge == "smallest" else "larger"
        said.append(f"{value}: add {','.join(additions) if additions else f'{beyond} values'}")
    return f"On the edge of the grid: {'; '.join(said)}."


def _more_seeds(comparison: Comparison) -> list[Command]:
    found = []
    for sweep in comparison.sweeps:
        words = [w for w in shlex.split(sweep.command) if key_of(w) != SEED]
        if words:
            words.append(f"seed={SEEDS_TO_TYPE}")
            found.append(Command("more seeds, to know how sure it is", shlex.join(words)))
    return found


def _most_improve(runs: Iterable[RunResult], still: dict[str, bool]) -> bool:
    known = [still[run.key] for run in runs if run.key in still and is_finite(run.value)]
    return bool(known) and sum(known) * 2 > len(known)


def _seeds(count: int) -> str:
    return f"{count} seed" if count == 1 else f"{count} seeds"
