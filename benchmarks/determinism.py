"""What deterministic=true costs: the same training with and without, taking turns in one process.

    python benchmarks/determinism.py
    python benchmarks/determinism.py --rounds 9 --device cuda --model resnet18 --batch-size 128

Each round times one epoch of each setting after a warm-up of one step, in an order that alternates;
the ratio is the median of the ratios within each round. It also says whether two trainings of each
setting ended with the same weights, bit by bit.
"""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

from arms import parser_of

if TYPE_CHECKING:
    import argparse

    from sweeps.config import Config
    from sweeps.training.trainer import Trainer

NAMES = {True: "deterministic=true", False: "deterministic=false"}


def compose(arguments: argparse.Namespace, *, deterministic: bool) -> Config:
    """Returns the config of one arm."""
    from hydra import compose as compose_config
    from hydra import initialize_config_dir

    from sweeps.config import parse
    from sweeps.config.locations import conf_dir
    from sweeps.config.resolvers import prepare_hydra

    prepare_hydra()
    overrides = [
        *("data=synthetic", "data.image_size=32", "data.classes=10", "epochs=1", "tracking=none"),
        *(f"data.samples={arguments.images}", f"model={arguments.model}"),
        *(f"device={arguments.device}", f"batch_size={arguments.batch_size}"),
        f"deterministic={str(deterministic).lower()}",
    ]
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return parse(compose_config("config", overrides))


def train(config: Config) -> tuple[float, str]:
    """Returns the seconds of the steps after the first, and the digest of the weights."""
    import torch

    from sweeps.runs.build import build_trainer
    from sweeps.training.determinism import weights_digest

    trainer: Trainer = build_trainer(config)[0]
    started = 0.0
    for report in trainer.run():
        if report.step in (1, trainer.total_steps) and torch.cuda.is_available():
            torch.cuda.synchronize()
        if report.step == 1:
            started = time.perf_counter()
        if report.step == trainer.total_steps:
            break
    return time.perf_counter() - started, weights_digest(trainer.model.state_dict())


def main() -> None:
    """Measures both settings and prints the table."""
    parser = parser_of(__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=2048)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--model", default="swagger_cifar")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    import torch

    torch.set_num_threads(arguments.threads)
    configs = {choice: compose(arguments, deterministic=choice) for choice in (True, False)}
    seconds: dict[bool, list[float]] = {True: [], False: []}
    digests: dict[bool, set[str]] = {True: set(), False: set()}
    for number in range(arguments.rounds):
        for choice in (True, False) if number % 2 == 0 else (False, True):
            elapsed, digest = train(configs[choice])
            seconds[choice].append(elapsed)
            digests[choice].add(digest)
    ratios = [a / b for a, b in zip(seconds[True], seconds[False], strict=True)]
    print(
        f"torch {torch.__version__}, {arguments.device}, {arguments.threads} threads,"
        f" {arguments.model}, {arguments.images} images of 32x32, batch {arguments.batch_size}"
    )
    for choice, values in seconds.items():
        same = "same bits each time" if len(digests[choice]) == 1 else "bits vary"
        middle, low, high = statistics.median(values), min(values), max(values)
        print(f"{NAMES[choice]:20} {middle:6.2f} s  ({low:.2f} to {high:.2f})  {same}")
    print(
        f"true / false: {statistics.median(ratios):.3f}"
        f"  ({min(ratios):.3f} to {max(ratios):.3f}, n={len(ratios)})"
    )


if __name__ == "__main__":
    main()
