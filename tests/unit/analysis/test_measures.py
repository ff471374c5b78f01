"""The measures of the field against enumeration, scipy and cases that are known."""

import itertools
import json
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sweeps.analysis.algoperf import export
from sweeps.analysis.contenders import Contender, contenders
from sweeps.analysis.expected_best import crossings, expected_best, in_words, trials_needed
from sweeps.analysis.inclusion import under_tuned
from sweeps.analysis.lr_sensitivity import lr_sensitivity, sensitivity
from sweeps.analysis.probability_of_improvement import probability_of_improvement
from sweeps.analysis.ranking import Comparison, compare
from sweeps.analysis.time_to_target import (
    MISSED,
    Reached,
    Target,
    median_time,
    read_target,
    time_to_target,
    usual_target,
)
from sweeps.analysis.trials_spent import trials_spent, unequal_budgets
from sweeps.analysis.workloads import find_suite, ratio, score, share_solved
from sweeps.errors import BadInputError
from sweeps.runs.metrics import Point
from sweeps.runs.outcome import Outcome
from sweeps.runs.results import Collection, RunResult

OPTIMIZERS = {
    "sgd": {"optimizer._target_": "torch.optim.SGD", "optimizer.momentum": "0.0"},
    "sgd_momentum": {"optimizer._target_": "torch.optim.SGD", "optimizer.momentum": "0.9"},
    "adam": {"optimizer._target_": "torch.optim.Adam"},
}
STEPS = 10


class Curves:
    """Points of made-up runs: one value an epoch, `STEPS` steps and a second apart."""

    def __init__(self) -> None:
        self.values: dict[str, Sequence[float]] = {}

    def load(self, keys: Sequence[str], metric: str) -> dict[str, list[Point]]:
        if metric != "val_accuracy":
            return {}
        return {
            key: [
                Point(metric, epoch * STEPS, value, epoch * 1000)
                for epoch, value in enumerate(self.values[key], start=1)
            ]
            for key in keys
        }


def run(curve: Sequence[float], *, outcome: str = "finished", **given: Any) -> RunResult:
    """Returns a run whose validation accuracy takes the given course."""
    history = Curves()
    data, loss = given.pop("data", "digits"), given.pop("loss", None)
    start_loss = given.pop("start_loss", 2.3)
    chosen = {key: str(value) for key, value in given.items()}
    key = " ".join([data, *(f"{k}={v}" for k, v in chosen.items())])
    history.values[key] = curve
    value = max(curve, default=None)
    metrics = {} if value is None else {"val_accuracy": value, "test_accuracy": value - 0.01}
    return RunResult(
        key=key,
        identity=key,
        name=key,
        objective="val_accuracy",
        outcome=Outcome(outcome),
        started_ms=0,
        history=history,
        settings={"data": data, **OPTIMIZERS.get(chosen.get("optimizer", ""), {}), **chosen},
        value=value,
        epochs_done=len(curve),
        epochs=len(curve),
        metrics=metrics if loss is None else {**metrics, "val_loss": loss},
        seconds=float(len(curve)),
        start_loss=start_loss,
        data={"name": data, "classes": "10"},
        overrides=tuple(f"{k}={v}" for k, v in chosen.items()),
    )


def comparison(*runs: RunResult) -> Comparison:
    return compare(Collection(tuple(runs)))


def entrants(*runs: RunResult, axis: str = "optimizer") -> list[Contender]:
    return contenders(comparison(*runs).parts[0].settings, axis)


# Expected best


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(-1e3, 1e3, allow_subnormal=False), min_size=1, max_size=9),
    st.sampled_from([1, -1]),
)
def test_expected_best_is_the_mean_over_all_subsets(values: list[float], sign: int) -> None:
    best = max if sign > 0 else min
    found = expected_best(values, sign=sign)
    assert len(found) == len(values)
    for k, value in enumerate(found, start=1):
        enumerated = statistics.fmean(best(s) for s in itertools.combinations(values, k))
        assert value == pytest.approx(enumerated, rel=1e-12, abs=1e-12 * max(map(abs, values)))


