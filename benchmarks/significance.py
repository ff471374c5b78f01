"""How often a comparison claims what is not so, misses what is, and keeps what it promises.

    python benchmarks/significance.py                       # all tables, 1,000 sweeps a line
    python benchmarks/significance.py --sims 200 --tables power

Sweeps are simulated and given to the function that `sweeps.compare` uses. Values are normal with a
deviation of 1; normal with one setting five times noisier; or accuracies around 0.9 on 144, 1,000 or
5,000 images, binomial, so that most of their differences are a few images. Columns:

    type I      equal settings of which one or more is called behind; 'named' is a paired t-test with
                Holm's correction, as if the best had been named before the runs
    power       one setting is better by two deviations: a best is called clear of all others, or of
                at least one; 'named' as above, with its false claims
    sentence    'about N seeds would show it' is said, and is kept: the same sweep with N seeds calls
                that pair clear. The gap is in deviations; with a gap of 0 nothing should be said
    coverage    the best of equal settings is chosen on 144 validation images and measured on other
                images: how often its 95 % intervals hold the true accuracy, and how far its mean is
                above it, in points
"""

from __future__ import annotations

import argparse
import itertools
import os
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats

from sweeps.analysis.chosen_best import BestTest, compare_with_best
from sweeps.analysis.statistics import LEVEL, estimate

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.random import Generator
    from numpy.typing import NDArray

SETTINGS = (2, 4, 8, 12)
SEEDS = (2, 3, 5, 10)
KINDS = ("normal", "one noisier", "144 images", "1000 images", "5000 images")
SHARE = 0.9
NOISIER = 5
GAP = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sims", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    tables = {"type-1": type_1, "power": power, "sentence": sentence, "coverage": coverage}
    parser.add_argument("--tables", nargs="+", choices=tables, default=list(tables))
    given = parser.parse_args()
    print(f"{given.sims} sweeps a line, seed {given.seed}, {os.cpu_count()}-core machine")
    for name in given.tables:
        for number, line in enumerate(tables[name](given.seed, given.sims)):
            print("\n" * (number == 0) + f"| {line} |".replace(",", " |"), flush=True)
            if number == 0:
                print("|" + "---|" * (line.count(",") + 1))


def type_1(seed: int, sims: int) -> Iterator[str]:
    yield "values, settings, seeds, false behind, named"
    for rng, (kind, k, n) in lines(seed, KINDS, SETTINGS, SEEDS):
        sweeps = [values(rng, kind, k, n) for _ in range(sims)]
        false = np.mean([any(test.clear for test in tested(sweep, kind)) for sweep in sweeps])
        named = np.mean([any(_named(sweep)) for sweep in sweeps])
        yield f"{kind}, {k}, {n}, {false:.3f}, {named:.3f}"


def power(seed: int, sims: int) -> Iterator[str]:
    yield "values, settings, seeds, clear of all, named, of at least one, named"
    for rng, (kind, k, n) in lines(seed, KINDS[:2], SETTINGS, SEEDS):
        sweeps = [values(rng, kind, k, n, GAP) for _ in range(sims)]
        clear = [[test.clear for test in tested(sweep, kind)] for sweep in sweeps]
        named = [_named(sweep) for sweep in sweeps]
        shares = [np.mean([how(c) for c in each]) for how in (all, any) for each in (clear, named)]
        yield f"{kind}, {k}, {n}, " + ", ".join(f"{share:.2f}" for share in shares)


def sentence(seed: int, sims: int) -> Iterator[str]:
    yield "gap, settings, seeds, said, kept, median N"
    for rng, (gap, k, n) in lines(seed, (0, 0.5, 1, 2), (2, 4, 8), (3, 5)):
        needed, kept = [], []
        for _ in range(sims):
            sweep = values(rng, "normal", k, n, gap)
            order = np.argsort(-sweep.mean(1), kind="stable")
            ties = [p for p, t in enumerate(tested(sweep, "normal")) if not t.clear]
            if ties and (seeds := tested(sweep, "normal")[ties[0]].seeds_needed()) is not None:
                more = np.hstack([sweep, values(rng, "normal", k, seeds - n, gap)])
                needed.append(seeds)
                kept.append(_is_clear(more, order[0], order[ties[0] + 1]))
        yield (
            f"{gap}, {k}, {n}, {len(kept) / sims:.3f},"
            f" {np.mean(kept) if kept else np.nan:.2f}, {np.median(needed) if kept else np.nan:.0f}"
        )


