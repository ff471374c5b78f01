"""What the benchmarks share: arms that take turns, ratios within a round, images, the notes' network."""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from torch import nn

BATCH = 64


def parser_of(doc: str | None) -> argparse.ArgumentParser:
    """Returns a parser that shows a module's docstring as it stands."""
    return argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def interleaved(arms: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Returns the seconds of each arm in each round; every other round goes backwards."""
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    for number in range(rounds):
        names = list(arms) if number % 2 == 0 else list(arms)[::-1]
        for name in names:
            seconds[name].append(arms[name]())
            print(f"  round {number + 1}: {name} {seconds[name][-1]:.2f} s", file=sys.stderr)
    return seconds


def print_ratio(seconds: dict[str, list[float]], over: str, under: str, goal: str) -> None:
    """Prints the median of over / under within each round, with its spread."""
    ratios = [a / b for a, b in zip(seconds[over], seconds[under], strict=True)]
    print(
        f"{over} / {under}: {statistics.median(ratios):.3f}"
        f"  ({min(ratios):.3f} to {max(ratios):.3f}, n={len(ratios)}; goal {goal})"
    )


def environment(folder: Path) -> dict[str, str]:
    """Returns the environment of a child: no MLflow settings from outside, a cache of its own."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    return env | {"SWEEPS_CACHE": str(folder / "cache")}


def child(arguments: list[str], folder: Path) -> str:
    """Runs Python in `folder` with a cache of its own and returns what it printed."""
    return printed([sys.executable, *arguments], folder)


def printed(command: list[str], folder: Path, typed: str | None = None) -> str:
    """Runs a command in `folder`, see `environment`, and returns what it printed."""
    done = subprocess.run(
        command,
        input=typed,
        cwd=folder,
        env=environment(folder),
        text=True,
        capture_output=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
    return done.stdout


def link_images(source: Path, root: Path, per_class: int) -> None:
    """Links the first images of each class, a fifth as many for test."""
    for part, count in (("train", per_class), ("test", max(1, per_class // 5))):
        for folder in sorted(path for path in (source / part).iterdir() if path.is_dir()):
            (root / part / folder.name).mkdir(parents=True)
            for image in sorted(folder.iterdir())[:count]:
                (root / part / folder.name / image.name).symlink_to(image.absolute())


def make_images(root: Path, per_class: int) -> None:
    """Writes small JPEG files of smooth noise, ten classes."""
    from PIL import Image

    chance = random.Random(0)
    for part, count in (("train", per_class), ("test", max(1, per_class // 5))):
        for name in range(10):
            (root / part / f"class{name}").mkdir(parents=True)
            for number in range(count):
                small = Image.frombytes("RGB", (8, 8), chance.randbytes(192))
                small.resize((32, 32)).save(root / part / f"class{name}" / f"{number:04}.jpg")


def notes_model() -> nn.Module:
    """Returns the notes' network for images of 3x32x32 and ten classes, as they write it."""
    from torch import nn

    layers: list[nn.Module] = []
    for narrow, wide in ((3, 32), (32, 32), (32, 64)):
        layers += [nn.Conv2d(narrow, wide, 5, padding=2), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(1024, 64), nn.Linear(64, 10))