def test_expected_best_is_unbiased_where_draws_with_replacement_are_not() -> None:
    """For uniform values the best of k is k / (k + 1) on average."""
    draws = np.random.default_rng(0).random((4000, 5))
    means = np.mean([expected_best(row, sign=1) for row in draws.tolist()], axis=0)
    assert means == pytest.approx([k / (k + 1) for k in range(1, 6)], abs=0.006)
    of_three = [max(s) for s in itertools.product(draws[0].tolist(), repeat=3)]
    assert statistics.fmean(of_three) < expected_best(draws[0].tolist(), sign=1)[2]


def test_expected_best_of_many_trials_stays_exact() -> None:
    found = expected_best([float(i) for i in range(1, 501)], sign=1)
    exact = [k * 501 / (k + 1) for k in range(1, 501)]
    assert found == pytest.approx(exact, rel=1e-12)


def test_a_trial_of_unknown_worth_spoils_only_what_it_may_be_the_best_of() -> None:
    assert expected_best([math.inf, 2.0, 1.0], sign=-1) == [math.inf, pytest.approx(4 / 3), 1.0]


def test_crossings_are_named() -> None:
    adam, sgd = [0.5, 0.8, 0.9], [0.6, 0.7, 0.72]
    assert crossings(adam, sgd, sign=1) == [2]
    assert crossings(adam, adam, sign=1) == []
    assert crossings([0.6, 0.7, 0.8], [0.6, 0.6, 0.6], sign=1) == []
    assert trials_needed(adam, 0.72, sign=1) == 2
    assert trials_needed(sgd, 0.9, sign=1) is None
    assert in_words({"adam": adam, "sgd": sgd}, sign=1) == [
        "adam needs 2 trials to be as good as sgd with 3.",
        "adam and sgd cross: adam is ahead from 2 trials on.",
    ]


# Time to target


def test_time_to_target_at_its_own_best() -> None:
    adam, sgd = entrants(
        run([0.5, 0.9, 0.95], optimizer="adam", lr=0.1, seed=0),
        run([0.5, 0.8, 0.9], optimizer="adam", lr=0.1, seed=1),
        run([0.5, 0.6, 0.97], optimizer="adam", lr=0.1, seed=2),
        run([0.94, 0.1, 0.1], optimizer="adam", lr=1, seed=0),
        run([0.2, 0.3, 0.8], optimizer="sgd", lr=0.1, seed=0),
        run([0.2, 0.3, 0.7], optimizer="sgd", lr=0.1, seed=1),
        run([0.2, 0.3, 0.9], optimizer="sgd", lr=0.1, seed=2),
    )
    target = usual_target([adam, sgd], "val_accuracy")
    assert target == Target("val_accuracy", 0.8)
    assert adam.best is not None
    assert sgd.best is not None
    assert (adam.value, adam.best.settings["lr"]) == ("adam", "0.1")
    assert time_to_target(adam.best, target) == Reached(2, 2 * STEPS, 2)
    assert time_to_target(sgd.best, target) == Reached(3, 3 * STEPS, 3)


def test_a_setting_of_which_a_seed_diverged_is_nobodys_best() -> None:
    (adam,) = entrants(
        run([0.9], optimizer="adam", lr=1, seed=0),
        run([0.8], optimizer="adam", lr=1, seed=1, outcome=Outcome.DIVERGED),
        run([0.7], optimizer="adam", lr=0.1, seed=0),
    )
    assert adam.best is not None
    assert adam.best.settings["lr"] == "0.1"
    (sgd,) = entrants(
        run([0.9], optimizer="sgd", seed=0),
        run([0.8], optimizer="sgd", seed=1, outcome=Outcome.DIVERGED),
    )
    assert sgd.best is None


def test_a_miss_stays_infinite_through_the_median() -> None:
    hit = Reached(1, 10, 1)
    assert median_time([hit, MISSED, MISSED]) == MISSED
    assert median_time([hit, MISSED]) == MISSED
    assert median_time([hit, hit, MISSED]) == hit
    (adam,) = entrants(
        run([0.5, 0.9], optimizer="adam", seed=0),
        run([0.5, 0.6], optimizer="adam", seed=1),
        run([0.5, 0.95], optimizer="adam", seed=2, outcome=Outcome.INTERRUPTED),
        run([0.1], optimizer="adam", seed=3, outcome=Outcome.INTERRUPTED),
    )
    assert adam.best is not None
    assert time_to_target(adam.best, Target("val_accuracy", 0.9)) == Reached(2, 20, 2)
    assert time_to_target(adam.best, Target("val_accuracy", 0.93)) == MISSED


