"""How long a comparison of 2,000 runs with 200 points a key takes, from folders and from SQLite.

python benchmarks/compare.py [RUNS] [POINTS]
"""

from __future__ import annotations

import json
import math
import os
import random
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

from sweeps.runs.outcome import Outcome
from sweeps.runs.paths import RunPaths, SweepPaths
from sweeps.runs.record import RunRecord, SweepRecord

KEYS = ("val_accuracy", "val_loss", "train_loss", "lr")
START_MS = 1_700_000_000_000


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    points = int(sys.argv[2]) if len(sys.argv) > 2 else 200
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "outputs"
        records = make_folders(output / "sweeps" / "big", runs, points)
        make_store(output / "mlflow.db", records, points)
        megabytes = (output / "mlflow.db").stat().st_size / 1e6
        print(f"{runs} runs, {len(KEYS)} keys, {points} points a key; mlflow.db {megabytes:.0f} MB")
        print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}, whole processes")
        html = ["--html", str(Path(folder) / "report.html")]
        for name, arguments in (
            ("folders", ["big"]),
            ("folders, with the report", ["big", *html]),
            ("SQLite", ["--experiment", "sweeps"]),
            ("SQLite, with the report", ["--experiment", "sweeps", *html]),
        ):
            wall, cpu = seconds(arguments, folder)
            print(f"{name:26} {wall:6.1f} s, {cpu:6.1f} s of CPU")


def seconds(arguments: list[str], folder: str) -> tuple[float, float]:
    started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "sweeps.compare", *arguments]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - started, cpu


def make_folders(folder: Path, runs: int, points: int) -> list[RunRecord]:
    chance = random.Random(0)
    folder.mkdir(parents=True)
    command = "python -m sweeps.train -m optimizer=sgd,adam lr=... batch_size=32,64,128 seed=..."
    sweep = SweepRecord(
        key="s", name="big", status="FINISHED", objective="val_accuracy", started_ms=START_MS
    )
    sweep.command, sweep.cells = command, runs
    sweep.save(SweepPaths(folder))
    records = []
    for number in range(runs):
        optimizer, batch = ("sgd", "adam")[number % 2], (32, 64, 128)[number // 2 % 3]
        lr = float(f"{10 ** (-4 + number // 6 % 20 / 5):.2g}")
        seed = number // 120
        best = 0.9 - 0.1 * abs(math.log10(lr) + 2) + chance.gauss(0, 0.01)
        paths = RunPaths(folder / f"cell{number}")
        paths.folder.mkdir()
        record = RunRecord(
            key=uuid.UUID(int=number + 1).hex,
            identity=f"{number:064x}",
            name=f"batch_size={batch},lr={lr},optimizer={optimizer},seed={seed}",
            status="FINISHED",
            objective="val_accuracy",
            started_ms=START_MS,
            outcome=Outcome.FINISHED,
            objective_value=best,
            best_epoch=points,
            epochs_done=points,
            metrics={"val_accuracy": best, "test_accuracy": best - 0.01},
            ended_ms=START_MS + points * 1000,
            seconds=float(points),
            overrides=[f"optimizer={optimizer}", f"lr={lr}", f"batch_size={batch}", f"seed={seed}"],
            choices={"optimizer": optimizer, "data": "digits"},
            params={"lr": lr, "batch_size": batch, "seed": seed, "objective": "val_accuracy"},
            dataset={"name": "digits", "digest": "d", "train": 1294, "val": 144, "test": 359},
        )
        record.save(paths)
        lines = [
            json.dumps({"key": key, "value": value(best, i, points, key), "step": i, "time_ms": ms})
            for i in range(1, points + 1)
            for ms in [START_MS + i * 1000]
            for key in KEYS
        ]
        paths.metrics.write_text("\n".join(lines) + "\n")
        records.append(record)
    return records


def value(best: float, step: int, points: int, key: str) -> float:
    return best * step / points if key == "val_accuracy" else 2 - best * step / points


def make_store(database: Path, records: list[RunRecord], points: int) -> None:
    """Fills the tables directly: through its client MLflow takes minutes."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{database}")
    experiment = client.create_experiment("sweeps")
    model = client.create_run(experiment, start_time=START_MS).info.run_id
    with sqlite3.connect(database) as connection:
        connection.row_factory = sqlite3.Row
        row = dict(connection.execute("select * from runs where run_uuid = ?", (model,)).fetchone())
        connection.execute("update runs set lifecycle_stage = 'deleted'")
        for record in records:
            insert_run(connection, row, record, points)


def insert_run(
    connection: sqlite3.Connection, row: dict[str, object], record: RunRecord, points: int
) -> None:
    own: dict[str, object] = {"run_uuid": record.key, "name": record.name, "status": "FINISHED"}
    own |= {"start_time": record.started_ms, "end_time": record.ended_ms}
    insert(connection, "runs", [row | own])
    params = {**record.params, **record.choices}
    words: list[dict[str, object]] = [
        {"key": k, "value": str(v), "run_uuid": record.key} for k, v in params.items()
    ]
    insert(connection, "params", words)
    tags = {"sweeps.key": record.key, "sweeps.identity": record.identity}
    tags |= {"sweeps.outcome": "finished", "sweeps.sweep": "big", "mlflow.runName": record.name}
    labels: list[dict[str, object]] = [
        {"key": k, "value": v, "run_uuid": record.key} for k, v in tags.items()
    ]
    insert(connection, "tags", labels)
    last = {"run_uuid": record.key, "is_nan": 0, "step": points, "timestamp": record.ended_ms}
    found = {**record.metrics, "best_val_accuracy": record.objective_value}
    latest = [last | {"key": k, "value": v} for k, v in found.items()]
    insert(connection, "latest_metrics", latest)
    best = record.objective_value or 0.0
    history = [
        last | {"key": k, "value": value(best, i, points, k), "step": i, "timestamp": START_MS + i}
        for i in range(1, points + 1)
        for k in KEYS
    ]
    insert(connection, "metrics", history)


def insert(connection: sqlite3.Connection, table: str, rows: list[dict[str, object]]) -> None:
    names = list(rows[0])
    marks = ", ".join("?" * len(names))
    statement = f"insert into {table} ({', '.join(names)}) values ({marks})"
    connection.executemany(statement, [[row[name] for name in names] for row in rows])


if __name__ == "__main__":
    main()
