"""What early stopping saves, what it misses, and what deciding costs.

    python benchmarks/search.py                                    # digits, 10 seeds
    python benchmarks/search.py --images FOLDER --per-class 300 --seeds 1 --rivals 1
    python benchmarks/search.py --controller                       # cost of deciding, no training

27 settings, optimizer=sgd,sgd_momentum,adam x nine rates in an order shuffled by the seed, 9 epochs each,
of the notes' CNN; 30 % of the training images are for validation, so that one image is less than half a
point. Three ways to find the best, each with tracking on and two runs at once where it can:

    grid    python -m sweeps.train -m ...: all 27, trained whole
    asha    the same with hydra/sweeper=search search=asha
    hydra   the same grid with Hydra's own sweeper and launcher, one after another (--rivals seeds)

Epochs are those that were trained. The winner is compared by the objective, the validation accuracy at
its best epoch, in points. Time to target is from the start of the command to the first evaluation that
comes within one point of the grid's best.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from throughput import child, link_images

OPTIMIZERS = ("sgd", "sgd_momentum", "adam")
RATES = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0003, 0.0001)
EPOCHS = 9
ARMS = {
    "grid": ("workers=2",),
    "asha": ("hydra/sweeper=search", "search=asha", "workers=2"),
    "hydra": ("hydra/sweeper=basic", "hydra/launcher=basic", "threads=1"),
}


def settings(seed: int, data: list[str]) -> list[str]:
    """Returns the overrides of all arms; the order of the rates must not favour one."""
    rates = random.Random(seed).sample(RATES, len(RATES))
    listed = [f"optimizer={','.join(OPTIMIZERS)}", f"lr={','.join(map(str, rates))}"]
    return [*data, *listed, f"epochs={EPOCHS}", f"seed={seed}", "data.val_fraction=0.3"]


def measure(arm: str, seed: int, data: list[str], folder: Path) -> dict[str, Any]:
    """Runs one arm; returns its epochs, its best, and when each evaluation came."""
    name = f"{arm}-{seed}"
    started = time.time()
    search = [f"search.seed={seed}"] if arm == "asha" else []
    child(
        ["-m", "sweeps.train", "-m", f"name={name}", *ARMS[arm], *search, *settings(seed, data)],
        folder,
    )
    seconds = time.time() - started
    runs, evaluations = [], []
    for file in (folder / "outputs" / "sweeps" / name).glob("*/run.json"):
        record = json.loads(file.read_text())
        runs.append(record)
        for line in (file.parent / "metrics.jsonl").read_text().splitlines():
            point = json.loads(line)
            if point["key"] == "val_accuracy":
                evaluations.append((point["time_ms"] / 1000 - started, point["value"]))
    whole = [record for record in runs if record["outcome"] == "finished"]
    winner = max(whole, key=lambda record: record["objective_value"])
    return {
        "runs": len(runs),
        "epochs": sum(record["epochs_done"] for record in runs),
        "best": winner["objective_value"],
        "test": winner["metrics"]["test_accuracy"],
        "seconds": seconds,
        "evaluations": sorted(evaluations),
    }


def time_to(result: dict[str, Any], target: float) -> float:
    """Returns the seconds until an evaluation reached the target; all of them where none did."""
    return next((at for at, value in result["evaluations"] if value >= target), result["seconds"])


def compare(data: list[str], seeds: int, rivals: int, folder: Path) -> None:
    """Runs the arms in turn, seed by seed, and prints what came out."""
    child(["-m", "sweeps.train", *data, "epochs=1", "name=warm"], folder)  # database, cache
    head = f"{'seed':>4}{'epochs':>8}{'ratio':>7}{'points behind':>15}{'test behind':>13}"
    print(f"{head}{'seconds':>9}{'ratio':>7}{'to target':>11}{'ratio':>7}{'of hydra':>10}")
    rows = []
    for seed in range(seeds):
        order = [arm for arm in ARMS if arm != "hydra" or seed < rivals]
        found = {arm: measure(arm, seed, data, folder) for arm in order[:: 1 if seed % 2 else -1]}
        grid, asha = found["grid"], found["asha"]
        assert grid["runs"] == asha["runs"] == len(OPTIMIZERS) * len(RATES)
        target = grid["best"] - 0.01
        row = {
            "epochs": asha["epochs"] / grid["epochs"],
            "behind": 100 * (grid["best"] - asha["best"]),
            "test": 100 * (grid["test"] - asha["test"]),
            "seconds": asha["seconds"] / grid["seconds"],
            "target": time_to(asha, target) / time_to(grid, target),
        }
        if "hydra" in found:
            row["hydra"] = time_to(asha, target) / time_to(found["hydra"], target)
        rows.append(row)
        shown = f"{row['hydra']:>10.2f}" if "hydra" in row else ""
        print(
            f"{seed:>4}{asha['epochs']:>8}{row['epochs']:>7.2f}{row['behind']:>15.2f}"
            f"{row['test']:>13.2f}{asha['seconds']:>9.1f}{row['seconds']:>7.2f}"
            f"{time_to(asha, target):>11.1f}{row['target']:>7.2f}{shown}",
            flush=True,
        )
    for key, goal in (("epochs", "0.35 or less"), ("seconds", ""), ("hydra", "0.35 or less")):
        values = [row[key] for row in rows if key in row]
        if values:
            print(
                f"asha / {'grid' if key != 'hydra' else 'hydra to target'}, {key}:"
                f" {statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f},"
                f" n={len(values)}{f'; goal {goal}' if goal else ''})"
            )
    near = sum(row["behind"] <= 0.5 for row in rows)
    print(f"winner within 0.5 points of the grid's: {near} of {len(rows)} (goal 9 of 10)")


def controller(folder: Path, trials: int) -> None:
    """Times what the controller does for each trial: propose, compose, judge, write down."""
    code = CONTROLLER.replace("TRIALS", str(trials)).replace("FOLDER", str(folder))
    print(child(["-c", code], folder))


CONTROLLER = """
import statistics, time
from hydra import compose, initialize_config_dir
from hydra.core.plugins import Plugins
from hydra.core.hydra_config import HydraConfig
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra._internal.callbacks import Callbacks
from hydra.types import HydraContext, RunMode
from sweeps.config.composer import Composer
from sweeps.config.hydra_setup import prepare_hydra
from sweeps.config import identity
from sweeps.paths import conf_dir
from sweeps.records import RunRecord
from sweeps.asking import Reported
from sweeps.sweep import _agenda

