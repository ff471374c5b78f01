"""The measures of the field for a comparison: the values of an axis, each at its own best."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sweeps.analysis.axes import differing
from sweeps.analysis.cautions import cautions
from sweeps.analysis.confusion import Confusion, confusion_of
from sweeps.analysis.contenders import USUAL_AXIS, Contender, contenders, usual_axis
from sweeps.analysis.expected_best import expected_best, in_words, trial_values
from sweeps.analysis.lr_sensitivity import LrSensitivity, lr_sensitivity, untrained
from sweeps.analysis.probability_of_improvement import (
    Probability,
    probability_of_improvement,
    values_by_seed,
)
from sweeps.analysis.time_to_target import (
    Reached,
    Target,
    check_reachable,
    time_to_target,
    usual_target,
)
from sweeps.analysis.trials_spent import Spent, trials_spent
from sweeps.analysis.workloads import WORKLOAD_KEYS, Suite, find_suite
from sweeps.errors import BadInputError, did_you_mean
from sweeps.training.objective import maximised

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sweeps.analysis.ranking import Comparison, Part, Setting


MOST_CROSSINGS = 4
"""Sentences about the expected best of a part; the curves show all."""
MOST_NAMED = 10


@dataclass(frozen=True)
class Wanted:
    """What a person asks to be measured.

    Attributes:
        axis: Whose values are compared; None for the optimizer, or another axis of words.
        metric: Of the target; '' for the objective.
        target: The value to come to; None for the usual one.
        workloads: The settings that tell workloads apart; none for data and model, where data varies.
        export: Whether the workloads are needed even where data does not vary.
    """

    axis: str | None = None
    metric: str = ""
    target: float | None = None
    workloads: tuple[str, ...] = ()
    export: bool = False


@dataclass(frozen=True)
class Measured:
    """What is known of one value of the axis.

    Attributes:
        contender: The value and its settings.
        spent: Its budget.
        reached: When its best setting came to the target; None where that is not known.
        expected: Expected best after 1 .. n trials.
        sensitivity: To the learning rate; None where it is not known.
        beaten: The probability that the best of all beats it; None for the best itself, and where
            there is one seed, which says nothing.
    """

    contender: Contender
    spent: Spent
    reached: Reached | None
    expected: tuple[float, ...]
    sensitivity: LrSensitivity | None
    beaten: Probability | None


@dataclass(frozen=True)
class PartMeasures:
    """The measures of runs that may be ranked together.

    Attributes:
        axis: Whose values are compared.
        target: What the times are to; None where there is none.
        compared: The metric of `beaten`: of the test images, where the best is not chosen on them.
        rows: One for each value of the axis, the best first.
        lines: What they say in words.
        confusion: Of the best setting; None where its runs keep no predictions.
    """

    axis: str
    target: Target | None
    compared: str
    rows: tuple[Measured, ...]
    lines: tuple[str, ...]
    confusion: Confusion | None


@dataclass(frozen=True)
class Measures:
    """All measures of a comparison.

    Attributes:
        parts: As in the comparison.
        suite: Over the workloads, where there are several.
    """

    parts: tuple[PartMeasures, ...]
    suite: Suite | None


def measure(comparison: Comparison, wanted: Wanted | None = None) -> Measures:
    """Returns the measures of a comparison.

    Raises:
        BadInputError: No run has the axis, the metric or the settings that are asked for.
    """
    wanted = wanted or Wanted()
    _check(comparison, wanted)
    parts = tuple(_measure_part(part, wanted) for part in comparison.parts)
    return Measures(parts, _suite(comparison, wanted))


def _measure_part(part: Part, wanted: Wanted) -> PartMeasures:
    axis = wanted.axis or usual_axis(part)
    found = [c for c in contenders(part.settings, axis) if c.best is not None]
    compared = part.objective
    if any(values_by_seed(s, part.test_metric) for c in found if (s := c.best)):
        compared = part.test_metric
    target = _target(part, found, wanted)
    rows = tuple(_measured(part, c, found[0].best, target, compared) for c in found)
    curves = {row.contender.name: list(row.expected) for row in rows if row.expected}
    lines = in_words(curves, sign=part.sign)[:MOST_CROSSINGS] if curves else []
    if axis != part.line_axis:  # the answer says what holds for the usual axis
        lines = [*cautions(part, axis), *lines]
    matrix = confusion_of(found[0].best) if found and found[0].best else None
    if matrix is not None:
        lines.append(matrix.in_words())
    return PartMeasures(axis, target, compared, rows, tuple(lines), matrix)


def _measured(
    part: Part, contender: Contender, best: Setting | None, target: Target | None, compared: str
) -> Measured:
    own = contender.best
    assert best is not None
    assert own is not None
    values = trial_values(contender, part.objective, untrained(part.objective, part.runs))
    a, b = (values_by_seed(setting, compared) for setting in (best, own))
    sign = 1 if maximised(compared) else -1
    beaten = None if own is best else probability_of_improvement(a, b, sign=sign)
    return Measured(
        contender=contender,
        spent=trials_spent(contender),
        reached=time_to_target(own, target) if target is not None else None,
        expected=tuple(expected_best(values, sign=part.sign)),
        sensitivity=lr_sensitivity(contender, part),
        beaten=beaten if beaten is not None and beaten.pairs > 1 else None,
    )


def _target(part: Part, found: Sequence[Contender], wanted: Wanted) -> Target | None:
    if wanted.target is None:
        return usual_target(found, part.objective)
    return Target(wanted.metric or part.objective, wanted.target)


def _suite(comparison: Comparison, wanted: Wanted) -> Suite | None:
    if not comparison.parts:
        return None
    varying = differing(comparison.runs)
    axis = wanted.axis
    if axis is None:
        axis = USUAL_AXIS if USUAL_AXIS in varying else usual_axis(comparison.parts[0])
    if axis in wanted.workloads:
        raise BadInputError(
            f"--workloads {','.join(wanted.workloads)}: {axis} is what is compared. Name another"
            " --axis, or other workloads."
        )
    keys = wanted.workloads
    # Models are a choice to win, unless each has its own data.
    if not keys and (wanted.export or "data" in varying):
        keys = tuple(key for key in WORKLOAD_KEYS if key != axis)
    if not keys or axis == "data":
        return None
    target = None
    if wanted.target is not None:
        target = Target(wanted.metric or comparison.parts[0].objective, wanted.target)
    suite = find_suite(comparison, axis, keys, target)
    asked = wanted.workloads or wanted.export
    return suite if asked or len(suite.values) > 1 else None


def _check(comparison: Comparison, wanted: Wanted) -> None:
    known = sorted({key for run in comparison.runs for key in run.settings})
    if wanted.axis is not None:
        _check_setting("--axis", wanted.axis, known, comparison)
    for key in wanted.workloads:
        _check_setting("--workloads", key, known, comparison)
    if wanted.metric:
        _check_metric(wanted, sorted({key for run in comparison.runs for key in run.metrics}))
    elif wanted.target is not None:
        for part in comparison.parts:
            check_reachable(part.objective, wanted.target)


def _check_setting(flag: str, key: str, known: Sequence[str], comparison: Comparison) -> None:
    if key not in known:
        varying = ", ".join(differing(comparison.runs)[:MOST_NAMED]) or "nothing"
        raise BadInputError(
            f"{flag} {key}: no run has that setting.{did_you_mean(key, known)} These runs differ in"
            f" {varying}."
        )


def _check_metric(wanted: Wanted, known: Sequence[str]) -> None:
    if wanted.metric not in known:
        raise BadInputError(
            f"--target {wanted.metric}={wanted.target:g}: no run has logged {wanted.metric}."
            f"{did_you_mean(wanted.metric, known)} They have {', '.join(known) or 'none'}."
        )
