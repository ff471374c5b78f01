"""What a sweep costs: beside other ways to run the same cells, per cell, and in memory.

    python benchmarks/sweep.py --images FOLDER --per-class 300 --epochs 2 --rounds 3
    python benchmarks/sweep.py --many 100          # the cost of a cell, and of asking again
    python benchmarks/sweep.py --checkpoints --images FOLDER --per-class 5000
    python benchmarks/sweep.py --memory --images FOLDER --per-class 5000

FOLDER holds train/ and test/, with one folder of 32x32 images a class in each; without it images are
generated. It is meant for a machine with two cores: what runs two at once is typed so.

The first command trains 8 cells, optimizer=sgd,adam x lr=0.1,0.03,0.01,0.003, of the notes' CNN
(batch 64, test after each epoch, everything tracked in MLflow on SQLite), in arms that take turns, in
an order that alternates:

    ours          python -m sweeps.train -m ..., as it comes
    shell loop    the notes' script with mlflow.log_metric, a process a cell, one after another
    xargs -P2     the same script, two at once with a thread each
    hydra basic   our run under Hydra's own launcher, one after another in one process
    hydra joblib  our run under Hydra's joblib launcher, two at once with a thread each
    ray tune      the notes' script as a function, two at once, where Ray is installed

All databases are made before the first round: two first starts of MLflow at once fail. Our cache of
decoded images is filled by one unmeasured run; with --cold it is emptied before each arm that uses it.
A cell whose loss is not finite ends early in every arm, the notes' script included. The accuracy is
that of the last epoch, averaged over the cells that did not diverge. Ratios are medians of the ratios
within each round.

--many times sweeps of cells that train almost nothing. The cost of a cell is the wall clock of N cells
less that of one, over N - 1. --checkpoints times each epoch of Adam (its state is the largest) and the
checkpoint after it. --memory reads the proportional set size of one and of two workers while they train,
after each has seen all images once, without and with a validation split: both take their images from the
same memory-mapped arrays.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arms import (
    BATCH,
    child,
    environment,
    interleaved,
    link_images,
    make_images,
    notes_model,
    parser_of,
    print_ratio,
    printed,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

GRIDS = {
    "all": (("sgd", "adam"), (0.1, 0.03, 0.01, 0.003)),
    "small": (("sgd", "adam"), (0.01,)),
}
AT_ONCE = 2
LOG_EVERY = 50
MEMORY_SAMPLES = 10
STEADY_WITHIN_S = 500.0
MIB = 2**20
LAUNCHERS = {
    "ours": (),
    "hydra basic": ("hydra/launcher=basic",),
    "hydra joblib": ("hydra/launcher=joblib", f"hydra.launcher.n_jobs={AT_ONCE}", "threads=1"),
}


# The same cells, several ways


def compare_arms(folder: Path, root: Path, arguments: argparse.Namespace) -> None:
    """Measures all arms and prints their table."""
    optimizers, rates = GRIDS[arguments.cells]
    cells = list(itertools.product(optimizers, rates))
    settings = [
        *training(root, arguments.epochs),
        f"optimizer={','.join(optimizers)}",
        f"lr={','.join(map(str, rates))}",
    ]
    cold = folder / "cache" if arguments.cold else None
    own = [str(Path(__file__).resolve()), "--images", str(root)]
    script = [*own, "--epochs", str(arguments.epochs), "--arm"]
    measures: dict[str, Callable[[], list[float]]] = {
        "ours": partial(by_sweep, "ours", settings, folder, cold),
        "shell loop": partial(by_loop, [*script, "notes", f"--threads={AT_ONCE}"], cells, folder),
        f"xargs -P{AT_ONCE}": partial(by_xargs, [*script, "notes", "--threads=1"], cells, folder),
        "hydra basic": partial(by_sweep, "hydra basic", settings, folder, cold),
        "hydra joblib": partial(by_sweep, "hydra joblib", settings, folder, cold),
    }
    if importlib.util.find_spec("ray"):
        ray = [*script, "ray", "--cells", arguments.cells]
        measures["ray tune"] = lambda: accuracies_in(child(ray, folder))
    else:
        print("ray tune is left out: Ray is not installed")
    accuracies: dict[str, list[float]] = {name: [] for name in measures}

    def timed(name: str) -> float:
        started = time.perf_counter()
        found = measures[name]()
        seconds = time.perf_counter() - started
        if len(found) != len(cells):
            sys.exit(f"{name} trained {len(found)} of {len(cells)} cells")
        accuracies[name] += found
        return seconds

    child([*own, "--epochs", "0", "--arm", "notes"], folder)  # makes the notes' database
    name = f"fill{time.time_ns()}"
    child(["-m", "sweeps.train", "-m", f"name={name}", *training(root, 1), "lr=0.01"], folder)
    seconds = interleaved({name: partial(timed, name) for name in measures}, arguments.rounds)
    images = len(list((root / "train").glob("*/*")))
    decoding = "decoding is counted" if cold else "ours has decoded them before"
    print(f"{len(cells)} cells of {arguments.epochs} epochs, {images} training images ({decoding})")
    print_arms(seconds, accuracies)


def training(root: Path, epochs: int, val_fraction: float = 0) -> list[str]:
    """Returns the notes' training as overrides of our command, without optimizer and rate."""
    return [
        *("data=image_folder", f"data.root={root}", "data.image_size=32", "data.normalize=false"),
        *(f"data.val_fraction={val_fraction}", "model=swagger_cifar", "device=cpu"),
        f"objective={'val' if val_fraction else 'test'}_accuracy",
        *(f"batch_size={BATCH}", f"epochs={epochs}", f"log_every={LOG_EVERY}"),
    ]


