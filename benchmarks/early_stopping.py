"""What early stopping misses under each schedule: regret and epochs over shuffled orders of a grid.

    python benchmarks/early_stopping.py                    # about ten minutes on one core
    python benchmarks/early_stopping.py --orders 20 --seeds 1

Each of 24 settings (sgd and adam x twelve rates) is trained whole once for each schedule and seed: a
multilayer perceptron on generated images of ten classes with much noise, 9 epochs of 11 steps. What a
search would have done with these very runs is then played through for many orders in which they could
have been proposed, with two workers of equal speed. Regret is how far the validation accuracy of the
best whole run stays behind that of the best of all 24, in points; epochs are a share of all 216.
"""

from __future__ import annotations

import random
import statistics
from typing import TYPE_CHECKING

import torch
from arms import parser_of
from hydra import compose, initialize_config_dir

from sweeps.config import parse
from sweeps.config.locations import conf_dir
from sweeps.config.resolvers import prepare_hydra
from sweeps.runs.build import build_trainer
from sweeps.search.successive_halving import SuccessiveHalving
from sweeps.search.trial import Trial

if TYPE_CHECKING:
    from collections.abc import Sequence

SCHEDULES = ("constant", "step", "exponential", "cosine", "linear", "one_cycle")
RATES = [float(f"{10 ** (power / 3):.2g}") for power in range(-10, 2)]
EPOCHS = 9
WORKERS = 2
IMAGES = ["data=synthetic", "data.samples=1000", "data.test_samples=100", "data.image_size=8"]
IMAGES += ["data.classes=10", "data.noise=4", "data.val_fraction=0.3", "model=mlp"]


def curve(*overrides: str) -> list[float]:
    """Trains one setting whole; returns its validation accuracy after each epoch."""
    typed = [*IMAGES, f"epochs={EPOCHS}", "device=cpu", "threads=1", *overrides]
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        trainer, _ = build_trainer(parse(compose("config", typed)))
    return [report.metrics["val_accuracy"] for report in trainer.run() if report.epoch_done]


def search(curves: Sequence[Sequence[float]], halving: SuccessiveHalving) -> tuple[float, float]:
    """Plays a search through; returns its regret in points and its share of all epochs."""
    trials: list[Trial] = []
    running: list[Trial] = []
    while True:
        while len(running) < WORKERS:
            more = len(trials) < len(curves)
            following = halving.promote(trials, more=more)
            if following is None and more:
                following = Trial(len(trials), {}, of=EPOCHS)
                trials.append(following)
            if following is None:
                break
            following.state = "running"
            running.append(following)
        if not running:
            break
        current = running.pop(0)
        epoch = current.last + 1
        known = curves[current.number]
        if epoch > len(known):
            current.state = "diverged"
            continue
        current.reports[epoch] = known[epoch - 1]
        if epoch == EPOCHS:
            current.state = "finished"
        elif halving.goes_on(trials, current, more=len(trials) < len(curves)):
            running.append(current)
        else:
            current.state = "pruned"
    found = max(trial.best(EPOCHS) for trial in trials if trial.state == "finished")
    best = max(max(known) for known in curves if len(known) == EPOCHS)
    spent = sum(trial.last for trial in trials)
    return 100 * (best - found), spent / (EPOCHS * len(curves))


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--orders", type=int, default=200, help="orders of proposal for each seed")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each setting")
    options = parser.parse_args()
    prepare_hydra()
    torch.set_num_threads(1)
    print(f"{'schedule':<13}{'pruner':<9}{'regret, points':<32}epochs")
    for schedule in SCHEDULES:
        runs = [
            [
                curve(
                    f"schedule={schedule}", f"seed={seed}", f"optimizer={optimizer}", f"lr={rate}"
                )
                for optimizer in ("sgd", "adam")
                for rate in RATES
            ]
            for seed in range(options.seeds)
        ]
        for name, wait in (("asha", False), ("halving", True)):
            played = [
                search(
                    random.Random(order).sample(curves, len(curves)), SuccessiveHalving(3, 1, wait)
                )
                for curves in runs
                for order in range(options.orders)
            ]
            regrets, epochs = zip(*played, strict=True)
            worst = sorted(regrets)[int(0.9 * len(regrets))]
            shown = f"mean {statistics.fmean(regrets):.2f}, one in ten at least {worst:.2f}"
            print(f"{schedule:<13}{name:<9}{shown:<32}{statistics.fmean(epochs):.2f}", flush=True)


if __name__ == "__main__":
    main()
