"""Sweeps that are killed, that crash or that meet a full disk, and end as if nothing had been."""

from __future__ import annotations

import json
import os
import signal
import time
from typing import TYPE_CHECKING

import pytest
from harness.program import (
    all_runs,
    assert_same_sweep,
    break_at,
    finish,
    points,
    start,
    start_fresh,
    train,
    was_hit,
)

if TYPE_CHECKING:
    from pathlib import Path

    from harness.program import Process

CELLS = ["-m", "optimizer=sgd,adam", "lr=0.1,0.01"]
LONG = ["data=synthetic", "data.samples=600", "model=mlp", "epochs=4", "log_every=3", "device=cpu"]
SLOW = [*LONG[:1], "data.samples=1500", "model=swagger_cifar", "epochs=4", "log_every=10"]

NAMED_POINTS = [
    ("os.rename", "mlflow.json", "kill", 1),  # the parent is in MLflow, and nothing says so
    ("os.rename", "mlflow.json", "after", 3),
    ("os.rename", "checkpoint.pt", "half", 3),
    ("os.rename", "checkpoint.pt", "kill", 2),
    ("os.rename", "checkpoint.pt", "after", 1),
    ("os.rename", "checkpoint.pt", "torn", 2),
    ("os.rename", "run.json", "kill", 2),
    ("os.rename", "run.json", "after", 1),
    ("os.rename", "sweep.json", "kill", 2),
    ("os.rename", "model.safetensors", "kill", 1),
]


def test_killed_at_named_points(tmp_path: Path) -> None:
    code, out, err = train(tmp_path, "name=twin", *CELLS, *LONG)
    assert (code, err) == (0, ""), out
    for point in NAMED_POINTS:
        event, file, action, hit = point
        env = break_at(tmp_path, event, file, action, hit)
        process = start(tmp_path, "name=cut", *CELLS, *LONG, **env)
        code, out, err = finish(process)
        if was_hit(tmp_path) >= hit:
            assert code != 0, (point, out)
        assert "Traceback" not in out + err, (point, out, err)
    code, out, err = train(tmp_path, "name=cut", *CELLS, *LONG)
    assert (code, err) == (0, ""), out
    assert_same_sweep(tmp_path, "cut", "twin")


def test_killed_while_it_trains(tmp_path: Path) -> None:
    command = ["name=cut", *CELLS, *SLOW]
    for victim in ("worker", "controller", "group"):
        process = (start_fresh if victim == "group" else start)(tmp_path, *command)
        _wait_for_points(tmp_path / "outputs/sweeps/cut", process)
        if victim == "group":
            os.killpg(process.pid, signal.SIGKILL)
        elif victim == "controller":
            process.kill()
        else:
            os.kill(_trainer(tmp_path / "outputs/sweeps/cut"), signal.SIGKILL)
        code, out, err = finish(process)
        assert code != 0
        if victim == "worker":
            assert "SIGKILL" in out + err
    assert train(tmp_path, *command)[0] == 0
    assert train(tmp_path, "name=twin", *CELLS, *SLOW)[0] == 0
    assert_same_sweep(tmp_path, "cut", "twin")


@pytest.mark.usefixtures("ready_store")
def test_a_sweep_stops_at_once_and_says_how_to_continue(tmp_path: Path) -> None:
    process = start(tmp_path, "name=cut", *CELLS, *SLOW)
    _wait_for_points(tmp_path / "outputs/sweeps/cut", process)
    asked = time.monotonic()
    process.send_signal(signal.SIGINT)
    code, out, err = finish(process)
    assert time.monotonic() - asked < 30  # 10 s on a machine that does nothing else
    assert code == 128 + signal.SIGINT
    assert "To continue: python -m sweeps.train" in out
    assert "name=cut" in out
    assert "Traceback" not in out + err
    statuses = {run.info.status for run in all_runs(tmp_path)}
    assert "KILLED" in statuses
    assert "RUNNING" not in statuses
    assert not _living(process.pid)


def test_a_second_command_is_told_who_holds_the_sweep(tmp_path: Path) -> None:
    command = ["name=held", *CELLS, *SLOW, "tracking=none"]
    process = start(tmp_path, *command)
    _wait_for_points(tmp_path / "outputs/sweeps/held", process)
    code, _, err = train(tmp_path, *command)
    assert code == 2
    assert f"is being run by process {process.pid} on" in err
    assert len(err.splitlines()) == 1
    os.killpg(process.pid, signal.SIGTERM)
    assert finish(process)[0] == 128 + signal.SIGTERM


