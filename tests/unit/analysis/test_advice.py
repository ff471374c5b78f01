"""What an answer says besides the best: what it rests on, what it advises, and what it must not say."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import pytest

from sweeps.analysis import tables as listing
from sweeps.analysis.answer import Answer, answers
from sweeps.analysis.ranking import compare
from sweeps.runs.metrics import Point
from sweeps.runs.outcome import Outcome
from sweeps.runs.results import Collection, RunResult

DIGITS = {"name": "digits", "digest": "abc", "train": "1294", "val": "144", "test": "359"}


class Losses:
    """A history with one val_loss for each key."""

    def __init__(self) -> None:
        self.of: dict[str, Sequence[float]] = {}

    def load(self, keys: Sequence[str], metric: str) -> dict[str, list[Point]]:
        assert metric == "val_loss"
        return {k: [Point(metric, i, v, i) for i, v in enumerate(self.of.get(k, ()))] for k in keys}


def runs(values: Sequence[float | None], **chosen: Any) -> list[RunResult]:
    """Returns one run a seed; None diverged."""
    return [one(value, seed, chosen) for seed, value in enumerate(values)]


def one(value: float | None, seed: int, chosen: dict[str, Any]) -> RunResult:
    settings = {**{k: str(v) for k, v in chosen.items()}, "seed": str(seed)}
    key = str(settings)
    return RunResult(
        key=key,
        name=key,
        objective="val_accuracy",
        outcome=Outcome.DIVERGED if value is None else Outcome.FINISHED,
        started_ms=0,
        history=Losses(),
        identity=key,
        sweep="study",
        settings=settings,
        value=value,
        best_epoch=10,
        epochs_done=10,
        metrics={} if value is None else {"test_accuracy": value},
        data=DIGITS,
        overrides=tuple(f"{k}={v}" for k, v in settings.items()),
    )


def answer(found: Iterable[RunResult]) -> Answer:
    return answers(compare(Collection(tuple(found))))[0]


def said(found: Iterable[RunResult]) -> str:
    return " ".join(answer(found).lines)


def test_the_value_of_a_chosen_best_is_optimistic_and_the_test_value_is_to_quote() -> None:
    first = answer([*runs([0.9, 0.92], lr=0.1), *runs([0.8, 0.81], lr=0.01)]).lines[0]
    assert first == (
        "Best: lr=0.1, val_accuracy 0.9100 [0.7829, 1.0000] (mean and 95 % interval of 2 seeds),"
        " optimistic as the best of 2; to quote: test_accuracy 0.9100 [0.7784, 1.0000]"
        " (95 %, over seeds and the choice of 359 test images)."
    )
    assert "optimistic" not in answer(runs([0.9, 0.92], lr=0.1)).lines[0]


def test_one_image_more_in_two_seeds_is_a_tie() -> None:
    lines = answer([*runs([0.9375, 0.9444], lr=0.1), *runs([0.9306, 0.9375], lr=0.01)]).lines
    assert lines[1].startswith("A tie: the other cannot be told from it")
    assert "two seeds show hardly any difference, so repeat with seed=0,1,2,3,4" in lines[1]


def test_one_lucky_seed_comes_after_settings_that_were_repeated() -> None:
    found = [*runs([0.9, 0.91, 0.92], lr=0.1), *runs([0.99], lr=0.01), *runs([0.8] * 3, lr=1)]
    part = compare(Collection(tuple(found))).parts[0]
    assert [s.label for s in part.settings] == ["lr=0.1", "lr=1", "lr=0.01"]
    assert listing.places(part) == ["1", "2", "3"]
    assert (
        "Unequal seeds: lr=0.01 has 1, lr=0.1 3; means over unequal seeds are compared,"
        " and a setting with one seed comes after those with more."
    ) in answer(found).lines


def test_equal_seeds_need_no_word() -> None:
    assert "Unequal" not in said([*runs([0.9, 0.91], lr=0.1), *runs([0.8, 0.81], lr=0.01)])


def test_a_tie_in_the_table_is_a_tie_in_the_range() -> None:
    found = [
        *runs([0.90, 0.91, 0.92, 0.90], lr=0.1),
        *runs([0.89, 0.92, 0.90, 0.91], lr=0.03),
        *runs([0.50, 0.51, 0.52, 0.50], lr=0.01),
        *runs([0.88, 0.93, 0.89, 0.90], lr=0.3),
    ]
    part = compare(Collection(tuple(found))).parts[0]
    clear = {s.label: s.against_best.clear for s in part.settings if s.against_best}
    assert clear == {"lr=0.03": False, "lr=0.3": False, "lr=0.01": True}
    assert "tied from 0.03 to 0.3, a factor of 10" in said(found)


@pytest.mark.parametrize(
    ("diverged", "words"),
    [
        (1.0, "lr=1.0 diverged (1 of 2 runs): too large"),
        (0.001, "lr=0.001 diverged (1 of 2 runs), though lr=0.1 trained"),
    ],
)
def test_a_rate_is_too_large_where_no_larger_one_trained(diverged: float, words: str) -> None:
    found = [
        *runs([0.9, 0.9], lr=0.1),
        *runs([0.8, 0.8], lr=0.01),
        *runs([0.8, None], lr=diverged),
    ]
    assert words in said(found)


@pytest.mark.parametrize(
    ("losses", "best_epoch", "improves"),
    [
        ([1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1], 10, True),
        ([0.7] * 10, 10, False),
        ([1.0, 0.5, 0.4, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3 - 1e-6], 10, False),  # a rate of 0
        ([1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1], 7, False),  # the accuracy's best
        ([0.5, 0.4, 0.3, 0.2, 0.1, 0.2, 0.3, 0.4, 0.5, 0.45], 10, False),
        ([0.0] * 10, 10, False),
    ],
)
def test_more_training_is_advised_where_it_helped_to_the_end(
    losses: list[float], best_epoch: int, improves: bool
) -> None:
    history = Losses()
    found = [
        dataclasses.replace(r, history=history, best_epoch=best_epoch)
        for r in [*runs([0.9, 0.91], lr=0.1), *runs([0.8, 0.81], lr=0.01)]
    ]
    history.of = {r.key: losses for r in found}
    words = "of the best itself val_loss still fell by 1 % or more at the end: train longer"
    assert (words in said(found)) == improves
    assert ("too small" in said(found)) == improves


@pytest.mark.parametrize(
    ("axis", "values", "best", "added"),
    [
        ("optimizer.momentum", ["0.3", "0.9"], "0.9", "add 0.986,0.998"),
        ("optimizer.momentum", ["0.0", "0.5"], "0.0", None),
        ("lr", ["0.001", "0.03", "0.1"], "0.1", "add 0.33,1.1"),
        ("batch_size", ["16", "32"], "32", "add 64,128"),
    ],
)
def test_what_is_added_is_a_value_that_can_be(
    axis: str, values: list[str], best: str, added: str | None
) -> None:
    found = [r for v in values for r in runs([0.9 if v == best else 0.5] * 3, **{axis: v})]
    edge = [line for line in answer(found).lines if line.startswith("On the edge")]
    assert bool(edge) == (added is not None)
    assert not added or edge[0].endswith(f"{added}.")
    assert len(answer(found).commands) == len(edge)


def test_a_difference_too_small_to_show_is_said_as_such() -> None:
    found = [*runs([0.5, 0.5 + 1e-9], lr=0.1), *runs([0.5, 0.5], lr=0.01)]
    assert "is less than 0.0001 behind" in said(found)
    assert "e-17" not in said(found)
    alone = [*runs([0.5 + 1e-6], lr=0.1), *runs([0.5], lr=0.01)]
    assert "nothing tells a difference of less than 0.0001 from chance" in said(alone)
    assert "that may be chance" in said([*runs([0.5], lr=0.1), *runs([0.5], lr=0.01)])
    equal_in_one_seed = [*runs([0.5], lr=0.1), *runs([0.5], lr=0.01), *runs([0.4], lr=1)]
    assert "nothing tells an equal val_accuracy from chance" in said(equal_in_one_seed)
