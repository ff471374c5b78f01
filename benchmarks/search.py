"""What early stopping saves, what it misses, and what deciding costs.

    python benchmarks/search.py                                    # digits, 10 seeds
    python benchmarks/search.py --images FOLDER --per-class 300 --seeds 1 --rivals 1
    python benchmarks/search.py --controller                       # cost of deciding, no training

27 settings, optimizer=sgd,sgd_momentum,adam x nine rates in an order shuffled by the seed, 9 epochs each,
of the notes' CNN; 30 % of the training images are for validation, so that one image is less than half a
point. Four ways to find the best, each with tracking on and two runs at once where it can:

    grid    python -m sweeps.train -m ...: all 27, trained whole
    asha    the same with hydra/sweeper=search search=asha
    hydra   the same grid with Hydra's own sweeper and launcher, one after another with all cores (--rivals
            seeds)
    ray     the same grid as trials of Ray Tune with its ASHAScheduler, each our own trainer and nothing
            around it, with Ray's MLflow callback and its workers reused (--rivals seeds, where Ray is
            installed)

Epochs are those that were trained. The winner is compared by the objective, the validation accuracy at
its best epoch, in points. Time to target is from the start of the command to the first evaluation that
comes within one point of the grid's best.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import random
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arms import child, link_images, parser_of

from sweeps.runs.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from sweeps.launchers.channel import Decision, Reported
    from sweeps.sweep.cell import Cell
    from sweeps.sweep.strategy import Strategy

OPTIMIZERS = ("sgd", "sgd_momentum", "adam")
RATES = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0003, 0.0001)
EPOCHS = 9
ARMS = {
    "grid": ("workers=2",),
    "asha": ("hydra/sweeper=search", "search=asha", "workers=2"),
    "hydra": ("hydra/sweeper=basic", "hydra/launcher=basic"),
}
AT_ONCE = 2
GOALS = {
    "epochs, asha / grid": "0.35 or less",
    "to target, asha / hydra": "0.35 or less",
    "to target, asha / ray": "0.7 or less",
}


def rates(seed: int) -> list[float]:
    """Returns the rates in an order that must not favour one."""
    return random.Random(seed).sample(RATES, len(RATES))


def training(seed: int, data: list[str]) -> list[str]:
    """Returns what all settings share, as overrides."""
    return [*data, f"epochs={EPOCHS}", f"seed={seed}", "data.val_fraction=0.3"]


def measure(arm: str, seed: int, data: list[str], folder: Path) -> dict[str, Any]:
    """Runs one arm; returns its epochs, its best, and when each evaluation came."""
    if arm == "ray":
        return measure_ray(seed, data, folder)
    name = f"{arm}-{seed}"
    started = time.time()
    typed = [f"name={name}", *ARMS[arm], *training(seed, data)]
    typed += [f"optimizer={','.join(OPTIMIZERS)}", f"lr={','.join(map(str, rates(seed)))}"]
    typed += [f"search.seed={seed}"] if arm == "asha" else []
    child(["-m", "sweeps.train", "-m", *typed], folder)
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
        "seconds": seconds,
        "evaluations": sorted(evaluations),
    }


def measure_ray(seed: int, data: list[str], folder: Path) -> dict[str, Any]:
    """Runs the arm of Ray Tune in a process of its own."""
    started = time.time()
    own = [str(Path(__file__).resolve()), "--seeds", str(seed), "--ray", *training(seed, data)]
    printed = child(own, folder)
    seconds = time.time() - started
    trials = json.loads(printed.splitlines()[-1])
    whole = [trial["values"] for trial in trials if len(trial["values"]) == EPOCHS]
    evaluations = [
        (at - started, value)
        for trial in trials
        for at, value in zip(trial["times"], trial["values"], strict=True)
    ]
    return {
        "runs": len(trials),
        "epochs": len(evaluations),
        "best": max(map(max, whole)),
        "seconds": seconds,
        "evaluations": sorted(evaluations),
    }


def run_ray(seed: int, typed: list[str]) -> None:
    """Searches with Ray Tune's ASHA over our own trainer; prints the evaluations of each trial."""
    import ray
    from hydra import compose, initialize_config_dir
    from ray import tune
    from ray.air.integrations.mlflow import MLflowLoggerCallback
    from ray.tune.schedulers import ASHAScheduler

    from sweeps.config import parse
    from sweeps.config.locations import conf_dir
    from sweeps.config.resolvers import prepare_hydra

    prepare_hydra()
    configs = {}
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        for optimizer in OPTIMIZERS:
            for rate in RATES:
                chosen = [*typed, f"optimizer={optimizer}", f"lr={rate}"]
                configs[optimizer, rate] = parse(compose("config", chosen))

    def trial(chosen: dict[str, Any]) -> None:
        import torch

        from sweeps.runs.build import build_trainer

        torch.set_num_threads(1)
        trainer, _ = build_trainer(configs[chosen["optimizer"], chosen["lr"]])
        for report in trainer.run():
            if report.epoch_done or trainer.diverged:
                value = report.metrics.get("val_accuracy", math.nan)
                tune.report({"val_accuracy": value if math.isfinite(value) else 0.0})

    ray.init(num_cpus=AT_ONCE, include_dashboard=False)
    scheduler = ASHAScheduler(max_t=EPOCHS, grace_period=1, reduction_factor=3)
    callback = MLflowLoggerCallback(
        tracking_uri=f"sqlite:///{Path.cwd()}/ray.db", experiment_name=f"ray-{seed}"
    )
    tuner = tune.Tuner(
        tune.with_resources(trial, {"cpu": 1}),
        param_space={
            "optimizer": tune.grid_search(list(OPTIMIZERS)),
            "lr": tune.grid_search(rates(seed)),
        },
        tune_config=tune.TuneConfig(
            scheduler=scheduler, metric="val_accuracy", mode="max", reuse_actors=True
        ),
        run_config=tune.RunConfig(storage_path=str(Path.cwd() / "ray"), callbacks=[callback]),
    )
    frames = [result.metrics_dataframe for result in tuner.fit()]
    assert all(frame is not None for frame in frames)
    print(
        json.dumps(
            [
                {"times": list(f["timestamp"]), "values": list(f["val_accuracy"])}
                for f in frames
                if f is not None
            ],
            default=float,
        )
    )


