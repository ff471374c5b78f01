"""What a range test's curve says: made-up curves with known answers."""

import math

import pytest

from sweeps.training.lr_curve import exploded, lowest

INF = math.inf


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ([2.3, 2.0, 1.0, 4.0], 0.1),
        ([2.3, 2.0, 1.0, math.nan], 0.1),
        ([2.3, 2.0, 1.0, -INF], 0.1),
        ([math.nan, INF], 0.001),
    ],
)
def test_the_rate_of_the_least_loss(losses: list[float], expected: float) -> None:
    assert lowest(list(zip((0.001, 0.01, 0.1, 1.0), losses, strict=False))) == expected


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
