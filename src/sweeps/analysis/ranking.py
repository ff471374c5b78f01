"""The one ranking: runs that differ in the seed alone are repeats of one setting.

Whatever names a best, a place or an order asks here: the answer, the tables, `reproduce --best`, the
live view, and what MLflow shows of a sweep.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sweeps.analysis.axes import ABSENT, SEED, find_axes, in_order, label, numbers
from sweeps.analysis.chosen_best import BestTest, compare_with_best
from sweeps.analysis.sequential import compare_over_looks
from sweeps.analysis.statistics import Estimate, estimate, measured_on, resolution
from sweeps.runs.metrics import is_finite
from sweeps.runs.outcome import Outcome
from sweeps.training.objective import maximised

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence

    from sweeps.runs.results import Collection, RunResult, SweepResult


REPEATING = "seeds=auto"
"""In the command of a sweep that repeats what is tied, and so looks more than once."""


@dataclass(frozen=True)
class Setting:
    """All runs that differ in the seed alone.

    Attributes:
        label: The axes as they are typed.
        settings: Value by axis.
        runs: Its runs, by seed and then by start.
        values: Objective by seed, of the runs that finished; where none has, of those under way
            or pruned.
        result: Mean and interval of those; None where no run has a value.
        test: The same of the test metric that belongs to the objective; the interval of an accuracy
            is also over the choice of the test images.
        against_best: The test of the best setting against this one.
    """

    label: str
    settings: Mapping[str, str]
    runs: tuple[RunResult, ...]
    values: Mapping[str, float]
    result: Estimate | None
    test: Estimate | None
    against_best: BestTest | None = None

    def count(self, *outcomes: str) -> int:
        """Returns how many runs ended so."""
        return sum(run.outcome in outcomes for run in self.runs)

    @property
    def whole(self) -> bool:
        """Whether it may win: it has finished values, and no seed diverged or was pruned."""
        return (
            self.result is not None
            and not self.count(Outcome.DIVERGED, Outcome.PRUNED)
            and bool(self.count(Outcome.FINISHED))
        )

    @property
    def representative(self) -> RunResult | None:
        """The run that stands for it: the finished one nearest to its mean, else None.

        Of equally near ones it is the first by seed.
        """
        done = _finished(self.runs)
        if self.result is None or not done:
            return None
        mean = self.result.mean
        # Rounded, so that equally near values are not told apart by their last bits.
        return min(done, key=lambda run: float(f"{abs(_value(run) - mean):.9g}"))

    @property
    def seconds(self) -> float:
        """Mean time of the runs that have one."""
        timed = [run.seconds for run in self.runs if run.seconds]
        return sum(timed) / len(timed) if timed else 0.0


@dataclass(frozen=True)
class Part:
    """Runs that may be ranked together: one objective, one set of data.

    Attributes:
        objective: The metric that ranks.
        about: What sets this part apart, such as 'data=digits, val_accuracy'.
        axes: What varies, without the seed.
        settings: Best first.
        looks: Whether its tests are for several looks, of a sweep with seeds=auto.
    """

    objective: str
    about: str
    axes: tuple[str, ...]
    settings: tuple[Setting, ...]
    looks: bool = False

    @property
    def runs(self) -> list[RunResult]:
        """Every run of the part, the best setting's first."""
        return [run for setting in self.settings for run in setting.runs]

    @property
    def best(self) -> Setting | None:
        """The winner, or None where nothing can be ranked."""
        return _first_to_name(self.settings)

    @property
    def sign(self) -> int:
        """1 where more is better, -1 where less is."""
        return 1 if maximised(self.objective) else -1

    @property
    def test_metric(self) -> str:
        """The metric of the test images that belongs to the objective."""
        return test_metric(self.objective)

    @property
    def numeric_axis(self) -> str | None:
        """The axis that figures put below: lr, or the numeric one with the most values."""
        counts = {}
        for axis in self.axes:
            values = {s.settings[axis] for s in self.settings} - {ABSENT}
            if len(values) > 1 and numbers(values) is not None:
                counts[axis] = len(values)
        if "lr" in counts:
            return "lr"
        return min(counts, key=lambda axis: (-counts[axis], axis)) if counts else None

    @property
    def line_axis(self) -> str | None:
        """The axis whose values are compared each at its own best: optimizer, or a word's."""
        rest = [axis for axis in self.axes if axis != self.numeric_axis]
        words = [a for a in rest if numbers({s.settings[a] for s in self.settings}) is None]
        if "optimizer" in rest:
            return "optimizer"
        return next(iter([*words, *rest]), None)

    def best_of(self, line: str | None) -> Setting | None:
        """Returns the best setting of one value of the line axis."""
        return _first_to_name(self.on(line))

    def on(self, line: str | None) -> list[Setting]:
        """Returns the settings of one value of the line axis, best first."""
        axis = self.line_axis
        return [s for s in self.settings if axis is None or s.settings[axis] == line]

    @property
    def lines(self) -> list[str | None]:
        """The values of the line axis in a fixed order, or one None where there is no such axis."""
        axis = self.line_axis
        if axis is None:
            return [None]
        return list(in_order(setting.settings[axis] for setting in self.settings))


