"""How near lr=auto comes to the best rate of a fine grid, and what it costs.

    python benchmarks/lr_auto.py --cache grids.json         # hours the first time, minutes with the cache

Each workload is a model, data, a batch size, a seed and epochs; each is trained with six optimizers, at
the pick of lr=auto and at every rate of a grid, a factor of 10**(1/3) apart over four or five decades.
30 % of the training images are for validation: 431 of the digits, 300 of the generated ones.

The factor is the pick over the rate with the best validation accuracy (at its best epoch); where several
have it, over the nearest. A pick is near where that is within 3.2 (half a decade). Behind is how far the
accuracy at the pick stays behind the best of the grid, in points; one standard error of such an accuracy is
about 0.8 on the digits and 2.2 on the generated images. The cost is in optimizer steps, of one training's.
"""

from __future__ import annotations

import json
import math
import tempfile
from pathlib import Path
from typing import Any

import torch
from arms import parser_of
from hydra import compose, initialize_config_dir

from sweeps.config import parse
from sweeps.config.locations import conf_dir
from sweeps.config.resolvers import prepare_hydra
from sweeps.runs import range_test
from sweeps.runs.build import build_trainer

DIGITS = ["data=digits"]
NOISE = ["data=synthetic", "data.samples=1000", "data.test_samples=100", "data.image_size=8"]
NOISE += ["data.classes=10"]
WORKLOADS: dict[str, list[str]] = {
    "linear, digits, 32": ["model=linear", *DIGITS, "batch_size=32", "seed=4", "epochs=12"],
    "linear, digits, 64": ["model=linear", *DIGITS, "batch_size=64", "seed=0", "epochs=20"],
    "linear, digits, 256": ["model=linear", *DIGITS, "batch_size=256", "seed=1", "epochs=60"],
    "mlp, digits, 32": ["model=mlp", *DIGITS, "batch_size=32", "seed=2", "epochs=15"],
    "mlp, digits, 64": ["model=mlp", *DIGITS, "batch_size=64", "seed=0", "epochs=20"],
    "mlp, digits, 256": ["model=mlp", *DIGITS, "batch_size=256", "seed=1", "epochs=60"],
    "cnn, digits, 64": ["model=swagger_cifar", *DIGITS, "batch_size=64", "seed=0", "epochs=12"],
    "linear, much noise, 32": [
        *("model=linear", *NOISE, "data.noise=4", "batch_size=32", "seed=2", "epochs=15")
    ],
    "mlp, much noise, 64": [
        *("model=mlp", *NOISE, "data.noise=4", "batch_size=64", "seed=0", "epochs=20")
    ],
    "mlp, noise, 64": [
        *("model=mlp", *NOISE, "data.noise=2", "batch_size=64", "seed=3", "epochs=20")
    ],
}
DECADES = {
    "sgd": (-3, 1),
    "sgd_momentum": (-4, 1 / 3),
    "adam": (-5, 0),
    "adamw": (-5, 0),
    "rmsprop": (-5, 0),
    "adagrad": (-4, 1),
}
NEAR = 3.2


def composed(optimizer: str, workload: str, *overrides: str) -> Any:
    typed = [*WORKLOADS[workload], f"optimizer={optimizer}", "data.val_fraction=0.3", "device=cpu"]
    typed += ["threads=1", "tracking=none", "name=x"]
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return compose("config", [*typed, *overrides], return_hydra_config=True)


def rates(optimizer: str) -> list[float]:
    low, high = (round(3 * decade) for decade in DECADES[optimizer])
    return [float(f"{10 ** (third / 3):.3g}") for third in range(low, high + 1)]


def accuracy(optimizer: str, workload: str, rate: float) -> float:
    """Returns the validation accuracy at the best epoch, 0 where the training diverges."""
    trainer, _ = build_trainer(parse(composed(optimizer, workload, f"lr={rate:g}")))
    found = [report.metrics["val_accuracy"] for report in trainer.run() if report.epoch_done]
    return 0.0 if trainer.diverged else max(found)


def pick(optimizer: str, workload: str) -> range_test.Suggestion:
    with tempfile.TemporaryDirectory() as folder:
        cfg = composed(optimizer, workload, "lr=auto")
        return range_test.run_range_test(range_test.range_test_of(cfg, cfg.hydra, Path(folder)))


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--cache", type=Path, help="a JSON file that keeps what the grids came to")
    options = parser.parse_args()
    prepare_hydra()
    torch.set_num_threads(1)
    known: dict[str, float] = {}
    if options.cache and options.cache.exists():
        known = json.loads(options.cache.read_text())

    def trained(optimizer: str, workload: str, rate: float) -> float:
        key = f"{workload}, {optimizer}, {rate:g}"
        if key not in known:
            known[key] = accuracy(optimizer, workload, rate)
            if options.cache:
                options.cache.write_text(json.dumps(known, indent=0))
        return known[key]

    print("| workload | optimizer | pick | best of the grid | factor | behind | cost |")
    print("|---|---|---|---|---|---|---|")
    rows = []
    for workload in WORKLOADS:
        for optimizer in DECADES:
            grid = {rate: trained(optimizer, workload, rate) for rate in rates(optimizer)}
            found = pick(optimizer, workload)
            best = max(grid.values())
            ties = [rate for rate, value in grid.items() if value == best]
            nearest = min(ties, key=lambda rate: abs(math.log(found.lr / rate)))
            factor, cost = found.lr / nearest, found.steps / found.of
            behind = 100 * (best - trained(optimizer, workload, found.lr))
            rows.append((factor, behind, cost))
            print(
                f"| {workload} | {optimizer} | {found.lr:g} | {nearest:g} | {factor:.2g} |"
                f" {behind:.1f} | {100 * cost:.0f} % of {found.of} |",
                flush=True,
            )
    near = sum(1 / NEAR <= factor <= NEAR for factor, _, _ in rows)
    within = sum(cost <= 0.25 for _, _, cost in rows)
    behinds = sorted(behind for _, behind, _ in rows)
    print(f"\nwithin a factor of {NEAR}: {near} of {len(rows)}")
    print(f"points behind: median {behinds[len(rows) // 2]:.1f}, worst {behinds[-1]:.1f}")
    print(f"at most a quarter of a training: {within} of {len(rows)}")


if __name__ == "__main__":
    main()
