"""What a grid that finishes itself finds and costs: extend=auto from afar, seeds=auto against 10 seeds.

    python benchmarks/finishing.py                              # both tables
    python benchmarks/finishing.py --tables seeds --sims 1000

Columns:

    extend      real runs of model=linear on the digits, 3 epochs: the grid is two rates, each 100 times
                or more from the best of a fine grid that has been trained before; how many were added
                for that optimizer, and whether its best now lies between two others that were tried
    seeds       simulated sweeps as in significance.py, from 3 seeds on: 'false' is any setting called
                behind one that is not better; 'verdict' the share in which the same settings are called
                behind, and 'of all' in which it is said as often that one is clear of all, as by 10
                seeds of every setting; 'runs' the share of those runs
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from significance import tested, values

from sweeps.analysis.axes import in_order
from sweeps.analysis.contenders import contenders, value_of
from sweeps.analysis.ranking import rank
from sweeps.analysis.sequential import MOST_SEEDS, compare_over_looks, next_look, still_tied
from sweeps.runs.results import read_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

OPTIMIZERS = ("sgd", "sgd_momentum", "adam", "rmsprop", "adagrad")
FINE = "0.0001,0.0003,0.001,0.003,0.01,0.03,0.1,0.3,1,3"
TRAINED = ["model=linear", "data=digits", "epochs=3", "tracking=none", "threads=1"]
FIRST = 3
BEHIND: dict[str, Sequence[float]] = {
    "8 equal": [0] * 8,
    "4 equal": [0] * 4,
    "one ahead of 3 by 2": [0, 2, 2, 2],
    "one ahead of 7 by 2": [0, *[2] * 7],
    "rates: 3 near, 5 far": [0, 0.5, 1, 4, 7, 12, 20, 40],
    "rates: 2 near, 6 far": [0, 1, 5, 8, 12, 16, 24, 40],
}
"""How many deviations each setting is behind the best."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sims", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    tables = {"extend": extend, "seeds": seeds}
    parser.add_argument("--tables", nargs="+", choices=tables, default=list(tables))
    given = parser.parse_args()
    print(f"{given.sims} simulated sweeps a line, seed {given.seed}, {os.cpu_count()}-core machine")
    for name in given.tables:
        for number, line in enumerate(tables[name](given.seed, given.sims)):
            print("\n" * (number == 0) + f"| {line.replace('; ', ' | ')} |", flush=True)
            if number == 0:
                print("|" + "---|" * (line.count("; ") + 1))


def extend(seed: int, sims: int) -> Iterator[str]:  # noqa: ARG001 - it trains
    yield "optimizer; grid; best of the fine grid; added; best; bracketed"
    with tempfile.TemporaryDirectory() as folder:
        _train(folder, "name=fine", f"optimizer={','.join(OPTIMIZERS)}", f"lr={FINE}")
        best = {
            optimizer: float(rates[place]) for optimizer, rates, place in _tried(folder, "fine")
        }
        for optimizer in OPTIMIZERS:
            for side, (near, far) in {"below": (1 / 100, 1 / 300), "above": (100, 300)}.items():
                grid = ",".join(f"{float(f'{best[optimizer] * by:.2g}'):g}" for by in (near, far))
                name = f"{optimizer}_{side}"
                _train(
                    folder, f"name={name}", f"optimizer={optimizer}", f"lr={grid}", "extend=auto"
                )
                ((_, rates, place),) = _tried(folder, name)
                inside = "yes" if 0 < place < len(rates) - 1 else "no"
                added = f"{len(rates) - 2}; {rates[place]}; {inside}"
                yield f"{optimizer}; {grid}; {best[optimizer]:g}; {added}"


def seeds(seed: int, sims: int) -> Iterator[str]:
    yield "values; settings; false; verdict; of all; runs"
    for kind in ("normal", "one noisier", "144 images"):
        for number, (name, behind) in enumerate(BEHIND.items()):
            if kind != "normal" and any(behind):
                continue
            rng = np.random.default_rng([seed, number])
            drawn = (values(rng, kind, len(behind), MOST_SEEDS) for _ in range(sims))
            races = [_race(sweep - np.array(behind)[:, None], kind, behind) for sweep in drawn]
            shares = "; ".join(f"{share:.3f}" for share in np.mean(races, 0))
            yield f"{kind}; {name}; {shares}"


def _race(sweep: NDArray[np.float64], kind: str, behind: Sequence[float]) -> tuple[float, ...]:
    """Returns whether a sweep claims what is false, says what all seeds say, and its share of runs."""
    step = 1 / int(kind.split(maxsplit=1)[0]) if kind.endswith("images") else 0.0
    counts = [FIRST] * len(sweep)
    while True:
        seen = [
            {str(s): float(v) for s, v in enumerate(r[:n])}
            for r, n in zip(sweep, counts, strict=True)
        ]
        tied = still_tied(seen, sign=1, resolution=step)
        look = next_look(max(counts))
        if not tied or look is None:
            break
        for place in tied:
            counts[place] = look
    order = sorted(range(len(sweep)), key=lambda place: -float(np.mean([*seen[place].values()])))
    tests = compare_over_looks([seen[place] for place in order], sign=1, resolution=step)
    claimed = {place for place, test in zip(order[1:], tests, strict=True) if test.clear}
    whole = np.argsort(-sweep.mean(1), kind="stable")
    full = {int(p) for p, test in zip(whole[1:], tested(sweep, kind), strict=True) if test.clear}
    false = any(behind[place] <= behind[order[0]] for place in claimed)
    alone = (len(claimed) == len(sweep) - 1) == (len(full) == len(sweep) - 1)
    return false, claimed == full, alone, sum(counts) / sweep.size


def _train(folder: str, *words: str) -> None:
    command = [sys.executable, "-m", "sweeps.train", "-m", *TRAINED, *words]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


def _tried(folder: str, name: str) -> list[tuple[str, list[str], int]]:
    """Returns for each optimizer of a sweep the rates that were tried, and which of them is best."""
    (part,) = rank(read_folder(Path(folder, "outputs", "sweeps", name))).parts
    found = []
    for each in contenders(part.settings, "optimizer"):
        rates = in_order(value_of(setting, "lr") for setting in each.settings)
        assert each.best is not None
        found.append((each.value, rates, rates.index(value_of(each.best, "lr"))))
    return found


if __name__ == "__main__":
    main()
