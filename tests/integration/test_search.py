"""Searches end to end: proposals, early stopping across processes, kills, MLflow, and what is refused."""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from harness.program import all_runs, break_at, finish, points, start, train, was_hit

if TYPE_CHECKING:
    from pathlib import Path

    from harness.program import Process

RUNS = [
    "data=synthetic",
    "data.samples=600",
    "data.noise=3",
    "model=mlp",
    "epochs=9",
    "log_every=3",
]
SEARCH = ["-m", "hydra/sweeper=search", *RUNS, "optimizer=sgd,adam"]
RATES = "lr=tag(log, interval(1e-4, 1))"

BROKEN = [
    ("os.rename", "trial.json", "kill", 1),  # chosen, and nothing says so
    ("os.rename", "trial.json", "after", 2),  # chosen, and not started
    ("os.rename", "trial.json", "after", 5),  # judged, and the run has not heard of it
    ("os.rename", "checkpoint.pt", "kill", 2),
    ("os.rename", "run.json", "kill", 3),
    ("os.rename", "run.json", "after", 4),
]


def trials(folder: Path, name: str) -> dict[int, dict[str, Any]]:
    """Returns the trials of a search by number, each with its run's record and points."""
    found = {}
    for file in (folder / "outputs/sweeps" / name).glob("*/trial.json"):
        trial = json.loads(file.read_text())
        assert trial["number"] not in found
        record = json.loads((file.parent / "run.json").read_text())
        found[trial["number"]] = trial | {"record": record, "points": points(file.parent)}
    return found