def by_sweep(arm: str, settings: list[str], folder: Path, cold: Path | None) -> list[float]:
    """Trains the cells with our command; returns the last test accuracies, nan where diverged."""
    if cold:
        shutil.rmtree(cold)
    name = f"bench{time.time_ns()}"
    child(["-m", "sweeps.train", "-m", f"name={name}", *settings, *LAUNCHERS[arm]], folder)
    found = []
    for record in sweep_folder(folder, name).glob("*/run.json"):
        lines = (record.parent / "metrics.jsonl").read_text().splitlines()
        tests = [p["value"] for p in map(json.loads, lines) if p["key"] == "test_accuracy"]
        finished = json.loads(record.read_text())["outcome"] == "finished"
        found.append(float(tests[-1]) if finished else math.nan)
    return found


def by_loop(script: list[str], cells: Sequence[tuple[str, float]], folder: Path) -> list[float]:
    """Runs the notes' script once a cell."""
    found = []
    for optimizer, rate in cells:
        found += accuracies_in(child([*script, f"--optimizer={optimizer}", f"--lr={rate}"], folder))
    return found


def by_xargs(script: list[str], cells: Sequence[tuple[str, float]], folder: Path) -> list[float]:
    """Runs the notes' script once a cell, as many at once as there are cores."""
    lines = "".join(f"--optimizer={optimizer} --lr={rate}\n" for optimizer, rate in cells)
    xargs = ["xargs", f"-P{AT_ONCE}", "-L1", sys.executable, *script]
    return accuracies_in(printed(xargs, folder, lines))


def accuracies_in(printed: str) -> list[float]:
    """Returns what `one_arm` printed; other programs may have printed around it."""
    lines = (line.split() for line in printed.splitlines())
    return [float(words[1]) for words in lines if words[:1] == ["accuracy"]]