def time_to(result: dict[str, Any], target: float) -> float:
    """Returns the seconds until an evaluation reached the target; all of them where none did."""
    reached: float = next(
        (at for at, value in result["evaluations"] if value >= target), result["seconds"]
    )
    return reached


def compare(data: list[str], seeds: int, rivals: int, folder: Path) -> None:
    """Runs the arms in turn, seed by seed, and prints what came out."""
    child(["-m", "sweeps.train", *data, "epochs=1", "name=warm"], folder)  # database, cache
    against = ["hydra", *(["ray"] if importlib.util.find_spec("ray") else [])]
    if "ray" not in against:
        print("ray is left out: Ray is not installed")
    head = f"{'seed':>4}{'arm':>7}{'epochs':>8}{'ratio':>7}{'points behind':>15}{'seconds':>9}{'ratio':>7}"
    print(f"{head}{'to target':>11}{'asha / it':>11}")
    ratios: dict[str, list[float]] = {}
    behind = []
    for seed in range(seeds):
        arms = ["grid", "asha", *(against if seed < rivals else [])]
        found = {arm: measure(arm, seed, data, folder) for arm in arms[:: 1 if seed % 2 else -1]}
        grid, asha = found["grid"], found["asha"]
        target = grid["best"] - 0.01
        behind.append(100 * (grid["best"] - asha["best"]))
        for arm in arms:
            result = found[arm]
            assert result["runs"] == len(OPTIMIZERS) * len(RATES), f"{arm}: {result['runs']} runs"
            row = {
                f"epochs, {arm} / grid": result["epochs"] / grid["epochs"],
                f"seconds, {arm} / grid": result["seconds"] / grid["seconds"],
                f"to target, asha / {arm}": time_to(asha, target) / time_to(result, target),
            }
            for key, value in row.items():
                ratios.setdefault(key, []).append(value)
            epochs, seconds, reached = row.values()
            print(
                f"{seed:>4}{arm:>7}{result['epochs']:>8}{epochs:>7.2f}"
                f"{100 * (grid['best'] - result['best']):>15.2f}{result['seconds']:>9.1f}"
                f"{seconds:>7.2f}{time_to(result, target):>11.1f}{reached:>11.2f}",
                flush=True,
            )
    for key, values in ratios.items():
        if set(values) != {1.0}:  # an arm against itself
            goal = f"; goal {GOALS[key]}" if key in GOALS else ""
            print(
                f"{key}: {statistics.median(values):.2f}"
                f" ({min(values):.2f} to {max(values):.2f}, n={len(values)}{goal})"
            )
    near = sum(points <= 0.5 for points in behind)
    print(f"asha's winner within 0.5 points of the grid's: {near} of {seeds} (goal 9 of 10)")