@pytest.mark.usefixtures("ready_store")
def wait_for_checkpoint(folder: Path, process: Process) -> None:
    """Waits until a run of the sweep 's' has one."""
    deadline = time.monotonic() + 120
    while not list(folder.glob("outputs/sweeps/s/*/checkpoint.pt")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_asha_is_the_same_however_often_it_is_killed(tmp_path: Path) -> None:
    command = [*SEARCH, RATES, "search=asha", "trials=7", "workers=1", "retries=1"]
    code, out, err = train(tmp_path, "name=twin", *command)
    assert (code, err) == (0, ""), out
    assert "Sweep of 7 trials in" in out
    hits = 0
    for event, file, action, hit in BROKEN:
        env = break_at(tmp_path, event, file, action, hit)
        code, out, err = finish(start(tmp_path, "name=cut", *command, **env))
        assert "Traceback" not in out + err, (file, action, hit, out, err)
        hits += was_hit(tmp_path) >= hit
    assert hits >= 4
    code, out, err = train(tmp_path, "name=cut", *command)
    assert (code, err) == (0, ""), out

    twin, cut = trials(tmp_path, "twin"), trials(tmp_path, "cut")
    assert cut.keys() == twin.keys() == set(range(7))
    for number, trial in twin.items():
        other = cut[number]
        assert other["chosen"] == trial["chosen"]
        assert len(other["points"]) == len(trial["points"]) > 0
        assert other["points"] == trial["points"]
        for key in ("outcome", "status", "objective_value", "epochs_done"):
            assert other["record"][key] == trial["record"][key], (number, key)
    outcomes = Counter(trial["record"]["outcome"] for trial in twin.values())
    assert outcomes["pruned"] >= 4
    assert outcomes["finished"] >= 1

    children = [run for run in all_runs(tmp_path) if "mlflow.parentRunId" in run.data.tags]
    mine = [run.data.tags for run in children if run.data.tags["sweeps.sweep"] == "cut"]
    assert {run.info.status for run in children} == {"FINISHED"}
    assert sorted(int(tags["sweeps.trial"]) for tags in mine) == list(range(7))
    stopped = [tags for tags in mine if tags["sweeps.outcome"] == "pruned"]
    assert len(stopped) == outcomes["pruned"]
    assert all(tags["sweeps.reason"].startswith("rung ") for tags in stopped)

    # More trials extend it, and a finished search is not run again.
    before = {number: trial["record"] for number, trial in cut.items()}
    more = [*SEARCH, RATES, "search=random", "trials=8", "workers=1", "name=cut"]
    code, out, err = train(tmp_path, *more)
    assert (code, err) == (0, ""), out
    assert "Sweep of 8 trials (7 known) in" in out
    after = trials(tmp_path, "cut")
    assert {n: after[n]["record"] for n in before if before[n]["outcome"] == "finished"} == {
        n: r for n, r in before.items() if r["outcome"] == "finished"
    }
    assert len(after) == 8


def test_a_grid_is_halved_by_two_workers_through_kills(tmp_path: Path) -> None:
    command = ["name=s", *SEARCH, "search=halving", "lr=1,0.1,0.01,0.001", "workers=2"]
    code, out, err = train(tmp_path, *command, "plan=true")
    assert (code, err) == (0, "")
    assert "8 runs: 8 new. Nothing was started." in out
    assert not (tmp_path / "outputs").exists()
    for victim in ("group", "controller"):
        process = start(tmp_path, *command)
        wait_for_checkpoint(tmp_path, process)
        time.sleep(0.5)
        if victim == "group":
            os.killpg(process.pid, signal.SIGKILL)
        else:
            os.kill(process.pid, signal.SIGKILL)
        finish(process)
    code, out, err = train(tmp_path, *command)
    assert (code, err) == (0, ""), out
    found = trials(tmp_path, "s")
    assert found.keys() == set(range(8))
    # 8 to epoch 1, the best 2 of them to epoch 3, the best of those to 9.
    epochs = sorted(trial["record"]["epochs_done"] for trial in found.values())
    assert epochs == [1, 1, 1, 1, 1, 1, 3, 9]
    statuses = {run.info.status for run in all_runs(tmp_path)}
    assert statuses == {"FINISHED"}

    # The whole grid afterwards continues what was stopped.
    grid = ["name=s", "-m", *RUNS, "optimizer=sgd,adam", "lr=1,0.1,0.01,0.001", "workers=2"]
    code, out, err = train(tmp_path, *grid)
    assert (code, err) == (0, ""), out
    assert "Sweep of 8 runs (7 to run, 7 of them continued) in" in out
    outcomes = {trial["record"]["outcome"] for trial in trials(tmp_path, "s").values()}
    assert outcomes <= {"finished", "diverged"}


@pytest.mark.usefixtures("ready_store")
def test_ctrl_c_keeps_what_was_trained(tmp_path: Path) -> None:
    command = ["name=s", *SEARCH, RATES, "search=asha", "trials=6", "workers=2", "epochs=27"]
    command += ["data.samples=3000", "model=swagger_cifar"]
    process = start(tmp_path, *command)
    wait_for_checkpoint(tmp_path, process)
    os.kill(process.pid, signal.SIGINT)
    code, out, err = finish(process)
    assert code == 128 + signal.SIGINT, out + err
    assert "To continue: python -m sweeps.train" in out
    assert "Traceback" not in out + err
    records = [trial["record"] for trial in trials(tmp_path, "s").values()]
    assert {record["status"] for record in records} <= {"FINISHED", "KILLED"}
    assert "RUNNING" not in {run.info.status for run in all_runs(tmp_path)}


def test_other_launchers_search_without_stopping(tmp_path: Path) -> None:
    command = [*SEARCH, RATES, "search=asha", "trials=3", "hydra/launcher=basic", "name=s"]
    code, out, err = train(tmp_path, *command, "epochs=3")
    assert code == 0, out + err
    assert "Only hydra/launcher=local can stop a run early: each trial is trained whole." in out
    found = trials(tmp_path, "s")
    assert [found[n]["record"]["epochs_done"] for n in range(3)] == [3, 3, 3]


@pytest.mark.usefixtures("ready_store")
def test_a_failed_trial_is_one_of_the_trials_and_is_run_again(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import os\nfrom sweeps.training.models import Linear\n\nclass Net(Linear):\n"
        "    def forward(self, x):\n"
        "        if self.training and os.path.exists('broken'):\n"
        "            raise RuntimeError('broken')\n"
        "        return super().forward(x)\n"
    )
    (tmp_path / "broken").touch()
    command = ["-m", "hydra/sweeper=search", "name=s", "trials=2", RATES, "data=synthetic"]
    command += ["epochs=1", "model=custom", "model._target_=mine.Net", "trusted_targets=[mine]"]
    code, out, err = train(tmp_path, *command)
    assert code == 1
    assert "2 of 2 runs failed" in err
    (tmp_path / "broken").unlink()
    code, out, err = train(tmp_path, *command)
    assert (code, err) == (0, ""), out
    assert len(trials(tmp_path, "s")) == 2


def test_a_stopped_run_that_cannot_go_on_has_failed(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import os\nfrom pathlib import Path\nfrom sweeps.training.models import Linear\n\n"
        "class Net(Linear):\n"
        "    def __init__(self, in_channels, image_size, num_classes):\n"
        "        super().__init__(in_channels, image_size, num_classes)\n"
        "        if Path('broken').exists():\n"
        "            if Path('checked').exists():\n"
        "                os._exit(9)\n"
        "            Path('checked').touch()\n"
    )
    command = ["-m", "name=s", "data=synthetic", "epochs=4", "lr=0.1,0.01,1e-7", "tracking=none"]
    command += ["model=custom", "model._target_=mine.Net", "trusted_targets=[mine]", "workers=1"]
    search = ["hydra/sweeper=search", "search=halving", "search.factor=2"]
    code, out, err = train(tmp_path, *command, *search)
    assert (code, err) == (0, ""), out
    assert "pruned" in {t["record"]["outcome"] for t in trials(tmp_path, "s").values()}
    (tmp_path / "broken").touch()
    code, out, err = train(tmp_path, *command)
    assert code == 1, out
    assert "process ended with exit code 9" in out
    (tmp_path / "broken").unlink()
    code, out, err = train(tmp_path, *command)
    assert (code, err) == (0, ""), out
    assert {t["record"]["epochs_done"] for t in trials(tmp_path, "s").values()} == {4}