def print_arms(seconds: dict[str, list[float]], accuracies: dict[str, list[float]]) -> None:
    """Prints a line an arm, and our ratio to the shell loop and to the best of the others."""
    head = f"{'arm':13}{'n':>3}{'median s':>10}{'least':>9}{'most':>9}"
    print(f"{head}{'mean test accuracy':>20}{'diverged':>10}")
    for name, values in seconds.items():
        whole = [value for value in accuracies[name] if not math.isnan(value)]
        mean = statistics.mean(whole) if whole else math.nan
        row = f"{statistics.median(values):>10.2f}{min(values):>9.2f}{max(values):>9.2f}"
        lost = f"{len(accuracies[name]) - len(whole)}/{len(accuracies[name])}"
        print(f"{name:13}{len(values):>3}{row}{mean:>20.4f}{lost:>10}")
    print_ratio(seconds, "ours", "shell loop", "0.55 or less")
    rivals = [name for name in seconds if name not in ("ours", "shell loop")]
    best = min(rivals, key=lambda name: statistics.median(seconds[name]))
    print_ratio(seconds, "ours", best, "0.65 or less, against the best of the other rivals")


def notes(root: Path, *, optimizer: str, lr: float, epochs: int, uri: str) -> float:
    """The notes' script with MLflow: returns the last test accuracy, nan where the loss was."""
    import mlflow
    import torch
    from torch import nn
    from torch.utils.data import DataLoader
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import ToTensor

    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment("notes")
    train = DataLoader(ImageFolder(str(root / "train"), ToTensor()), BATCH, shuffle=True)
    test_images = ImageFolder(str(root / "test"), ToTensor())
    test = DataLoader(test_images, BATCH)
    model = notes_model()
    criterion = nn.CrossEntropyLoss()
    kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[optimizer]
    stepper = kind(model.parameters(), lr=lr)
    accuracy, step = math.nan, 0
    with mlflow.start_run(run_name=f"{optimizer} {lr}"):
        mlflow.log_params({"optimizer": optimizer, "lr": lr, "epochs": epochs, "batch": BATCH})
        for _ in range(epochs):
            model.train()
            for images, targets in train:
                loss = criterion(model(images), targets)
                stepper.zero_grad()
                loss.backward()
                stepper.step()
                step += 1
                if step % LOG_EVERY == 0:
                    mlflow.log_metric("train_loss", loss.item(), step)
                    if not math.isfinite(loss.item()):
                        return math.nan
            model.eval()
            total, correct = 0.0, 0
            with torch.no_grad():
                for images, targets in test:
                    outputs = model(images)
                    total += criterion(outputs, targets).item()
                    correct += (outputs.argmax(1) == targets).sum().item()
            if not math.isfinite(total):
                return math.nan
            accuracy = correct / len(test_images)
            mlflow.log_metric("test_loss", total, step)
            mlflow.log_metric("test_accuracy", accuracy, step)
    return accuracy


def by_ray(root: Path, cells: Sequence[tuple[str, float]], *, epochs: int, uri: str) -> list[float]:
    """Runs the notes' script as trials of Ray Tune, a core each."""
    import ray
    from ray import tune

    def trial(config: dict[str, Any]) -> dict[str, float]:
        import torch

        torch.set_num_threads(1)
        optimizer, lr = config["cell"]
        return {"accuracy": notes(root, optimizer=optimizer, lr=lr, epochs=epochs, uri=uri)}

    ray.init(num_cpus=AT_ONCE, include_dashboard=False)
    tuner = tune.Tuner(
        tune.with_resources(trial, {"cpu": 1}),
        param_space={"cell": tune.grid_search([list(cell) for cell in cells])},
        run_config=tune.RunConfig(storage_path=str(Path.cwd() / "ray")),
    )
    return [float(result.metrics["accuracy"]) for result in tuner.fit()]


# The cost of a cell


