"""What every sampler and every pruner of a search keeps to."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from sweeps.config import SearchConfig
from sweeps.config.checks import PRUNERS, SAMPLERS
from sweeps.errors import BadInputError
from sweeps.search.dimensions import Dimension, Interval
from sweeps.search.pruners import stopping
from sweeps.search.samplers import Proposer
from sweeps.search.space import Space
from sweeps.search.trial import Trial

if TYPE_CHECKING:
    from collections.abc import Mapping

SEARCH = SearchConfig()
RATE = Dimension(("lr",), (), Interval(1e-4, 1.0, log=True))
WIDTH = Dimension(("width",), (), Interval(8, 64, integer=True))
OPTIMIZER = Dimension(("optimizer",), (("sgd",), ("adam",)))
PAIR = Dimension(("batch_size", "epochs"), (("16", "2"), ("32", "4")))
FIXED = Dimension(("model",), (("mlp",),))


def space(*dimensions: Dimension) -> Space:
    typed = {key: f"{key}=..." for dimension in dimensions for key in dimension.keys}
    return Space(dimensions, typed, {}, (), compose=lambda words: pytest.fail(str(words)))


OPEN = space(FIXED, OPTIMIZER, RATE, WIDTH, PAIR)
LISTED = space(FIXED, OPTIMIZER, PAIR, Dimension(("lr",), (("0.1",), ("0.01",), ("0.001",))))


def search(proposer: Proposer, count: int, known: list[Trial] | None = None) -> list[Trial]:
    """Returns trials as one worker would run them, each with a made-up score."""
    trials: list[Trial] = []
    for number in range(count):
        chosen = proposer.propose(number, trials, known or [], is_new(trials))
        if chosen is None:
            break
        score = -abs(math.log10(float(chosen["lr"])) + 2) - (chosen["optimizer"] == "sgd")
        trials.append(Trial(number, chosen, state="finished", score=score))
    return trials


def is_new(trials: list[Trial]) -> Any:
    def new(whole: Mapping[str, str]) -> bool:
        assert whole["model"] == "mlp"
        return all(any(whole[k] != v for k, v in t.chosen.items()) for t in trials)

    return new


@pytest.mark.parametrize("sampler", [name for name in SAMPLERS if name != "grid"])
class TestSampler:
    def test_proposals_are_in_the_space_and_short(self, sampler: str) -> None:
        trials = search(Proposer(OPEN, replace(SEARCH, sampler=sampler)), 14)
        assert len(trials) == 14
        for trial in trials:
            assert list(trial.chosen) == ["optimizer", "lr", "width", "batch_size", "epochs"]
            assert trial.chosen["optimizer"] in ("sgd", "adam")
            assert 1e-4 <= float(trial.chosen["lr"]) <= 1
            assert len(f"{float(trial.chosen['lr']):e}".split("e")[0].rstrip("0")) <= 5
            assert 8 <= int(trial.chosen["width"]) <= 64
            pair = (trial.chosen["batch_size"], trial.chosen["epochs"])
            assert pair in PAIR.options
        assert len({trial.chosen["lr"] for trial in trials}) > 1

    def test_the_same_seed_proposes_the_same_whatever_was_killed_in_between(
        self, sampler: str
    ) -> None:
        settings = replace(SEARCH, sampler=sampler)
        once = search(Proposer(OPEN, settings), 13)
        again = search(Proposer(OPEN, settings), 12)
        assert [t.chosen for t in again] == [t.chosen for t in once[:12]]
        following = Proposer(OPEN, settings).propose(12, again, [], is_new(again))
        assert following == once[12].chosen
        other = search(Proposer(OPEN, replace(settings, seed=1)), 3)
        assert [t.chosen for t in other] != [t.chosen for t in once[:3]]

    def test_a_list_is_tried_without_repeats_to_its_end(self, sampler: str) -> None:
        trials = search(Proposer(LISTED, replace(SEARCH, sampler=sampler)), 50)
        assert len(trials) == 12
        assert len({tuple(t.chosen.items()) for t in trials}) == 12

    def test_trials_of_every_state_are_taken_in(self, sampler: str) -> None:
        states = ("waiting", "running", "pruned", "finished", "diverged", "failed")
        chosen = [t.chosen for t in search(Proposer(OPEN, replace(SEARCH, sampler="random")), 12)]
        trials = [
            Trial(n, chosen[n], state=state, reports={1: 0.1, 2: n / 20}, of=9, score=n / 20)  # type: ignore[arg-type]
            for n, state in zip(range(12), itertools.cycle(states), strict=False)
        ]
        proposer = Proposer(OPEN, replace(SEARCH, sampler=sampler))
        assert proposer.propose(12, trials, [], is_new(trials)) is not None

    def test_a_narrower_space_forgets_what_lies_outside(self, sampler: str) -> None:
        trials = search(Proposer(OPEN, replace(SEARCH, sampler="random")), 12)
        narrow = space(FIXED, OPTIMIZER, Dimension(("lr",), (), Interval(0.1, 0.2)), WIDTH, PAIR)
        chosen = Proposer(narrow, replace(SEARCH, sampler=sampler)).propose(
            12, trials, [], is_new(trials)
        )
        assert chosen is not None
        assert 0.1 <= float(chosen["lr"]) <= 0.2


def test_grid_goes_in_order() -> None:
    trials = search(Proposer(LISTED, replace(SEARCH, sampler="grid")), 50)
    assert [f"{t.chosen['optimizer']} {t.chosen['lr']}" for t in trials[:4]] == [
        "sgd 0.1",
        "sgd 0.01",
        "sgd 0.001",
        "sgd 0.1",
    ]
    assert len(trials) == 12


def test_tpe_learns_from_trials_and_from_earlier_studies() -> None:
    near = [
        Trial(
            n,
            {
                "lr": str(0.01 * 1.1**n),
                "optimizer": "adam",
                "width": "16",
                "batch_size": "16",
                "epochs": "2",
            },
            state="finished",
            score=-0.1,
        )
        for n in range(10)
    ]
    far = [
        Trial(
            10 + n,
            {
                "lr": str(0.5 + n / 100),
                "optimizer": "sgd",
                "width": "60",
                "batch_size": "32",
                "epochs": "4",
            },
            state="finished",
            score=-9.0,
        )
        for n in range(20)
    ]
    proposer = Proposer(OPEN, SEARCH)
    chosen = [proposer.propose(n, [], [*near, *far], lambda _: True) for n in range(20)]
    near_best = sum(c is not None and float(c["lr"]) < 0.1 for c in chosen)
    assert near_best > 15


def test_a_point_is_written_as_the_list_has_it() -> None:
    listed = space(FIXED, OPTIMIZER, Dimension(("lr",), (("1e-2",), ("1e-3",))))
    trials = search(Proposer(listed, replace(SEARCH, points=[{"lr": 0.001}])), 1)
    assert trials[0].chosen == {"optimizer": "sgd", "lr": "1e-3"}
    assert Proposer(listed, SEARCH).complete({"optimizer": "sgd", "lr": "0.001"}) == {
        "model": "mlp",
        "optimizer": "sgd",
        "lr": "1e-3",
    }


def test_points_come_first() -> None:
    points: list[dict[str, Any]] = [
        {"lr": 0.05, "optimizer": "adam", "width": 32},
        {"lr": 0.2, "width": 8},
    ]
    trials = search(Proposer(OPEN, replace(SEARCH, points=points)), 3)
    first = {"optimizer": "adam", "lr": "0.05", "width": "32", "batch_size": "16", "epochs": "2"}
    assert trials[0].chosen == first
    assert trials[1].chosen == first | {"optimizer": "sgd", "lr": "0.2", "width": "8"}


@pytest.mark.parametrize(
    ("point", "message"),
    [
        ({"rate": 1}, "search.points has rate, which is no axis of this search. Allowed: model,"),
        (
            {"optimizer": "sgd"},
            r"search.points has a point with lr=\?, which is not among its values",
        ),
        ({"lr": 2}, "search.points has a point with lr=2, which is not among its values"),
        ({"lr": 0.1, "optimizer": "adm"}, "search.points has a point with optimizer=adm, which"),
        (
            {"lr": 0.1, "width": 9, "batch_size": 16, "epochs": 4},
            "with batch_size=16, epochs=4, which",
        ),
        ({"lr": 0.1, "model": "linear"}, "search.points has a point with model=linear, which"),
    ],
)
def test_a_point_that_does_not_fit_is_refused(point: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        search(Proposer(OPEN, replace(SEARCH, points=[point])), 1)


@pytest.mark.parametrize("pruner", PRUNERS)
class TestPruner:
    def test_the_best_is_never_stopped_for_good(self, pruner: str) -> None:
        scores = [(n * 7 % 30) / 30 for n in range(30)]
        trials = run_all(pruner, scores)
        assert trials[scores.index(max(scores))].state == "finished"
        stopped = [t for t in trials if t.state == "pruned"]
        assert all(t.reason for t in stopped)
        assert (not stopped) == (pruner == "none")

    def test_it_decides_nothing_in_warmup(self, pruner: str) -> None:
        trials = run_all(pruner, [1 - n / 30 for n in range(30)], warmup=4)
        assert all(t.last > 4 for t in trials)

    def test_it_judges_each_kind_by_itself(self, pruner: str) -> None:
        scores = [n / 30 if n % 2 else 9 + n / 30 for n in range(30)]
        trials = run_all(pruner, scores, groups=2)
        whole = {t.group for t in trials if t.state == "finished"}
        assert whole == {"0", "1"}

    def test_the_same_trials_are_judged_the_same(self, pruner: str) -> None:
        scores = [(n * 7 % 30) / 30 for n in range(30)]
        first, second = run_all(pruner, scores), run_all(pruner, scores)
        assert [vars(t) for t in first] == [vars(t) for t in second]


def run_all(pruner: str, scores: list[float], *, warmup: int = 0, groups: int = 1) -> list[Trial]:
    """Returns trials that one worker has trained, one after another, for 9 epochs or less."""
    rule = stopping(replace(SEARCH, pruner=pruner))
    trials: list[Trial] = []
    while True:
        more = len(trials) < len(scores)
        trial = rule.promote(trials, more=more)
        if trial is None and more:
            number = len(trials)
            trial = Trial(number, {}, group=str(number % groups), of=9, warmup=warmup)
            trials.append(trial)
        if trial is None:
            return trials
        trial.state = "running"
        while trial.state == "running":
            trial.reports[trial.last + 1] = scores[trial.number] * (trial.last + 1) / 9
            if trial.last == 9:
                trial.state, trial.score = "finished", scores[trial.number]
            elif not rule.goes_on(trials, trial, more=len(trials) < len(scores)):
                trial.state = "pruned"