def test_the_usual_target_is_met_by_who_sets_it_for_any_number_of_seeds() -> None:
    for seeds in range(1, 7):
        sgd = [run([0.1, 0.5 + s / 100], optimizer="sgd", lr=0.1, seed=s) for s in range(seeds)]
        adam = [run([0.9, 0.9], optimizer="adam", lr=0.1, seed=s) for s in range(seeds)]
        found = entrants(*sgd, *adam)
        target = usual_target(found, "val_accuracy")
        assert target is not None
        for contender in found:
            assert contender.best is not None
            time = time_to_target(contender.best, target)
            assert time is not None
            assert math.isfinite(time.epochs), (seeds, contender.name)


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("fast", "--target fast must be a number or METRIC=NUMBER"),
        ("=0.9", "--target =0.9 must be a number or METRIC=NUMBER"),
        ("val_loss=nan", "--target val_loss=nan must be a number"),
        ("val_accuracy=95", r"--target 95 is no val_accuracy, .* Type --target 0.95 for 95 %"),
    ],
)
def test_targets_that_cannot_be_meant(typed: str, message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        read_target(typed)


def test_targets() -> None:
    assert read_target("0.95") == ("", 0.95)
    assert read_target("val_loss=3e-1") == ("val_loss", 0.3)


# Sensitivity to the learning rate


def test_sensitivity_of_known_curves() -> None:
    assert sensitivity([0.1, 1.0], [0.5, 0.5], 2.0) == pytest.approx(0)
    assert sensitivity([0.01, 0.1, 1.0], [1.5, 0.5, 1.5], 2.0) == pytest.approx(0.5)
    assert sensitivity([0.01, 0.1, 1.0], [1.5, 0.5, math.nan], 2.0) == pytest.approx(0.625)
    assert sensitivity([0.01, 0.1, 1.0], [1.5, 0.5, 99.0], 2.0) == pytest.approx(0.625)


def test_sensitivity_of_an_even_grid_is_the_papers_mean_in_the_limit() -> None:
    rates = np.geomspace(3e-4, 3e-1, 4001)
    losses = 0.3 + np.log10(rates / 1e-2) ** 2
    mean = np.mean(np.minimum(losses, 1.5)) - losses.min()
    assert sensitivity(rates.tolist(), losses.tolist(), 1.5) == pytest.approx(mean, rel=1e-3)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(0, 3), min_size=3, max_size=3), st.lists(st.floats(-2.99, 0.99), max_size=5)
)
def test_sensitivity_does_not_ask_where_the_grid_is_dense(
    losses: list[float], added: list[float]
) -> None:
    places = np.array([-3.0, -1.0, 1.0])
    kept = np.minimum(losses, 2.0)
    denser = np.unique([*places, *added])
    on_the_line = np.interp(denser, places, kept)
    before = sensitivity((10**places).tolist(), losses, 2.0)
    after = sensitivity((10**denser).tolist(), on_the_line.tolist(), 2.0)
    assert after == pytest.approx(before, abs=1e-9)


def test_sensitivity_of_a_contender() -> None:
    runs = [
        run([0.5], optimizer="adam", lr=0.01, seed=0, loss=1.5),
        run([0.9], optimizer="adam", lr=0.1, seed=0, loss=0.5),
        run([0.2], optimizer="adam", lr=1, seed=0, outcome=Outcome.DIVERGED),
        run([0.7], optimizer="sgd", lr=0.1, seed=0, loss=0.9),
    ]
    part = comparison(*runs).parts[0]
    adam, sgd = contenders(part.settings, "optimizer")
    found = lr_sensitivity(adam, part)
    assert found is not None
    assert found.value == pytest.approx((1.0 + 0.4) / 2 - 0.5 + (1.4 - 0.9) / 2 + 0.25)
    assert (found.low, found.high, found.rates) == (0.01, 1.0, 3)
    assert lr_sensitivity(sgd, part) is None


# Probability of being better