def cost_of_many(folder: Path, n: int, rounds: int) -> None:
    """Measures sweeps of one and of `n` cells that train almost nothing, and asking again."""
    names: dict[str, list[str]] = {"mlflow": [], "none": []}

    def sweep(cells: int, tracking: str, name: str) -> float:
        settings = ["data=synthetic", "model=linear", "epochs=1", "device=cpu"]
        settings += [f"seed=range({cells})", f"tracking={tracking}", f"name={name}"]
        started = time.perf_counter()
        child(["-m", "sweeps.train", "-m", *settings], folder)
        return time.perf_counter() - started

    def one_cell(tracking: str) -> float:
        return sweep(1, tracking, f"one{time.time_ns()}")

    def all_cells(tracking: str) -> float:
        names[tracking].append(f"many{time.time_ns()}")
        return sweep(n, tracking, names[tracking][-1])

    def again(tracking: str) -> float:
        return sweep(n, tracking, names[tracking][-1])

    arms: dict[str, Callable[[], float]] = {}
    for tracking in names:
        sweep(1, tracking, f"first{tracking}")  # byte code, file cache, database
        arms[f"1, {tracking}"] = partial(one_cell, tracking)
        arms[f"{n}, {tracking}"] = partial(all_cells, tracking)
        arms[f"again, {tracking}"] = partial(again, tracking)
    seconds = interleaved(arms, rounds)
    print(f"{n} cells of one epoch of a linear model on 512 synthetic images")
    print(f"{'cells, tracking':18}{'n':>3}{'median s':>10}{'least':>9}{'most':>9}")
    for arm, values in seconds.items():
        row = f"{statistics.median(values):>10.2f}{min(values):>9.2f}{max(values):>9.2f}"
        print(f"{arm:18}{len(values):>3}{row}")
    for tracking, swept in names.items():
        pairs = zip(seconds[f"{n}, {tracking}"], seconds[f"1, {tracking}"], strict=True)
        each = [(many - one) / (n - 1) for many, one in pairs]
        quarters = [quarter_costs(sweep_folder(folder, name)) for name in swept]
        first, last = (statistics.median(part) for part in zip(*quarters, strict=True))
        print(
            f"{tracking}: {statistics.median(each):.3f} s a cell ({min(each):.3f} to {max(each):.3f};"
            f" goal 0.3 or less), first quarter {first:.3f}, last quarter {last:.3f}"
        )
        print_ratio(seconds, f"again, {tracking}", f"1, {tracking}", "2 or less")


