"""Intervals over seeds, and over seeds and the images they were measured on."""

import math

import pytest
from statsmodels.stats.proportion import proportion_confint

from sweeps.analysis.format import show, show_behind, show_estimate, show_gap, show_p
from sweeps.analysis.statistics import estimate, measured_on, resolution

SIZES = {"name": "digits", "train": "1294", "val": "144", "test": "359"}


def test_an_interval_over_seeds_is_students() -> None:
    found = estimate([1.0, 2.0, 3.0])
    assert (found.mean, found.n) == (2.0, 3)
    assert found.half is not None
    assert found.half == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)
    assert (found.low, found.high) == pytest.approx((2 - found.half, 2 + found.half))
    alone = estimate([0.5], metric="test_accuracy", images=100)
    assert (alone.half, alone.low, alone.high) == (None, 0.5, 0.5)


def test_equal_values_have_no_deviation_to_the_last_bit() -> None:
    found = estimate([0.1 + 0.2, 0.1 + 0.2, 0.1 + 0.2])
    assert (found.mean, found.half) == (0.1 + 0.2, 0.0)
    assert show_estimate(found) == "0.3000 ± 0"


@pytest.mark.parametrize(
    ("metric", "values", "ends"),
    [
        ("val_accuracy", [0.97, 0.99, 1.0], (0.9487, 1.0)),
        ("val_accuracy", [0.0, 0.01, 0.05], (0.0, 0.0857)),
        ("val_loss", [0.01, 0.1], (0.0, 0.6268)),
        ("val_loss", [-1.0, 1.0], (-12.7062, 12.7062)),
        ("reward", [0.9, 1.1], (-0.2706, 2.2706)),
    ],
)
def test_an_interval_stays_in_the_range_of_its_metric(
    metric: str, values: list[float], ends: tuple[float, float]
) -> None:
    found = estimate(values, metric=metric)
    assert (found.low, found.high) == pytest.approx(ends, abs=1e-4)


def test_the_value_to_quote_counts_the_finite_test_set() -> None:
    values = [0.95, 0.95, 0.95]  # no spread between seeds: what is left is Wilson's
    found = estimate(values, metric="test_accuracy", images=359)
    wilson = proportion_confint(0.95 * 359, 359, method="wilson")
    assert (found.low, found.high) == pytest.approx(wilson, abs=1e-9)
    spread = estimate([0.93, 0.95, 0.97], metric="test_accuracy", images=359)
    assert spread.half is not None
    assert 0.95 - spread.low == pytest.approx(math.hypot(spread.half, 0.95 - wilson[0]))
    assert estimate(values, metric="test_loss", images=359).images is None
    assert estimate([1.0, 1.0], metric="test_accuracy", images=10).low < 0.75


def test_a_metric_has_a_smallest_step() -> None:
    assert measured_on("val_accuracy", SIZES) == 144
    assert measured_on("val_accuracy", {}) is None
    assert measured_on("val_accuracy", {"val": "0"}) is None
    assert resolution("val_accuracy", SIZES, 0.9) == 1 / 144
    assert resolution("val_loss", SIZES, -2.0) == 2e-6
    assert resolution("accuracy", {}, 0.9) == pytest.approx(9e-7)


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (show_gap(4e-17, 0.5), "less than 0.0001"),
        (show_gap(0.00004, 0.5), "less than 0.0001"),
        (show_gap(0.0, 0.5), "0"),
        (show_gap(0.02, 0.5), "0.0200"),
        (show_gap(1e-9, 3e-5), "less than 1e-07"),
        (show_gap(2e-6, 3e-5), "2e-06"),
        (show_behind(0.0, 0.5), "equal"),
        (show_behind(1e-5, 0.5), "less than 0.0001 behind"),
        (show_behind(-0.01, 0.5), "0.0100 ahead"),
        (show_estimate(estimate([0.5, 0.5 + 3e-16])), "0.5000 ± less than 0.0001"),
        (show_estimate(estimate([0.9, 1.0], metric="val_accuracy")), "0.9500 [0.3147, 1.0000]"),
        (show_p(1e-16), "p < 0.001"),
        (show(None), "-"),
    ],
)
def test_numbers_are_written_no_finer_than_they_are(shown: str, text: str) -> None:
    assert shown == text