def coverage(seed: int, sims: int) -> Iterator[str]:
    yield "settings, seeds, test images, validation, too high by, test, too high by"
    for rng, (k, n, images) in lines(seed, (4, 12), (3, 5), (144, 1000)):
        held, above = [], []
        for _ in range(sims):
            chosen = max(values(rng, "144 images", k, n), key=np.mean)
            found = [
                estimate(chosen.tolist(), metric="val_accuracy"),
                estimate(_on_one_set(rng, n, images), metric="test_accuracy", images=images),
            ]
            held.append([e.low <= SHARE <= e.high for e in found])
            above.append([100 * (e.mean - SHARE) for e in found])
        (val, test), (high, level) = np.mean(held, 0), np.mean(above, 0)
        yield f"{k}, {n}, {images}, {val:.3f}, {high:+.2f}, {test:.3f}, {level:+.2f}"


def lines(seed: int, *columns: Sequence[Any]) -> Iterator[tuple[Generator, tuple[Any, ...]]]:
    """Yields every combination, each with a generator of its own."""
    for number, line in enumerate(itertools.product(*columns)):
        yield np.random.default_rng([seed, number]), line


def values(rng: Generator, kind: str, k: int, n: int, gap: float = 0) -> NDArray[np.float64]:
    """Returns the values of k settings with n seeds, the first better by a gap in deviations."""
    if kind.endswith("images"):
        return rng.binomial(_images(kind), SHARE, (k, n)) / _images(kind)
    found = rng.standard_normal((k, n))
    if kind == "one noisier":
        found[-1] *= NOISIER
    found[0] += gap
    return found


def tested(sweep: NDArray[np.float64], kind: str) -> list[BestTest]:
    """Returns the tests of the best of a sweep against the others, by rank."""
    ranked = sweep[np.argsort(-sweep.mean(1), kind="stable")]
    step = 1 / _images(kind) if kind.endswith("images") else 0.0
    by_seed = [{str(s): float(v) for s, v in enumerate(row)} for row in ranked]
    return compare_with_best(by_seed, sign=1, resolution=step)


def _images(kind: str) -> int:
    return int(kind.split(maxsplit=1)[0])


def _on_one_set(rng: Generator, n: int, images: int) -> list[float]:
    """Returns n accuracies on one set; most images are right, or wrong, for nearly every seed."""
    chances = rng.beta(SHARE / 2, (1 - SHARE) / 2, images)
    return [float(np.mean(rng.random(images) < chances)) for _ in range(n)]


def _named(sweep: NDArray[np.float64]) -> list[bool]:
    """Returns of which others paired t-tests of the best with Holm's correction find it better."""
    place = int(sweep.mean(1).argmax())
    differences = sweep[place] - np.delete(sweep, place, 0)
    mean, deviation = differences.mean(1), differences.std(1, ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        statistic = mean / deviation * np.sqrt(sweep.shape[1])
    p = np.sort(np.where(mean == 0, 1, 2 * stats.t.sf(statistic, sweep.shape[1] - 1)))
    holm = p * np.arange(len(p), 0, -1) < 1 - LEVEL
    return [bool(value) for value in np.logical_and.accumulate(holm)]


def _is_clear(sweep: NDArray[np.float64], best: int, other: int) -> bool:
    order = np.argsort(-sweep.mean(1), kind="stable")
    if order[0] != best:
        return False
    return tested(sweep, "normal")[int(np.flatnonzero(order == other)[0]) - 1].clear


if __name__ == "__main__":
    main()