def quarter_costs(sweep: Path) -> tuple[float, float]:
    """Returns the seconds from start to start in the first and in the last quarter of the cells."""
    records = map(json.loads, (path.read_text() for path in sweep.glob("*/run.json")))
    starts = sorted(record["started_ms"] / 1000 for record in records)
    size = max(1, len(starts) // 4)
    return (starts[size] - starts[0]) / size, (starts[-1] - starts[-1 - size]) / size


# Checkpoints


def cost_of_checkpoints(folder: Path, root: Path, arguments: argparse.Namespace) -> None:
    """Prints how much longer an epoch is with its checkpoint; each process's first is left out."""
    script = [str(Path(__file__).resolve()), "--images", str(root), "--arm", "checkpoints"]
    script += ["--epochs", str(arguments.epochs), "--threads", str(AT_ONCE)]
    pairs = [pair for _ in range(arguments.rounds) for pair in json.loads(child(script, folder))]
    ratios = [(epoch + save) / epoch for epoch, save in pairs]
    epoch, save = (statistics.median(part) for part in zip(*pairs, strict=True))
    size = (folder / "checkpoints" / "checkpoint.pt").stat().st_size / MIB
    images = len(list((root / "train").glob("*/*")))
    print(f"{images} training images, {AT_ONCE} threads, a checkpoint of {size:.1f} MiB")
    print(f"epoch {epoch:.3f} s, checkpoint {save:.4f} s (medians)")
    print(
        f"(epoch + checkpoint) / epoch: {statistics.median(ratios):.4f}"
        f"  ({min(ratios):.4f} to {max(ratios):.4f}, n={len(ratios)}; goal 1.01 or less)"
    )


def arm_checkpoints(root: Path, *, epochs: int) -> list[tuple[float, float]]:
    """Returns the seconds of each epoch after the first, and of the checkpoint after it."""
    from hydra import compose, initialize_config_dir

    from sweeps.config import parse
    from sweeps.config.locations import conf_dir
    from sweeps.config.resolvers import prepare_hydra
    from sweeps.runs.build import build_trainer
    from sweeps.runs.paths import RunPaths
    from sweeps.training import checkpoint

    prepare_hydra()
    settings = [*training(root, epochs), "optimizer=adam", "lr=0.001"]
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        trainer, _ = build_trainer(parse(compose("config", settings)))
    paths = RunPaths(Path.cwd() / "checkpoints")
    paths.folder.mkdir(exist_ok=True)
    measured = []
    started = time.perf_counter()
    for report in trainer.run():
        if report.epoch_done:
            trained = time.perf_counter()
            checkpoint.save(paths, trainer.capture())
            saved = time.perf_counter()
            measured.append((trained - started, saved - trained))
            started = saved
    return measured[1:]


# Memory


def memory_of_workers(folder: Path, root: Path) -> None:
    """Prints the memory of one and of two workers, with and without validation images."""
    name = f"fill{time.time_ns()}"
    child(["-m", "sweeps.train", "-m", f"name={name}", *training(root, 1), "lr=0.01"], folder)
    arrays = sum(path.stat().st_size for path in (folder / "cache").glob("*/*.npy")) / MIB
    print(
        f"the cached arrays are {arrays:.1f} MiB; the greatest of {MEMORY_SAMPLES} samples, in MiB"
    )
    print(
        f"{'val_fraction':14}{'workers':>8}{'their PSS':>11}{'of the arrays':>15}{'whole sweep':>13}"
    )
    for val_fraction in (0, 0.1):
        alone, both = (pss_while_training(folder, root, n, val_fraction) for n in (1, AT_ONCE))
        for workers, sample in ((1, alone), (AT_ONCE, both)):
            row = f"{sample[0]:>11.1f}{sample[1]:>15.1f}{sample[2]:>13.1f}"
            print(f"{val_fraction:<14}{workers:>8}{row}")
        more = both[2] - alone[2]
        print(
            f"a second worker adds {more:.1f} MiB to the sweep; the arrays are mapped"
            f" {both[1] / arrays:.2f} times by {AT_ONCE} workers (goal: once)"
        )


def pss_while_training(
    folder: Path, root: Path, workers: int, val_fraction: float
) -> tuple[float, float, float]:
    """Returns the proportional set size of the workers, of the arrays in it, and of all processes."""
    import psutil

    name = f"memory{time.time_ns()}"
    settings = [*training(root, 1_000_000, val_fraction), f"name={name}", "tracking=none"]
    settings += [f"workers={workers}", "threads=1", "lr=0.003,0.001"]
    samples: list[tuple[float, float, float]] = []
    with (folder / "memory.log").open("w") as output:
        sweep = subprocess.Popen(
            [sys.executable, "-m", "sweeps.train", "-m", *settings],
            cwd=folder,
            env=environment(folder),
            stdout=output,
            stderr=output,
        )
    deadline = time.monotonic() + STEADY_WITHIN_S
    try:
        while len(samples) < MEMORY_SAMPLES:
            if sweep.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"No memory was measured:\n{(folder / 'memory.log').read_text()}")
            time.sleep(0.3)
            seen = len(list(sweep_folder(folder, name).glob("*/checkpoint.pt")))
            controller = psutil.Process(sweep.pid)
            # Workers are children of the fork server, which is a child of the controller.
            each = [p.pid for server in controller.children() for p in server.children()]
            if seen < workers or len(each) != workers:
                continue
            everyone = [sweep.pid, *(p.pid for p in controller.children(recursive=True))]
            samples.append((pss(each), pss(each, of=".npy"), pss(everyone)))
    finally:
        sweep.terminate()
        sweep.wait()
    greatest = [max(part) for part in zip(*samples, strict=True)]
    return greatest[0], greatest[1], greatest[2]


