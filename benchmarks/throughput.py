"""Images per second of our runs, beside the notes' script, a bare loop, and with MLflow on.

    python benchmarks/throughput.py                              # generated JPEG images
    python benchmarks/throughput.py --images FOLDER --per-class 500 --rounds 7 --threads 2

FOLDER holds train/ and test/, with one folder of 32x32 images a class in each. Every arm trains the
notes' CNN (SGD 0.01, batch 64) and evaluates on the test images after each epoch, in a process of its
own; the arms take turns, in an order that alternates. The first epoch warms up and is not timed (what
a start costs is in startup.py); ours and mlflow are timed by the points in their metrics.jsonl.

    notes   torchvision ImageFolder (PIL), ToTensor and DataLoader, the notes' loop
    bare    a hand-written loop over the same uint8 tensors that ours has in memory
    ours    python -m sweeps.train tracking=none, with its metrics, checkpoints and progress
    mlflow  the same with tracking=mlflow

Decoding happens once, before the first round, and is not part of ours, bare and mlflow: a run reads
the cache. The ratios are medians of the ratios within each round.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arms import (
    BATCH,
    child,
    interleaved,
    link_images,
    make_images,
    notes_model,
    parser_of,
    print_ratio,
)

if TYPE_CHECKING:
    from collections.abc import Callable

RATE = 0.01
RATIOS = (
    ("notes", "ours", "at least 1.25"),
    ("ours", "bare", "1.03 or less"),
    ("mlflow", "ours", "1.02 or less"),
)


def overrides(root: Path, *, epochs: int, threads: int) -> list[str]:
    """Returns the notes' training as overrides of our command."""
    return [
        *("data=image_folder", f"data.root={root}", "data.image_size=32", "data.val_fraction=0"),
        *("data.normalize=false", "objective=test_accuracy", "model=swagger_cifar", "device=cpu"),
        *("optimizer=sgd", "optimizer.momentum=0", f"lr={RATE}", f"batch_size={BATCH}"),
        *(f"epochs={epochs}", f"threads={threads}"),
    ]


def run_ours(folder: Path, settings: list[str]) -> float:
    """Trains with our command and returns the seconds from the end of its first epoch to the last."""
    name = f"bench{time.time_ns()}"
    child(["-m", "sweeps.train", f"name={name}", *settings], folder)
    lines = (folder / "outputs" / "runs" / name / "metrics.jsonl").read_text().splitlines()
    ends = [p["time_ms"] for p in map(json.loads, lines) if p["key"] == "test_loss"]
    return float(ends[-1] - ends[0]) / 1000


def arm_notes(root: Path, *, epochs: int) -> float:
    """The notes' script: PIL images, a DataLoader in the same process, accuracy by summing."""
    import torch
    from torch import nn
    from torch.utils.data import DataLoader
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import ToTensor

    train = DataLoader(ImageFolder(str(root / "train"), ToTensor()), BATCH, shuffle=True)
    test = DataLoader(ImageFolder(str(root / "test"), ToTensor()), BATCH)
    model = notes_model()
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
    started, step = 0.0, 0
    for epoch in range(epochs):
        if epoch == 1:
            started = time.perf_counter()
        model.train()
        for images, targets in train:
            loss = criterion(model(images), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
            if step % 50 == 0:
                loss.item()
        model.eval()
        with torch.no_grad():
            for images, targets in test:
                outputs = model(images)
                criterion(outputs, targets).item()
                (outputs.argmax(1) == targets).sum().item()
    return time.perf_counter() - started


def arm_bare(settings: list[str], *, epochs: int) -> float:
    """The least code that trains on our tensors: no records, no checkpoint, no schedule."""
    import torch
    from hydra import compose, initialize_config_dir
    from torch import nn

    from sweeps.config import parse
    from sweeps.config.locations import conf_dir
    from sweeps.config.resolvers import prepare_hydra
    from sweeps.runs.build import load_dataset
    from sweeps.training.models import SwaggerCifar

    prepare_hydra()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        dataset = load_dataset(parse(compose("config", settings)))
    train, test = dataset.train, dataset.test
    model = SwaggerCifar(3, 32, len(dataset.classes)).to(memory_format=torch.channels_last)
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE)

    def as_input(images: Any) -> Any:
        return images.permute(0, 3, 1, 2).float().mul_(1 / 255)

    started = 0.0
    for epoch in range(epochs):
        if epoch == 1:
            started = time.perf_counter()
        model.train()
        for chosen in torch.split(torch.randperm(len(train)), BATCH):
            optimizer.zero_grad()
            loss = criterion(model(as_input(train.images[chosen])), train.labels[chosen])
            loss.backward()
            optimizer.step()
            loss.item()
        model.eval()
        with torch.no_grad():
            parts = (torch.split(tensor, 500) for tensor in (test.images, test.labels))
            for images, labels in zip(*parts, strict=True):
                outputs = model(as_input(images))
                criterion(outputs, labels).item()
                (outputs.argmax(1) == labels).sum().item()
    return time.perf_counter() - started


