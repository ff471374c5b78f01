"""Looks at a comparison after more seeds: who is still tied, and what may be claimed."""

import numpy as np
import pytest

from sweeps.analysis.chosen_best import compare_with_best
from sweeps.analysis.sequential import (
    LOOKS,
    MOST_SEEDS,
    compare_over_looks,
    next_look,
    still_tied,
)

Values = list[dict[str, float]]


def by_seed(*rows: list[float]) -> Values:
    return [{str(seed): value for seed, value in enumerate(row)} for row in rows]


def test_the_looks_spend_the_whole_level_and_no_more() -> None:
    assert sum(LOOKS.values()) == pytest.approx(1)


def test_no_look_is_taken_twice() -> None:
    assert [next_look(n) for n in (1, 2, 3, 4, 5, 7, 8, 10, 30)] == [
        3,
        3,
        5,
        7,
        7,
        10,
        None,
        None,
        None,
    ]


def test_what_is_clearly_behind_leaves_the_race() -> None:
    seen = by_seed([1.0, 1.1, 0.9], [0.1, 0.2, 0.0], [1.2, 1.05, 1.2])
    assert still_tied(seen, sign=1) == [2, 0]
    assert still_tied(seen, sign=-1) == []  # the one of little is clear of both


def test_one_seed_leaves_all_tied() -> None:
    assert still_tied(by_seed([1.0], [2.0], [0.0]), sign=1) == [1, 0, 2]


def test_it_ends_where_more_seeds_would_not_settle_it() -> None:
    close = by_seed([1.0, 0.0, 0.51, 0.5, 0.3, 0.7, 0.1], [0.0, 1.0, 0.5, 0.5, 0.7, 0.3, 0.9])
    assert still_tied(close, sign=1) == []


def test_after_the_last_look_nobody_is_tied_any_more() -> None:
    rng = np.random.default_rng(0)
    assert still_tied(by_seed(*rng.normal(size=(3, MOST_SEEDS)).tolist()), sign=1) == []


def test_a_look_counts_its_share() -> None:
    rng = np.random.default_rng(1)
    rows = (rng.normal(size=(3, 5)) - np.arange(3)[:, None]).tolist()
    plain = compare_with_best(by_seed(*rows), sign=1)
    for test, alone in zip(compare_over_looks(by_seed(*rows), sign=1), plain, strict=True):
        assert alone.p is not None
        assert test.p == pytest.approx(min(1, alone.p / LOOKS[5]))
        assert test.difference == alone.difference


def test_a_setting_keeps_what_its_last_look_said() -> None:
    seen = by_seed([1.0, 1.1, 0.9, 1.0, 1.0], [1.05, 1.0, 1.0, 0.9, 0.8], [0.1, 0.2, 0.0])
    test = compare_over_looks(seen, sign=1)[1]
    then = by_seed([1.0, 1.1, 0.9], [1.05, 1.0, 1.0], [0.1, 0.2, 0.0])
    ranked = sorted(then, key=lambda values: -sum(values.values()))
    p = compare_with_best(ranked, sign=1)[1].p
    assert p is not None
    assert test.p == pytest.approx(p / LOOKS[3])
    assert test.clear


def test_nothing_is_claimed_for_a_best_that_left_the_race() -> None:
    seen = by_seed([3.0, 3.1, 2.9], [1.0, 1.1, 0.9, 1.0, 1.0], [0.1, 0.2, 0.0, 0.1, 0.1])
    assert [test.p for test in compare_over_looks(seen, sign=1)] == [1.0, 1.0]


def race(sweep: np.ndarray) -> tuple[set[int], int]:
    """Returns whom a sweep that repeats what is tied calls behind, and how many runs it took."""
    counts = [3] * len(sweep)
    while True:
        seen = by_seed(*(row[:n].tolist() for row, n in zip(sweep, counts, strict=True)))
        tied = still_tied(seen, sign=1)
        if not tied:
            break
        look = next_look(max(counts))
        assert look is not None
        for place in tied:
            counts[place] = look
    order = sorted(range(len(sweep)), key=lambda place: -sweep[place, : counts[place]].mean())
    tests = compare_over_looks([seen[place] for place in order], sign=1)
    return {p for p, test in zip(order[1:], tests, strict=True) if test.clear}, sum(counts)


def test_equal_settings_are_rarely_told_apart_however_often_it_looks() -> None:
    rng = np.random.default_rng(2)
    races = [race(rng.normal(size=(4, MOST_SEEDS))) for _ in range(120)]
    assert sum(bool(behind) for behind, _ in races) <= 12  # 6 expected at 5 %, 13 in one of 200


def test_rates_that_lie_far_apart_take_half_the_runs() -> None:
    rng = np.random.default_rng(3)
    behind = np.array([0, 1, 5, 8, 12, 16, 24, 40])[:, None]
    races = [race(rng.normal(size=(8, MOST_SEEDS)) - behind) for _ in range(20)]
    assert all({3, 4, 5, 6, 7} <= found for found, _ in races)
    assert sum(runs for _, runs in races) < 20 * 8 * MOST_SEEDS / 2