CRASHING = """
import os, pathlib, signal, time
import torch

class Net(torch.nn.Module):
    def __init__(self, num_classes, image_size, in_channels, how, once=None):
        super().__init__()
        self.layer = torch.nn.Linear(in_channels * image_size**2, num_classes)
        self.how, self.once = how, once
        if how == "early":  # not when all runs are checked, but when this one begins
            if pathlib.Path("checked").exists():
                os._exit(9)
            pathlib.Path("checked").touch()

    def forward(self, x):
        if self.training and (self.once is None or not pathlib.Path(self.once).exists()):
            if self.once:
                pathlib.Path(self.once).touch()
            if self.how == "exit":
                os._exit(7)
            if self.how == "segfault":
                os.kill(os.getpid(), signal.SIGSEGV)
            if self.how == "hang":
                time.sleep(600)
        return self.layer(x.flatten(1))
"""


@pytest.mark.usefixtures("ready_store")
def test_crashes_are_their_own(tmp_path: Path) -> None:
    (tmp_path / "crashing.py").write_text(CRASHING)
    model = ["model=custom", "model._target_=crashing.Net", "trusted_targets=[crashing]"]
    code, out, err = train(
        tmp_path,
        *(
            "-m",
            "name=c",
            *model,
            "+model.how=exit,segfault,hang,early,none",
            "data=synthetic",
            "epochs=2",
        ),
        "timeout_s=10",
    )
    assert code == 1, out + err
    assert "4 of 5 runs failed" in err
    assert "MLflow does not take" not in out
    records = [
        json.loads(path.read_text()) for path in tmp_path.glob("outputs/sweeps/c/*/run.json")
    ]
    errors = {record["params"]["model.how"]: record["error"] for record in records}
    assert errors == {
        "exit": "process ended with exit code 7",
        "segfault": "process ended with SIGSEGV (signal 11)",
        "hang": "took longer than timeout_s=10",
        "early": "process ended with exit code 9",
        "none": None,
    }
    assert sorted(run.info.status for run in all_runs(tmp_path)) == ["FAILED"] * 5 + ["FINISHED"]


def test_a_crash_is_tried_again(tmp_path: Path) -> None:
    (tmp_path / "crashing.py").write_text(CRASHING)
    model = ["model=custom", "model._target_=crashing.Net", "trusted_targets=[crashing]"]
    model += ["+model.how=exit", f"+model.once={tmp_path}/crashed"]
    command = ["-m", "name=r", *model, "data=synthetic", "epochs=2", "seed=0,1"]
    code, out, err = train(tmp_path, *command, "retries=1", "workers=1", "tracking=none")
    assert (code, err) == (0, ""), out
    assert "exit code 7" in out


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, int, float]]:
    """The points of a run that always had space."""
    folder = tmp_path_factory.mktemp("whole")
    assert train(folder, "name=whole", "tracking=none", *LONG)[0] == 0
    return points(folder / "outputs/runs/whole")


@pytest.mark.parametrize(
    ("event", "file", "hit"),
    [
        ("os.rename", "checkpoint.pt", 2),
        ("os.rename", "run.json", 2),
        ("open", "metrics.jsonl", 1),
        ("os.rename", "model.safetensors", 1),
    ],
)
def test_a_full_disk_is_one_message_and_the_run_continues(
    event: str, file: str, hit: int, whole: list[tuple[str, int, float]], tmp_path: Path
) -> None:
    command = ["name=full", "tracking=none", *LONG]
    code, out, err = train(tmp_path, *command, **break_at(tmp_path, event, file, "full", hit))
    assert was_hit(tmp_path) >= hit
    assert code in (1, 2), out + err
    assert "No space left on device" in err
    assert "Traceback" not in out + err
    assert len(err.splitlines()) == 1
    assert train(tmp_path, *command)[0] == 0
    continued = points(tmp_path / "outputs/runs/full")
    assert len(continued) == len(whole) > 0
    assert continued == whole


def _wait_for_points(sweep: Path, process: Process) -> None:
    """Waits until a cell has a new checkpoint and goes on."""
    started = time.time()
    deadline = time.monotonic() + 180
    while not any(path.stat().st_mtime > started for path in sweep.glob("*/checkpoint.pt")):
        assert time.monotonic() < deadline
        assert process.poll() is None, finish(process)
        time.sleep(0.05)


def _trainer(sweep: Path) -> int:
    """Returns the process that trains the cell which has just begun."""
    running = [
        path.parent
        for path in sweep.glob("*/run.json")
        if json.loads(path.read_text())["status"] == "RUNNING"
    ]
    newest = max(running, key=lambda folder: (folder / "run.json").stat().st_mtime)
    return int((newest / ".lock").read_text().split()[1])


def _living(session: int) -> list[int]:
    import psutil

    found = []
    for process in psutil.process_iter(["pid"]):
        try:
            if os.getpgid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except (ProcessLookupError, psutil.Error):
            continue
    return found
