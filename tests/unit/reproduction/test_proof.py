from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest

from sweeps.reproduction.proof import Proof, Verdict
from sweeps.training.protocol import Report

if TYPE_CHECKING:
    from sweeps.reproduction.original import Points

THEN: Points = {("loss", 1): 1.0, ("loss", 2): 0.5, ("loss", 3): 0.25}


def prove(
    now: list[dict[str, float]], then: Points = THEN, *, weights: bool | None = True, **changed: Any
) -> tuple[Verdict, int]:
    settings: dict[str, Any] = {"rtol": 1e-4, "complete": True, "epochs": None}
    settings |= {"of_epochs": 3, "stop_early": False}
    proof = Proof(then, **(settings | changed))
    seen = 0
    for step, metrics in enumerate(now, start=1):
        seen += 1
        if proof.see(Report(step, step, metrics, epoch_done=True)):
            break
    return proof.verdict(weights=weights), seen


SAME = [{"loss": 1.0}, {"loss": 0.5}, {"loss": 0.25}]


def test_the_same_points_and_weights_are_exact() -> None:
    verdict, _ = prove(SAME)
    assert (verdict.kind, verdict.short, verdict.compared) == ("exact", "exact", 3)
    assert verdict.first is None


def test_unknown_weights_leave_the_points_to_decide() -> None:
    assert prove(SAME, weights=None)[0].kind == "exact"


def test_other_weights_with_the_same_points_are_not_exact() -> None:
    assert prove(SAME, weights=False)[0].kind == "within tolerance"
    verdict, _ = prove(SAME, weights=False, rtol=0.0)
    assert (verdict.kind, verdict.short) == ("differs", "differs in weights")


def test_small_errors_are_within_tolerance_and_named() -> None:
    verdict, _ = prove([{"loss": 1.0}, {"loss": 0.5 * (1 + 1e-6)}, {"loss": 0.25 * (1 + 1e-5)}])
    assert verdict.kind == "within tolerance"
    assert verdict.largest == {"loss": pytest.approx(1e-5, rel=1e-3)}
    assert verdict.first is not None
    assert verdict.first.step == 2
    assert prove([{"loss": 1.0}, {"loss": 0.5 * (1 + 1e-6)}, SAME[2]], rtol=0.0)[0].short == (
        "differs from step 2"
    )


def test_the_first_step_beyond_the_tolerance_is_named_with_both_values() -> None:
    verdict, seen = prove([{"loss": 1.0 + 1e-7}, {"loss": 0.75}, {"loss": 9.0}])
    assert verdict.short == "differs from step 2"
    assert str(verdict.first_beyond) == "loss was 0.5, is 0.75 (relative error 0.33)"
    assert seen == 3


def test_it_can_stop_at_the_first_difference() -> None:
    verdict, seen = prove([{"loss": 1.0}, {"loss": 0.75}, {"loss": 9.0}], stop_early=True)
    assert (seen, verdict.short) == (2, "differs from step 2 (stopped there)")
    assert verdict.weights is None


def test_a_missing_point_is_a_difference() -> None:
    verdict, _ = prove(SAME[:2])
    assert verdict.short == "differs from step 3"
    assert str(verdict.first_beyond) == "loss was 0.25; the repeat has no such point"


def test_a_point_too_many_is_a_difference() -> None:
    verdict, _ = prove([*SAME, {"loss": 0.1}])
    assert verdict.short == "differs from step 4"
    assert str(verdict.first_beyond) == "loss is 0.1; the original has no such point"


def test_values_that_are_not_finite_equal_themselves_alone() -> None:
    then = {("a", 1): math.nan, ("b", 1): math.inf, ("c", 1): -math.inf}
    assert prove([{"a": math.nan, "b": math.inf, "c": -math.inf}], then)[0].kind == "exact"
    for now in ({"a": 0.0}, {"a": math.inf}):
        assert prove([now], {("a", 1): math.nan})[0].short == "differs from step 1"


def test_only_the_first_epochs_can_be_compared() -> None:
    verdict, seen = prove(SAME, epochs=1)
    assert (seen, verdict.short) == (1, "exact (epoch 1 of 3)")
    assert prove(SAME, epochs=2)[0].short == "exact (epochs 1 to 2 of 3)"
    assert prove([{}], epochs=1)[0].short == "differs from step 1 (epoch 1 of 3)"
    assert prove(SAME, epochs=3)[0].short == "exact"


def test_an_interrupted_original_is_compared_as_far_as_it_went() -> None:
    verdict, seen = prove([*SAME, {"loss": 0.1}], complete=False)
    assert (seen, verdict.short) == (3, "exact (recorded part, to step 3)")


def test_thousands_of_small_differences_do_not_hide_a_large_one() -> None:
    then = {("loss", step): 1.0 for step in range(1, 5001)}
    now = [{"loss": 1.0 + 1e-6} for _ in range(4999)] + [{"loss": 2.0}]
    assert prove(now, then)[0].short == "differs from step 5000"