prepare_hydra()
loader = ConfigLoaderImpl(create_config_search_path(str(conf_dir())))
typed = ["hydra/sweeper=search", "search=asha", "trials=TRIALS", "epochs=9", "optimizer=sgd,adam",
         "lr=tag(log, interval(1e-4, 1))", "name=c", "output_dir=FOLDER/out"]
master = loader.load_configuration("config", typed, RunMode.MULTIRUN)
context = HydraContext(config_loader=Composer(loader), callbacks=Callbacks(master))
agenda = _agenda(typed[1:], True, None, context, master)
spent, runs = [], []
chance = __import__("random").Random(0)
quality = {}

def timed(function, *arguments):
    started = time.perf_counter()
    answer = function(*arguments)
    spent.append(time.perf_counter() - started)
    return answer

while (cell := timed(agenda.next)) is not None:
    score = quality.setdefault(cell.folder, chance.random())
    record = RunRecord(key="k", identity=identity(cell.config), name=cell.name, status="FINISHED",
                       objective="val_accuracy", started_ms=0, epochs=9, steps=90, outcome="finished")
    known = cell.load()
    epoch = known.epochs_done if known else 0
    with cell.paths.metrics.open("a") as file:
        while record.outcome == "finished" and epoch < 9:
            epoch += 1
            value = score * epoch / 9
            file.write('{"key": "val_accuracy", "value": %r, "step": %d, "time_ms": 0}\\n'
                       % (value, epoch * 10))
            if epoch < 9 and not timed(agenda.answer, cell, Reported(epoch, 9, value)):
                record.outcome = "pruned"
    record.objective_value, record.epochs_done = score * epoch / 9, epoch
    record.save(cell.paths)
    timed(agenda.ended, cell)
    runs.append(sum(spent))
print(f"{len(quality)} trials, {1000 * runs[-1] / len(quality):.1f} ms of the controller a trial (goal 50"
      f" or less); the first half {1000 * runs[len(runs) // 2] / (len(quality) / 2):.1f} ms")
"""


def main() -> None:
    """Measures and prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=Path, help="folder with train/ and test/; else digits")
    parser.add_argument("--per-class", type=int, default=300, help="training images a class (300)")
    parser.add_argument("--seeds", type=int, default=10, help="how often all is repeated (10)")
    parser.add_argument("--rivals", type=int, default=3, help="seeds with Hydra's own sweeper (3)")
    parser.add_argument("--controller", action="store_true", help="time the controller alone")
    parser.add_argument("--trials", type=int, default=100, help="for --controller (100)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if arguments.controller:
            controller(folder, arguments.trials)
            return
        data = ["model=swagger_cifar", "data=digits", "device=cpu"]
        if arguments.images:
            root = folder / "images"
            link_images(arguments.images, root, arguments.per_class)
            data = ["model=swagger_cifar", "data=image_folder", f"data.root={root}", "device=cpu"]
        compare(data, arguments.seeds, arguments.rivals, folder)


if __name__ == "__main__":
    main()