@dataclass(frozen=True)
class Comparison:
    """Everything a report says.

    Attributes:
        parts: The largest first; runs of two parts are never ranked together.
        sweeps: Where the runs come from.
        notices: What a reader must know: what still runs, what was left out and why.
        repeated: Runs that are not ranked, because they repeat an experiment that is.
    """

    parts: tuple[Part, ...]
    sweeps: tuple[SweepResult, ...]
    notices: tuple[str, ...]
    repeated: tuple[RunResult, ...] = ()

    @property
    def runs(self) -> list[RunResult]:
        """Every run that is ranked or shown."""
        return [run for part in self.parts for run in part.runs]

    @property
    def winners(self) -> list[tuple[Part, Setting, RunResult]]:
        """Each part's best setting and the run that stands for it, where one has finished."""
        return [
            (part, part.best, run)
            for part in self.parts
            if part.best is not None and (run := part.best.representative) is not None
        ]

    def best_value(self, objective: str) -> float | None:
        """Returns the mean of the best setting by an objective; of several parts the largest's."""
        means = (
            best.result.mean
            for part, best, _ in self.winners
            if part.objective == objective and best.result is not None
        )
        return next(means, None)


def compare(collection: Collection) -> Comparison:
    """Ranks runs and tests the best setting of each part against the others."""
    ranked = rank(collection)
    looked = {s.name for s in collection.sweeps if REPEATING in s.command.split()}
    return replace(ranked, parts=tuple(_with_tests(part, looked) for part in ranked.parts))


def rank(collection: Collection) -> Comparison:
    """Ranks runs, whatever order they come in, without tests: cheap enough while they train."""
    runs = sorted(collection.runs, key=lambda run: (run.started_ms, run.name, run.key))
    kept, repeated = _without_copies(runs)
    groups = _grouped(kept)
    ordered = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
    apart = _what_differs(list(groups))
    parts = tuple(_part(members, _about(yardstick, apart)) for yardstick, members in ordered)
    notices = [*collection.notices, *_progress(kept, collection), *_why_apart(parts, apart)]
    if repeated:
        left_out = f"{_runs(len(repeated))} repeat an experiment that is counted already"
        notices.append(f"{left_out}: left out.")
    return Comparison(parts, collection.sweeps, tuple(dict.fromkeys(notices)), tuple(repeated))


def _first_to_name(ranked: Sequence[Setting]) -> Setting | None:
    """Returns the first setting with a result; half a run never stands for a whole one."""
    return next((s for s in ranked if s.result is not None and not s.count(Outcome.PRUNED)), None)


def test_metric(objective: str) -> str:
    """Returns the metric of the test images that belongs to an objective."""
    return f"test_{objective.partition('_')[2] or 'accuracy'}"


