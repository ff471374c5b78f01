"""The program in a folder of its own, and what it has left there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from harness.forked import Forked, clean_environment

FAULTS = Path(__file__).parent / "faults"
QUICK = ["data=synthetic", "model=linear", "epochs=2"]


Process = Forked | subprocess.Popen[str]


def start(folder: Path, *arguments: str, module: str = "sweeps.train", **env: str) -> Process:
    """Starts a command in a folder, in a session of its own, from what is imported already."""
    if sys.platform != "linux":
        return start_fresh(folder, *arguments, module=module, **env)
    return Forked(module, arguments, folder, _environment(folder) | env)


def start_fresh(
    folder: Path, *arguments: str, module: str = "sweeps.train", **env: str
) -> subprocess.Popen[str]:
    """Starts a command as a person does; the new interpreter takes seconds for its imports."""
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        cwd=folder,
        env=_environment(folder) | env,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def _environment(folder: Path) -> dict[str, str]:
    return clean_environment() | {"SWEEPS_CACHE": str(folder / "cache"), "HYDRA_FULL_ERROR": "0"}


def finish(process: Process, timeout_s: float = 300) -> tuple[int, str, str]:
    """Waits for a command; returns its exit code and what it printed."""
    try:
        out, err = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        raise AssertionError(f"no end within {timeout_s} s: {out[-2000:]}{err[-2000:]}") from None
    assert process.returncode is not None
    return process.returncode, out, err


def train(folder: Path, *arguments: str, **env: str) -> tuple[int, str, str]:
    """Runs a training command to its end, see `start`."""
    return finish(start(folder, *arguments, **env))


def train_fresh(folder: Path, *arguments: str, **env: str) -> tuple[int, str, str]:
    """Runs a training command to its end, see `start_fresh`."""
    return finish(start_fresh(folder, *arguments, **env))


def break_at(folder: Path, event: str, file: str, action: str, hit: int = 1) -> dict[str, str]:
    """Returns the environment in which a command breaks at a point.

    Args:
        folder: Where the command runs.
        event: 'os.rename' or 'open'.
        file: Name of the file that is renamed to, or opened for writing.
        action: 'kill' before it, 'after' it, 'half' (kill with half of the file written), 'torn'
            (kill with half a metrics line written), or 'full' (the disk is full).
        hit: At which of the events of all processes of the command.
    """
    counter = folder / "hits"
    counter.unlink(missing_ok=True)
    fault = {"event": event, "file": file, "action": action, "hit": hit, "counter": str(counter)}
    paths = [str(FAULTS), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"PYTHONPATH": os.pathsep.join(paths), "SWEEPS_TEST_FAULT": json.dumps(fault)}


def was_hit(folder: Path) -> int:
    """Returns how often the point of the last `break_at` was reached."""
    counter = folder / "hits"
    return counter.stat().st_size if counter.exists() else 0


def points(run: Path) -> list[tuple[str, int, float]]:
    """Returns the metric points of a run folder."""
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [(p["key"], p["step"], p["value"]) for p in map(json.loads, lines)]


def client(folder: Path) -> Any:
    """Returns MLflow's own client on the default store."""
    from mlflow import MlflowClient

    return MlflowClient(f"sqlite:///{folder}/outputs/mlflow.db")


def all_runs(folder: Path) -> list[Any]:
    """Returns all runs of the default experiment."""
    store = client(folder)
    experiment = store.get_experiment_by_name("sweeps")
    return [] if experiment is None else list(store.search_runs([experiment.experiment_id]))


def assert_same_sweep(folder: Path, name: str, twin: str) -> None:
    """Compares a sweep that was broken with one that was not, in the folders and in MLflow."""
    cells, twins = (_cells(folder / "outputs/sweeps" / each) for each in (name, twin))
    assert len(cells) == len(twins) > 0
    assert cells.keys() == twins.keys()
    for cell, path in cells.items():
        mine, other = points(path), points(twins[cell])
        assert len(mine) == len(other) > 0
        assert mine == other, cell
        for file in ("model.safetensors",):
            assert (path / file).read_bytes() == (twins[cell] / file).read_bytes()
        records = [json.loads((run / "run.json").read_text()) for run in (path, twins[cell])]
        assert records[0]["status"] == "FINISHED"
        for key in ("outcome", "objective_value", "best_epoch", "metrics", "threads", "identity"):
            assert records[0][key] == records[1][key], key
    assert_mirrored(folder, name, cells)


def _cells(sweep: Path) -> dict[str, Path]:
    return {path.parent.name: path.parent for path in sweep.glob("*/run.json")}


def assert_mirrored(folder: Path, name: str, cells: dict[str, Path]) -> None:
    """Checks that MLflow holds each cell once, finished, with each point once."""
    store = client(folder)
    children = [run for run in all_runs(folder) if run.data.tags.get("sweeps.sweep") == name]
    parents = [run for run in children if "mlflow.parentRunId" not in run.data.tags]
    assert [run.info.status for run in parents] == ["FINISHED"]
    children = [run for run in children if run not in parents]
    assert Counter(run.info.status for run in children) == {"FINISHED": len(cells)}
    for run in children:
        written = points(cells[Path(run.data.tags["sweeps.folder"]).name])
        for key in {key for key, _, _ in written}:
            history = [(p.step, p.value) for p in store.get_metric_history(run.info.run_id, key)]
            expected = [(step, value) for k, step, value in written if k == key]
            assert len(history) == len(expected), (run.info.run_name, key)
            assert sorted(history) == sorted(expected)