@pytest.mark.parametrize("wins", range(6))
def test_the_probability_has_the_exact_interval_of_a_share(wins: int) -> None:
    a = {str(seed): float(seed < wins) for seed in range(5)}
    b = dict.fromkeys(a, 0.5)
    found = probability_of_improvement(a, b, sign=1)
    assert found is not None
    exact = stats.binomtest(wins, 5).proportion_ci(0.95, method="exact")
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high))
    assert (found.value, found.pairs, found.paired) == (wins / 5, 5, True)
    assert found.verdict == "not shown"


def test_the_probability_of_runs_without_a_common_seed_is_mann_whitneys() -> None:
    random = np.random.default_rng(1)
    x, y = random.normal(1, 1, 7), random.normal(0, 1, 9)
    a = {f"a{i}": float(v) for i, v in enumerate(x)}
    b = {f"b{i}": float(v) for i, v in enumerate(y)}
    found = probability_of_improvement(a, b, sign=1)
    assert found is not None
    assert found.value == pytest.approx(stats.mannwhitneyu(x, y).statistic / (7 * 9))
    assert (found.pairs, found.paired) == (7, False)
    other = probability_of_improvement(b, a, sign=-1)
    assert other is not None
    assert other.value == pytest.approx(found.value)


def test_the_probability_is_shown_from_six_wins_in_six() -> None:
    six = {str(seed): 1.0 for seed in range(6)}
    found = probability_of_improvement(six, dict.fromkeys(six, 0.0), sign=1)
    assert found is not None
    assert found.verdict == "shown"
    many = {str(seed): float(seed % 5 < 3) for seed in range(400)}
    rarely = probability_of_improvement(many, dict.fromkeys(many, 0.5), sign=1)
    assert rarely is not None
    assert rarely.verdict == "shown, but rarely matters"
    assert probability_of_improvement({}, {"0": 1.0}, sign=1) is None


def test_the_interval_covers_what_it_says() -> None:
    """Two settings that are equal: at most 5 % of the intervals miss one half."""
    random = np.random.default_rng(2)
    for paired in (True, False):
        missed = 0
        for values in random.normal(size=(400, 2, 8)):
            names = [[f"{'' if paired else side}{i}" for i in range(8)] for side in (0, 1)]
            a, b = (
                dict(zip(n, v.tolist(), strict=True)) for n, v in zip(names, values, strict=True)
            )
            found = probability_of_improvement(a, b, sign=1)
            assert found is not None
            missed += not found.low <= 0.5 <= found.high
        assert missed <= 0.05 * 400


# Budgets and inclusions


def test_unequal_budgets_are_said() -> None:
    found = entrants(
        run([0.9, 0.95], optimizer="adam", lr=0.1, seed=0),
        run([0.9, 0.94], optimizer="adam", lr=0.01, seed=0),
        run([0.5, 0.8], optimizer="sgd", lr=0.1, seed=0),
    )
    assert unequal_budgets(found) == (
        "Unequal budgets: optimizer=adam 2, optimizer=sgd 1 trials. More trials find a better best"
        " by chance alone."
    )
    spent = trials_spent(found[0])
    assert (spent.trials, spent.seeds, spent.epochs, spent.trained_epochs) == (2, 1, 2, 4)
    assert unequal_budgets(found[1:]) == ""
    longer = [run([0.5] * n, optimizer=name, lr=0.1) for n, name in ((2, "sgd"), (3, "adam"))]
    assert unequal_budgets(entrants(*longer)) == (
        "Unequal budgets: optimizer=adam 3, optimizer=sgd 2 epochs."
    )


def test_a_general_optimizer_that_loses_was_tuned_too_little() -> None:
    runs = [
        run([0.95], optimizer="sgd_momentum", lr=0.1, seed=0),
        run([0.90], optimizer="adam", lr=0.1, seed=0),
        run([0.80], optimizer="sgd", lr=0.1, seed=0),
    ]
    part = comparison(*runs).parts[0]
    said = under_tuned(part, contenders(part.settings, "optimizer"))
    (sentence,) = said
    assert sentence == (
        "optimizer=adam (0.9000) is behind optimizer=sgd_momentum (0.9500), which is a special case"
        " of it (a large eps, with lr as much larger): it was tuned too little for a comparison, and"
        " is not shown to be worse."
    )
    better = [*runs[:1], run([0.99], optimizer="adam", lr=0.1, seed=0)]
    part = comparison(*better).parts[0]
    assert under_tuned(part, contenders(part.settings, "optimizer")) == []


# Workloads