def _without_copies(runs: Sequence[RunResult]) -> tuple[list[RunResult], list[RunResult]]:
    """Keeps one run of each identity: the newest that finished, else the newest."""
    by_identity: dict[str, list[RunResult]] = defaultdict(list)
    for run in runs:
        by_identity[run.identity or f"key {run.key}"].append(run)
    kept = [
        max(same, key=lambda run: (run.outcome.is_whole, run.started_ms, run.key))
        for same in by_identity.values()
    ]
    counted = set(map(id, kept))
    return kept, [run for run in runs if id(run) not in counted]


def _grouped(runs: Sequence[RunResult]) -> dict[tuple[tuple[str, str], ...], list[RunResult]]:
    """Groups runs by their yardstick; one that failed before its data was read joins the others."""
    groups: dict[tuple[tuple[str, str], ...], list[RunResult]] = defaultdict(list)
    for run in sorted(runs, key=_never_began):
        own = _yardstick(run)
        fitting = [other for other in groups if _never_began(run) and set(own) <= set(other)]
        joined = max(fitting, key=lambda other: (len(groups[other]), other), default=own)
        groups[joined].append(run)
    return groups


def _never_began(run: RunResult) -> bool:
    return run.value is None and not run.data


def _yardstick(run: RunResult) -> tuple[tuple[str, str], ...]:
    """Returns what two runs must share to be ranked together."""
    shared = {"objective": run.objective or "none", **{f"data {k}": v for k, v in run.data.items()}}
    if run.objective.endswith("_loss"):  # values of two losses are numbers of two kinds
        shared |= {k: v for k, v in run.settings.items() if k.partition(".")[0] == "loss"}
    return tuple(sorted(shared.items()))


def _what_differs(yardsticks: Sequence[tuple[tuple[str, str], ...]]) -> list[str]:
    keys = sorted({key for yardstick in yardsticks for key, _ in yardstick})
    return [key for key in keys if len({dict(y).get(key) for y in yardsticks}) > 1]


def _about(yardstick: tuple[tuple[str, str], ...], apart: Sequence[str]) -> str:
    values = dict(yardstick)
    names = [key for key in apart if key in ("objective", "data name", "loss")] or list(apart)
    return ", ".join(f"{key.removeprefix('data ')} {values.get(key, ABSENT)[:40]}" for key in names)


def _why_apart(parts: Sequence[Part], apart: Sequence[str]) -> list[str]:
    if len(parts) < 2:
        return []
    reasons = {"objective": "objective", "loss": "loss (and rank by its value)"}
    what = sorted({reasons.get(key, key.partition(".")[0].partition(" ")[0]) for key in apart})
    listed = "; ".join(f"{part.about}: {_runs(len(part.runs))}" for part in parts)
    return [f"Not ranked together, because they differ in {' and '.join(what)}: {listed}."]


def _progress(runs: Sequence[RunResult], collection: Collection) -> list[str]:
    counts = Counter(run.outcome for run in runs)
    notices = []
    if counts[Outcome.RUNNING]:
        notices.append(
            f"Still running: {counts[Outcome.RUNNING]} of {_runs(len(runs))}; this is what there is so far."
        )
    if counts[Outcome.INTERRUPTED]:
        notices.append(
            f"Interrupted: {_runs(counts[Outcome.INTERRUPTED])}; the same command continues."
        )
    folders = Counter(run.sweep for run in collection.runs)
    for sweep in collection.sweeps:
        missing = sweep.cells - folders[sweep.name]
        if missing > 0:
            notices.append(f"{sweep.name}: {_runs(missing)} of {sweep.cells} not started yet.")
    return notices


def _part(runs: Sequence[RunResult], about: str) -> Part:
    axes, objective = find_axes(runs), runs[0].objective
    by_setting: dict[tuple[str, ...], list[RunResult]] = defaultdict(list)
    for run in runs:
        by_setting[tuple(run.settings.get(axis, ABSENT) for axis in axes)].append(run)
    settings = [_setting(members, axes) for members in by_setting.values()]
    sign = 1 if maximised(objective) else -1
    repeated = any(s.whole and s.result is not None and s.result.n > 1 for s in settings)
    settings.sort(key=lambda setting: _place(setting, sign, repeated=repeated))
    return Part(objective, about, axes, tuple(settings))