def pss(pids: Sequence[int], *, of: str | None = None) -> float:
    """Returns the MiB of processes, each shared page divided among those that have it.

    Args:
        pids: The processes.
        of: Counts only files whose name ends so; None counts everything.
    """
    kibibytes, counted = 0, of is None
    for pid in pids:
        lines = Path(f"/proc/{pid}/{'smaps' if of else 'smaps_rollup'}").read_text().splitlines()
        for line in lines:
            words = line.split()
            if of and not words[0].endswith(":"):  # a mapping begins: addresses, ..., file
                counted = words[-1].endswith(of)
            elif words[0] == "Pss:" and counted:
                kibibytes += int(words[1])
    return kibibytes / 1024


# The command


def sweep_folder(folder: Path, name: str) -> Path:
    """Returns the folder of a sweep that ran in `folder`."""
    return folder / "outputs" / "sweeps" / name


def one_arm(arguments: argparse.Namespace) -> None:
    """Runs an arm in this process and prints what it found."""
    import torch

    torch.set_num_threads(arguments.threads)
    root, epochs, uri = arguments.images, arguments.epochs, f"sqlite:///{Path.cwd()}/notes.db"
    if arguments.arm == "checkpoints":
        print(json.dumps(arm_checkpoints(root, epochs=epochs)))
        return
    if arguments.arm == "ray":
        cells = list(itertools.product(*GRIDS[arguments.cells]))
        found = by_ray(root, cells, epochs=epochs, uri=uri)
    else:
        kind, lr = arguments.optimizer, arguments.lr
        found = [notes(root, optimizer=kind, lr=lr, epochs=epochs, uri=uri)]
    print("".join(f"accuracy {value}\n" for value in found), end="")


def parsed() -> argparse.Namespace:
    """Returns what was typed."""
    parser = parser_of(__doc__)
    parser.add_argument("--images", type=Path, help="folder with train/ and test/")
    parser.add_argument("--per-class", type=int, default=300, help="training images (300)")
    parser.add_argument("--epochs", type=int, default=2, help="epochs of each cell (2)")
    parser.add_argument("--rounds", type=int, default=3, help="times each arm is run (3)")
    parser.add_argument("--cells", choices=GRIDS, default="all", help="small: two, for a look")
    parser.add_argument("--cold", action="store_true", help="count the decoding of our arms too")
    parser.add_argument("--many", type=int, nargs="?", const=100, help="cost of a cell, of N (100)")
    parser.add_argument("--checkpoints", action="store_true", help="cost of a checkpoint an epoch")
    parser.add_argument("--memory", action="store_true", help="memory of two workers against one")
    parser.add_argument("--arm", choices=("notes", "ray", "checkpoints"), help=argparse.SUPPRESS)
    parser.add_argument(
        "--optimizer", choices=("sgd", "adam"), default="sgd", help="of --arm notes"
    )
    parser.add_argument("--lr", type=float, default=0.01, help="of --arm notes (0.01)")
    parser.add_argument("--threads", type=int, default=AT_ONCE, help="of --arm notes (2)")
    arguments = parser.parse_args()
    if arguments.arm and arguments.images is None:
        parser.error("--arm needs --images")
    if arguments.checkpoints and arguments.epochs < 2:
        parser.error("--epochs must be 2 or more: the first one is not timed")
    if arguments.many is not None and arguments.many < 8:
        parser.error("--many must be 8 or more: quarters are compared")
    return arguments


def main() -> None:
    """Runs one of the measurements."""
    arguments = parsed()
    if arguments.arm:
        one_arm(arguments)
        return
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "mlflow", "hydra-core"))
    print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}, {versions}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if arguments.many is not None:
            cost_of_many(folder, arguments.many, arguments.rounds)
            return
        root = folder / "images"
        if arguments.images:
            link_images(arguments.images, root, arguments.per_class)
        else:
            make_images(root, arguments.per_class)
        if arguments.checkpoints:
            cost_of_checkpoints(folder, root, arguments)
        elif arguments.memory:
            memory_of_workers(folder, root)
        else:
            compare_arms(folder, root, arguments)


if __name__ == "__main__":
    main()
