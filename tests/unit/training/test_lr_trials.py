"""The rate of a whole training from a few short ones: made-up scores with known answers."""

import itertools
import math

import pytest

from sweeps.training.lr_trials import (
    CAUTION,
    HOPELESS,
    MOST_RATES,
    SPACING,
    choose,
    descend,
    hopeless,
    score,
    trial_steps,
)

INF = math.inf


def valley(best: float) -> dict[float, float | None]:
    """Losses that fall from 2.3 to 0.3 at a rate, and are hopeless from ten times that on."""
    return descend(
        lambda rate: None if rate > 10 * best else 0.3 + abs(math.log10(rate / best)) / 2, 10.0
    )


@pytest.mark.parametrize("best", [3e-4, 0.01, 0.5])
def test_rates_are_tried_downwards_until_one_is_worse(best: float) -> None:
    tried = valley(best)
    rates = list(tried)
    assert rates[0] == 10
    assert all(a / b == pytest.approx(SPACING) for a, b in itertools.pairwise(rates))
    scores = [value for value in tried.values() if value is not None]
    assert scores[-1] > min(scores)
    assert scores[:-1] == sorted(scores[:-1], reverse=True)
    found = choose(tried, first_loss=2.3, momentum=0, steps=20)
    assert found is not None
    assert 1 / SPACING < found / (CAUTION * best) < SPACING


def test_the_search_ends_where_everything_is_hopeless() -> None:
    tried = descend(lambda _: None, 10.0)
    assert len(tried) == MOST_RATES
    assert choose(tried, first_loss=2.3, momentum=0, steps=20) is None


def test_a_loss_that_never_falls_gives_no_rate() -> None:
    assert choose({1.0: 2.4, 0.1: 2.3}, first_loss=2.3, momentum=0, steps=20) is None


def test_rates_with_a_low_score_count_most() -> None:
    even = choose({1.0: 0.5, 0.01: 0.5}, first_loss=2.3, momentum=0, steps=20)
    assert even == pytest.approx(CAUTION * 0.1)
    clear = choose({1.0: 0.5, 0.01: 2.2}, first_loss=2.3, momentum=0, steps=20)
    assert clear == pytest.approx(CAUTION, rel=0.01)


def test_a_momentum_that_a_short_training_does_not_see_makes_the_rate_smaller() -> None:
    tried = {1.0: 0.5}
    plain, short, long = (
        choose(tried, first_loss=2.3, momentum=momentum, steps=steps)
        for momentum, steps in ((0.0, 20), (0.9, 2), (0.9, 10_000))
    )
    assert plain == pytest.approx(CAUTION)
    assert short == pytest.approx(CAUTION * (0.1 + 0.19) / 2)
    assert long == pytest.approx(CAUTION, rel=0.01)


@pytest.mark.parametrize(
    ("total", "momentum", "steps"),
    [
        (100, 0.0, 12),
        (1000, 0.0, 40),
        (210, 0.9, 15),
        (140, 0.9, 14),
        (1000, 0.99, 100),
        (9, 1.0, 12),
    ],
)
def test_the_length_of_a_short_training(total: int, momentum: float, steps: int) -> None:
    assert trial_steps(total, momentum) == steps


def test_the_last_losses_are_the_score() -> None:
    assert score([9.0] * 16 + [1.0, 2.0, 3.0, 4.0]) == 2.5
    assert score([9.0, 1.0, 2.0, 3.0]) == 2


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ([2.0], False),
        ([2.0, 3.0 * HOPELESS], False),
        ([2.0, 3.0 * HOPELESS, 5.0 * HOPELESS], True),
        ([2.0, 20.0, 15.0, 2.0], False),
        ([2.0, math.nan], True),
        ([INF], True),
    ],
)
def test_what_need_not_go_on(losses: list[float], expected: bool) -> None:
    assert hopeless(losses) is expected