def _setting(runs: Sequence[RunResult], axes: Sequence[str]) -> Setting:
    ordered = sorted(
        runs, key=lambda r: (in_order_key(r.settings.get(SEED, "")), r.started_ms, r.key)
    )
    done = _finished(ordered)
    shown = done or [
        run for run in ordered if run.outcome != Outcome.FAILED and is_finite(run.value)
    ]
    if not done and any(run.outcome == Outcome.DIVERGED for run in ordered):
        shown = []  # the best epoch before a divergence is no result
    values: dict[str, float] = {}
    for run in shown:
        seed = run.settings.get(SEED, run.key)
        values[seed if seed not in values else f"{seed} again {run.key}"] = _value(run)
    tests = [run.metrics.get(test_metric(run.objective)) for run in shown]
    finite = [value for value in tests if value is not None and is_finite(value)]
    settings = {axis: ordered[0].settings.get(axis, ABSENT) for axis in axes}
    return Setting(
        label=label(settings, axes) or ordered[0].name,
        settings=settings,
        runs=tuple(ordered),
        values=values,
        result=estimate(list(values.values()), metric=ordered[0].objective) if values else None,
        test=_quotable(finite, ordered[0]) if finite else None,
    )


def _finished(runs: Sequence[RunResult]) -> list[RunResult]:
    return [run for run in runs if run.outcome == Outcome.FINISHED and is_finite(run.value)]


def _value(run: RunResult) -> float:
    assert run.value is not None
    return run.value


def _quotable(values: Sequence[float], run: RunResult) -> Estimate:
    metric = test_metric(run.objective)
    return estimate(values, metric=metric, images=measured_on(metric, run.data))


def in_order_key(value: str) -> tuple[float, str]:
    """Returns a key that sorts numbers by size and words after them."""
    found = numbers([value])
    return (found[0] if found else float("inf"), value)


def _place(setting: Setting, sign: int, *, repeated: bool) -> tuple[int, float, str]:
    """Whole settings first, then those that still run, were pruned, and had a seed diverge.

    Where some are repeated, one seed alone is no mean: it comes after them, however lucky.
    """
    if setting.result is None:
        return (5 if setting.count(Outcome.DIVERGED) else 6, 0.0, setting.label)
    if setting.whole:
        rank = int(repeated and setting.result.n == 1)
    elif setting.count(Outcome.DIVERGED):
        rank = 4
    else:
        rank = 3 if setting.count(Outcome.PRUNED) else 2
    return (rank, -sign * setting.result.mean, setting.label)


def _with_tests(part: Part, looked: Container[str]) -> Part:
    """Returns a part with its tests; those of sweeps that looked several times are for all looks."""
    whole = [setting for setting in part.settings if setting.whole]
    if len(whole) < 2:
        return part
    looks = all(run.sweep in looked for run in part.runs)
    tests = against_first(whole, part.sign, looks=looks)
    test_of = dict(zip(map(id, whole[1:]), tests, strict=True))
    settings = (replace(s, against_best=test_of.get(id(s))) for s in part.settings)
    return replace(part, settings=tuple(settings), looks=looks)


def against_first(ranked: Sequence[Setting], sign: int, *, looks: bool = False) -> list[BestTest]:
    """Tests the first of whole settings against each of the others.

    Args:
        ranked: By their means, the best first.
        sign: 1 where more is better, -1 where less is.
        looks: Whether they were looked at after every few seeds, see `sequential`.
    """
    how = compare_over_looks if looks else compare_with_best
    return how([s.values for s in ranked], sign=sign, resolution=step_of(ranked[0]))


def step_of(setting: Setting) -> float:
    """Returns the smallest step in which the objective of a setting can differ."""
    size = max(abs(value) for value in setting.values.values())
    run = setting.runs[0]
    return resolution(run.objective, run.data, size)


def _runs(count: int) -> str:
    return f"{count} run" if count == 1 else f"{count} runs"
