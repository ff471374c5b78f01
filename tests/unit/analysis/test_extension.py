"""What a grid asks for when its runs have ended: by real rules, on runs that are written down here."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from sweeps.analysis.extension import extensions
from sweeps.analysis.growth import Growth, in_words
from sweeps.analysis.ranking import rank
from sweeps.analysis.repeats import repeats
from sweeps.runs.metrics import Point
from sweeps.runs.outcome import Outcome
from sweeps.runs.results import Collection, RunResult


class Losses:
    """A history in which every val_loss fell to the end, or had stopped before."""

    def __init__(self, falls: bool) -> None:
        self.values = [2.0 - 0.1 * i for i in range(10)] if falls else [1.0] * 10

    def load(self, keys: Sequence[str], metric: str) -> Mapping[str, list[Point]]:
        return {k: [Point(metric, i, v, i) for i, v in enumerate(self.values)] for k in keys}


def one(value: float | None, *, loss: float = 1.0, falls: bool = False, **chosen: Any) -> RunResult:
    """Returns a run; one without a value diverged."""
    settings = {"seed": "0", "epochs": "10", **{key: str(v) for key, v in chosen.items()}}
    key = str(settings)
    return RunResult(
        key=key,
        name=key,
        objective="val_accuracy",
        outcome=Outcome.DIVERGED if value is None else Outcome.FINISHED,
        started_ms=0,
        history=Losses(falls),
        identity=key,
        settings=settings,
        value=value,
        best_epoch=10,
        epochs_done=10,
        epochs=10,
        metrics={} if value is None else {"val_loss": loss},
        start_loss=2.3,
        data={"name": "digits", "val": "144"},
        overrides=tuple(f"{k}={v}" for k, v in settings.items()),
    )


def asked(runs: Sequence[RunResult], added: Sequence[RunResult] = ()) -> list[Growth]:
    (part,) = rank(Collection((*runs, *added))).parts
    return extensions(part, {run.identity for run in runs})


def said(runs: Sequence[RunResult], added: Sequence[RunResult] = ()) -> list[str]:
    return in_words(asked(runs, added))


def curve(best: float) -> Callable[[float], float]:
    """Returns an accuracy that falls with the distance from the best rate."""
    return lambda lr: 1 - 0.1 * abs(math.log10(lr / best))


def test_a_best_inside_its_grid_asks_for_nothing() -> None:
    assert said([one(0.8, lr=0.01), one(0.9, lr=0.1), one(0.7, lr=1)]) == []


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((0.9, 0.8, 0.7), "lr=0.001,0.0001, because the best, lr=0.01, is the smallest tried."),
        ((0.7, 0.8, 0.9), "lr=10,100, because the best, lr=1, is the largest tried."),
        ((None, None, None), "lr=0.001,0.0001, because every lr diverged."),
    ],
)
def test_a_best_on_the_edge_asks_for_what_lies_beyond(
    values: Sequence[float | None], expected: str
) -> None:
    runs = [one(value, lr=lr) for value, lr in zip(values, (0.01, 0.1, 1), strict=True)]
    assert said(runs) == [expected]


def test_where_larger_ones_diverged_there_is_no_edge() -> None:
    assert said([one(0.7, lr=0.01), one(0.9, lr=0.1), one(None, lr=1)]) == []


def test_equal_differences_go_on_to_0_as_factors() -> None:
    runs = [one(value, lr=lr) for value, lr in ((0.9, 0.1), (0.8, 0.2), (0.7, 0.3))]
    assert said(runs) == ["lr=0.032,0.01, because the best, lr=0.1, is the smallest tried."]


def test_where_nothing_has_learned_the_loss_says_where_to_go() -> None:
    by_chance = [one(0.12, lr=1e-6, loss=2.29), one(0.10, lr=1e-5, loss=2.2)]
    assert said(by_chance)[0].startswith("lr=0.0001,0.001")
    too_large = [one(0.95, lr=100, loss=300.0), one(0.94, lr=10, loss=30.0)]
    assert said(too_large)[0].startswith("lr=1,0.1")


def test_each_optimizer_is_extended_by_itself_with_the_seeds_of_its_best() -> None:
    values = {"sgd": (0.7, 0.8, 0.9), "adam": (0.8, 0.9, 0.7)}
    runs = [
        one(value, optimizer=name, lr=lr, seed=seed)
        for name, row in values.items()
        for lr, value in zip((0.01, 0.1, 1), row, strict=True)
        for seed in (0, 1)
    ]
    found = asked(runs)
    changed = [[(c.run.settings["seed"], c.key, c.value) for c in g.changes] for g in found]
    assert changed == [[("0", "lr", v), ("1", "lr", v)] for v in ("10", "100")]
    assert {growth.where for growth in found} == {"optimizer=sgd"}


@pytest.mark.parametrize("step", [2, 10**0.5, 5, 10])
@pytest.mark.parametrize("off", [1 / 100, 100])
def test_a_grid_that_is_100_times_off_is_bracketed_with_six_more(step: float, off: float) -> None:
    accuracy = curve(best=0.03)
    edge = 0.03 / off
    rates = [edge * step ** (i if off < 1 else -i) for i in range(3)]
    typed = [one(accuracy(lr), lr=f"{lr:.3g}") for lr in rates]
    added: list[RunResult] = []
    while growths := asked(typed, added):
        values = [change.value for growth in growths for change in growth.changes]
        added += [one(accuracy(float(value)), lr=value) for value in values]
    tried = sorted([*typed, *added], key=lambda run: float(run.settings["lr"]))
    best = max(tried, key=lambda run: run.value or 0)
    assert 0 < tried.index(best) < len(tried) - 1
    assert len(added) <= 6


def test_while_a_best_improves_all_bests_train_twice_as_long_up_to_four_times() -> None:
    def grid(epochs: int) -> list[RunResult]:
        rows = {"sgd": (0.7, 0.9, 0.7), "adam": (0.7, 0.8, 0.7)}
        return [
            one(v + epochs / 1000, falls=name == "sgd", optimizer=name, lr=lr, epochs=epochs)
            for name, row in rows.items()
            for lr, v in zip((0.01, 0.1, 1), row, strict=True)
            if epochs == 10 or lr == 0.1
        ]

    (growth,) = asked(grid(10))
    labels = [(c.run.settings["optimizer"], c.key, c.value) for c in growth.changes]
    assert sorted(labels) == [("adam", "epochs", "20"), ("sgd", "epochs", "20")]
    assert "optimizer=sgd lr=0.1 still improved at the end" in growth.why
    assert [c.value for g in asked(grid(10), grid(20)) for c in g.changes] == ["40", "40"]
    assert asked(grid(10), [*grid(20), *grid(40)]) == []


def test_tied_settings_get_the_seeds_of_the_next_look() -> None:
    rows = {0.01: (0.90, 0.84, 0.92), 0.1: (0.93, 0.92, 0.94), 1: (0.10, 0.11, 0.09)}
    runs = [one(v, lr=lr, seed=s) for lr, row in rows.items() for s, v in enumerate(row)]
    (part,) = rank(Collection(tuple(runs))).parts
    found = repeats(part)
    changes = {(c.run.settings["lr"], c.key, c.value) for g in found for c in g.changes}
    assert changes == {(lr, "seed", seed) for lr in ("0.01", "0.1") for seed in ("3", "4")}
    assert in_words(found) == [
        "seed=3,4 for 2 settings, because 3 seeds leave lr=0.1 and lr=0.01 tied."
    ]


def test_what_is_settled_or_hopeless_is_not_repeated() -> None:
    for other in (0.1, 0.9):
        rows = {
            0.01: (other, other + 0.01, other - 0.01),
            0.1: (0.9, 0.89, 0.91),
            1: (0.2, 0.2, 0.21),
        }
        runs = [one(v, lr=lr, seed=s) for lr, row in rows.items() for s, v in enumerate(row)]
        (part,) = rank(Collection(tuple(runs))).parts
        assert repeats(part) == []