def one_arm(arguments: argparse.Namespace) -> None:
    """Runs an arm in this process and prints its seconds."""
    import torch

    torch.set_num_threads(arguments.threads)
    root: Path = arguments.images
    if arguments.arm == "notes":
        print(arm_notes(root, epochs=arguments.epochs))
    else:
        settings = overrides(root, epochs=arguments.epochs, threads=arguments.threads)
        print(arm_bare(settings, epochs=arguments.epochs))


def main() -> None:
    """Measures all arms and prints the table."""
    parser = parser_of(__doc__)
    parser.add_argument("--images", type=Path, help="folder with train/ and test/")
    parser.add_argument("--per-class", type=int, default=500, help="training images (500)")
    parser.add_argument("--epochs", type=int, default=3, help="epochs of each arm, from 2 (3)")
    parser.add_argument("--rounds", type=int, default=5, help="times each arm is run (5)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads of each arm (2)")
    parser.add_argument("--arm", choices=("notes", "bare"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.epochs < 2:
        parser.error("--epochs must be 2 or more: the first one is not timed")
    if arguments.arm:
        one_arm(arguments)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        root = folder / "images"
        if arguments.images:
            link_images(arguments.images, root, arguments.per_class)
        else:
            make_images(root, arguments.per_class)
        settings = overrides(root, epochs=arguments.epochs, threads=arguments.threads)
        own = [str(Path(__file__).resolve()), "--images", str(root)]
        own += ["--epochs", str(arguments.epochs), "--threads", str(arguments.threads)]
        arms: dict[str, Callable[[], float]] = {
            "notes": lambda: float(child([*own, "--arm", "notes"], folder)),
            "bare": lambda: float(child([*own, "--arm", "bare"], folder)),
            "ours": lambda: run_ours(folder, ["tracking=none", *settings]),
            "mlflow": lambda: run_ours(folder, ["tracking=mlflow", *settings]),
        }
        run_ours(folder, ["tracking=mlflow", *settings])  # decodes, makes the database
        seconds = interleaved(arms, arguments.rounds)
        images = len(list((root / "train").glob("*/*")))
    timed = arguments.epochs - 1
    print(f"{images} training images, {arguments.threads} threads, {timed} timed epochs an arm")
    print(f"{'arm':8}{'n':>3}{'s/epoch':>10}{'least':>9}{'most':>9}{'images/s':>10}")
    for name, values in seconds.items():
        low, middle, high = (f(values) / timed for f in (min, statistics.median, max))
        row = f"{middle:>10.2f}{low:>9.2f}{high:>9.2f}{images / middle:>10.0f}"
        print(f"{name:8}{len(values):>3}{row}")
    for over, under, goal in RATIOS:
        print_ratio(seconds, over, under, goal)


if __name__ == "__main__":
    main()