def controller(folder: Path, trials: int) -> None:
    """Times what the controller does for each trial: propose, compose, judge, write down.

    The runs are played: each writes the points and the record of one that learned at a random pace.
    """
    search = search_of(
        "hydra/sweeper=search",
        *("search=asha", f"trials={trials}", f"epochs={EPOCHS}", "optimizer=sgd,adam"),
        *("lr=tag(log, interval(1e-4, 1))", "name=controller", f"output_dir={folder}"),
    )
    chance = random.Random(0)
    pace: dict[Path, float] = {}
    spent: list[float] = []
    after_run: list[float] = []

    def timed(function: Callable[..., Any], *arguments: Any) -> Any:
        started = time.perf_counter()
        answer = function(*arguments)
        spent.append(time.perf_counter() - started)
        return answer

    def tell(cell: Cell) -> None:
        cell.load()
        search.tell(cell)

    while (cell := timed(search.ask)) is not None:
        play(cell, pace.setdefault(cell.folder, chance.random()), partial(timed, search.report))
        timed(tell, cell)
        after_run.append(sum(spent))
    whole, half = after_run[-1] / len(pace), after_run[len(after_run) // 2] / (len(pace) / 2)
    print(
        f"{len(pace)} trials, {1000 * whole:.1f} ms of the controller a trial (goal 50 or less);"
        f" the first half {1000 * half:.1f} ms"
    )


def play(cell: Cell, pace: float, report: Callable[[Cell, Reported], Decision]) -> None:
    """Writes what a run would write, until it is whole or told to stop."""
    from sweeps.config import identity
    from sweeps.launchers.channel import Reported
    from sweeps.runs.record import RunRecord

    record = RunRecord(
        key=cell.folder.name,
        identity=identity(cell.config),
        name=cell.name,
        status="FINISHED",
        objective="val_accuracy",
        started_ms=0,
        epochs=EPOCHS,
        steps=10 * EPOCHS,
        outcome=Outcome.FINISHED,
    )
    known = cell.load()
    epoch = known.epochs_done if known else 0
    with cell.paths.metrics.open("a") as file:
        while record.outcome == "finished" and epoch < EPOCHS:
            epoch += 1
            value = pace * epoch / EPOCHS
            point = {"key": "val_accuracy", "value": value, "step": 10 * epoch, "time_ms": 0}
            file.write(f"{json.dumps(point)}\n")
            if epoch < EPOCHS and report(cell, Reported(epoch, EPOCHS, value)) == "stop":
                record.outcome = Outcome.PRUNED
    record.objective_value, record.epochs_done = pace * epoch / EPOCHS, epoch
    record.save(cell.paths)


def search_of(*typed: str) -> Strategy:
    """Returns what a command would run, as Hydra hands it to our sweeper."""
    from hydra._internal.callbacks import Callbacks
    from hydra._internal.config_loader_impl import ConfigLoaderImpl
    from hydra._internal.utils import create_config_search_path
    from hydra.types import HydraContext, RunMode

    from sweeps.config.composition import composing
    from sweeps.config.locations import conf_dir
    from sweeps.config.resolvers import prepare_hydra
    from sweeps.launchers.local.pool import Pool
    from sweeps.sweep.controller import strategy_for

    prepare_hydra()
    loader = ConfigLoaderImpl(create_config_search_path(str(conf_dir())))
    master = loader.load_configuration("config", list(typed), RunMode.MULTIRUN)
    context = composing(HydraContext(loader, Callbacks(master)))
    words = [word for word in typed if not word.startswith("hydra/")]
    return strategy_for(
        words, searching=True, launcher=Pool(), hydra_context=context, master=master
    )


def main() -> None:
    """Measures and prints the table."""
    parser = parser_of(__doc__)
    parser.add_argument("--images", type=Path, help="folder with train/ and test/; else digits")
    parser.add_argument("--per-class", type=int, default=300, help="training images a class (300)")
    parser.add_argument("--seeds", type=int, default=10, help="how often all is repeated (10)")
    parser.add_argument("--rivals", type=int, default=3, help="seeds with hydra and ray (3)")
    parser.add_argument("--controller", action="store_true", help="time the controller alone")
    parser.add_argument("--trials", type=int, default=100, help="for --controller (100)")
    parser.add_argument("--ray", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.ray:
        run_ray(arguments.seeds, arguments.ray)
        return
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
