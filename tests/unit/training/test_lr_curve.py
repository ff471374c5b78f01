"""What a range test's curve says: made-up curves with known answers."""

import math
import random

import pytest

from sweeps.training.lr_curve import exploded, steepest

RATES = [10 ** (-6 + 7 * step / 199) for step in range(200)]
INF = math.inf


def falling(middle: float, *, noise: float = 0.0, explodes_at: float = INF) -> list[float]:
    """A loss that falls from 2.3 to 0.3, fastest at a rate, and grows from another on."""
    rng = random.Random(0)
    return [
        0.3
        + 2 / (1 + (rate / middle) ** 2)
        + (10 * math.log10(rate / explodes_at) if rate > explodes_at else 0)
        + rng.gauss(0, noise)
        for rate in RATES
    ]


@pytest.mark.parametrize("middle", [1e-4, 3e-3, 0.1])
@pytest.mark.parametrize("noise", [0.0, 0.1, 0.3])
def test_the_rate_where_the_loss_falls_fastest(middle: float, noise: float) -> None:
    found = steepest(RATES, falling(middle, noise=noise, explodes_at=30 * middle))
    assert found is not None
    assert 1 / 1.7 < found / middle < 1.7


def test_a_curve_that_only_falls() -> None:
    found = steepest(RATES, falling(3.0))
    assert found is not None
    assert 1 < found < 5


def test_the_recovery_from_an_explosion_is_no_fall() -> None:
    losses = [
        loss + (30 if 1 < rate < 2 else 0) for rate, loss in zip(RATES, falling(0.01), strict=True)
    ]
    losses = [loss + (0.5 if rate > 2 else 0) for rate, loss in zip(RATES, losses, strict=True)]
    assert steepest(RATES, losses) == pytest.approx(0.01, rel=0.2)


@pytest.mark.parametrize(
    "losses",
    [
        [2.3] * 200,
        [2.3 + step / 100 for step in range(200)],
        falling(1e9, noise=0.2),
        [2.3, 5.0, 100.0, INF],
        [2.3] * 10 + [math.nan] * 190,
    ],
    ids=["flat", "only grows", "noise alone", "diverges at once", "no numbers"],
)
def test_a_curve_that_never_falls_says_nothing(losses: list[float]) -> None:
    assert steepest(RATES[: len(losses)], losses) is None


def test_a_last_loss_that_is_no_number_is_left_out() -> None:
    losses = falling(0.01)[:170]
    whole = steepest(RATES[:170], losses)
    assert whole is not None
    assert steepest(RATES[:171], [*losses, math.nan]) == whole


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ([], False),
        ([2.3], False),
        ([2.3] * 50, False),
        ([2.3, 2.0, 9.0], False),
        ([2.3] * 20 + [40.0] * 10, True),
        ([2.3, 2.2, math.nan], True),
        ([2.3, 2.2, INF], True),
    ],
)
def test_when_a_loss_explodes(losses: list[float], expected: bool) -> None:
    assert exploded(losses) is expected