def test_profiles_and_scores() -> None:
    assert ratio(20, [10, 20, math.inf]) == 2
    assert ratio(math.inf, [10, math.inf]) == math.inf
    assert ratio(math.inf, [math.inf]) == math.inf
    ratios = [1.0, 2.0, 4.5, math.inf]
    assert [share_solved(ratios, tau) for tau in (1, 2, 4)] == [0.25, 0.5, 0.5]
    assert score(ratios) == pytest.approx((3 + 2) / 3 / 4)
    places = np.linspace(1, 4, 30001)
    profile = [share_solved(ratios, tau) for tau in places]
    assert score(ratios) == pytest.approx(np.trapezoid(profile, places) / 3, abs=1e-4)


def suite_runs() -> list[RunResult]:
    """adam is first on the digits, sgd alone comes to the target on the noise with seed 1."""
    return [
        run([0.5, 0.8, 0.9], optimizer="adam", lr=0.1, seed=0),
        run([0.5, 0.8, 0.9], optimizer="adam", lr=0.1, seed=1),
        run([0.7, 0.7, 0.7], optimizer="adam", lr=1, seed=0),
        run([0.2, 0.3, 0.7], optimizer="sgd", lr=0.1, seed=0),
        run([0.2, 0.3, 0.7], optimizer="sgd", lr=0.1, seed=1),
        run([0.6, 0.6, 0.6], optimizer="adam", lr=0.1, seed=0, data="noise"),
        run([0.4, 0.4, 0.4], optimizer="adam", lr=0.1, seed=1, data="noise"),
        run([0.6, 0.7, 0.7], optimizer="sgd", lr=0.1, seed=0, data="noise"),
        run([0.6, 0.7, 0.7], optimizer="sgd", lr=0.1, seed=1, data="noise"),
    ]


def test_a_suite_scores_as_algoperf_does() -> None:
    suite = find_suite(comparison(*suite_runs()), "optimizer", ["data"])
    digits, noise = suite.workloads
    assert (digits.name, digits.target) == ("digits", Target("val_accuracy", 0.7))
    # In seed 0 the quicker setting counts, in seed 1 there is one alone; the median is between.
    assert digits.times == {"adam": Reached(1.5, 15, 1.5), "sgd": Reached(3, 30, 3)}
    assert noise.target == Target("val_accuracy", 0.4)
    assert suite.ratios("sgd") == [2.0, 1.0]
    assert suite.score("adam") == pytest.approx(1.0)
    assert suite.score("sgd") == pytest.approx((2 + 3) / 3 / 2)
    assert suite.values == ["adam", "sgd"]
    high = find_suite(
        comparison(*suite_runs()), "optimizer", ["data"], Target("val_accuracy", 0.65)
    )
    assert high.ratios("adam") == [1.0, math.inf]


def test_the_export_has_algoperfs_files(tmp_path: Path) -> None:
    suite = find_suite(comparison(*suite_runs()), "optimizer", ["data"])
    assert export(suite, tmp_path / "logs") == 9
    trial = tmp_path / "logs/adam/study_1/digits_pytorch/trial_1"
    assert (trial / "eval_measurements.csv").read_text().splitlines() == [
        "accumulated_submission_time,global_step,score,validation/accuracy,validation/loss",
        "1.0,10,1.0,0.5,",
        "2.0,20,2.0,0.8,",
        "3.0,30,3.0,0.9,",
    ]
    assert json.loads((trial / "hparams.json").read_text()) == {"optimizer": "adam", "lr": "0.1"}
    assert json.loads((trial.parent / "target.json").read_text()) == {
        "metric": "validation/accuracy",
        "target": 0.7,
    }
    assert not list((tmp_path / "logs").glob("*/study_1/digits_pytorch/trial_2"))
    outside = [run([0.5], optimizer="../../x", lr=0.1), run([0.4], optimizer="..", lr=0.1)]
    export(find_suite(comparison(*outside), "optimizer", ["data"]), tmp_path / "safe")
    assert {path.name for path in (tmp_path / "safe").iterdir()} == {"_.._x", "_"}
    assert {path.name for path in tmp_path.iterdir()} == {"logs", "safe"}
    with pytest.raises(BadInputError, match=r"logs is not empty\. Name a new folder"):
        export(suite, tmp_path / "logs")
