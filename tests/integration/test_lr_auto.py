"""lr=auto as it is typed: range tests, then the cells around their picks, all in MLflow."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from harness.program import QUICK, all_runs, client, finish, points, start, train

if TYPE_CHECKING:
    from pathlib import Path

COMMAND = ["-m", "name=s", *QUICK, "optimizer=sgd,adam", "workers=2", "lr=around(auto, 3)"]


def test_a_sweep_around_the_picks_of_range_tests(tmp_path: Path) -> None:
    code, out, err = train(tmp_path, *COMMAND, "plan=true")
    assert (code, out) == (2, "")
    assert "lr=auto is not known yet" in err
    assert not (tmp_path / "outputs").exists()

    code, out, err = train(tmp_path, *COMMAND)
    assert (code, err) == (0, "")
    sweep = tmp_path / "outputs/sweeps/s"
    tests = {
        path.parent.name.split("optimizer=")[1].split(",")[0]: path.parent
        for path in sweep.glob("range_tests/*/run.json")
    }
    assert sorted(tests) == ["adam", "sgd"]
    picks = {
        name: json.loads((folder / "suggested_lr.json").read_text())["lr"]
        for name, folder in tests.items()
    }
    for name, pick in picks.items():
        assert f"Range test for optimizer={name}: lr {pick:g} (from short trainings at " in out
    assert "Sweep of 6 runs in outputs/sweeps/s" in out
    cells = [json.loads(path.read_text()) for path in sweep.glob("*/run.json")]
    rates = {
        name: sorted(c["params"]["lr"] for c in cells if c["choices"]["optimizer"] == name)
        for name in picks
    }
    for name, pick in picks.items():
        assert rates[name] == pytest.approx([pick / 10**0.5, pick, pick * 10**0.5], rel=0.05)

    runs = all_runs(tmp_path)
    parent = next(run for run in runs if "mlflow.parentRunId" not in run.data.tags)
    assert len(runs) == 9
    below = [r for r in runs if r.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    mirrored = [run for run in below if "sweeps.range_test" in run.data.tags]
    assert (len(below), len(mirrored)) == (8, 2)
    assert all("sweeps.sweep" not in run.data.tags for run in mirrored)
    for run in mirrored:
        name = run.data.params["optimizer"]
        assert run.info.status == "FINISHED"
        assert run.data.metrics["suggested_lr"] == picks[name]
        for key in ("lr", "train_loss"):
            history = client(tmp_path).get_metric_history(run.info.run_id, key)
            written = [(step, value) for k, step, value in points(tests[name]) if k == key]
            assert len(history) == len(written) > 5
            assert sorted((p.step, p.value) for p in history) == written

    code, out, err = train(tmp_path, *COMMAND)
    assert (code, err) == (0, "")
    assert "Sweep of 6 runs (0 to run)" in out
    assert len(all_runs(tmp_path)) == 9
    command = start(tmp_path, "--experiment", "sweeps", "--json", module="sweeps.compare")
    code, out, err = finish(command)
    assert (code, err) == (0, "")
    assert len(json.loads(out)["ranking"]) == 6


@pytest.mark.usefixtures("ready_store")
def test_a_single_run_at_its_pick(tmp_path: Path) -> None:
    code, out, err = train(tmp_path, "name=one", *QUICK, "lr=auto")
    assert (code, err) == (0, "")
    assert "Range test for data=synthetic model=linear: lr " in out
    run = tmp_path / "outputs/runs/one"
    pick = json.loads(next(run.glob("range_tests/*/suggested_lr.json")).read_text())["lr"]
    record = json.loads((run / "run.json").read_text())
    assert record["params"]["lr"] == pick
    assert f"lr={pick:g}" in record["overrides"]
    assert f"lr: {pick}" in (run / ".hydra/config.yaml").read_text()
    mine, test = sorted(all_runs(tmp_path), key=lambda r: "sweeps.range_test" in r.data.tags)
    assert test.data.tags["mlflow.parentRunId"] == mine.info.run_id
    assert test.data.metrics["suggested_lr"] == pick


@pytest.mark.usefixtures("ready_store")
def test_a_range_test_that_cannot_run_leaves_nothing(tmp_path: Path) -> None:
    bad = ["batch_size=100000", "lr=auto", *QUICK]
    for arguments in (bad, ["-m", "optimizer=sgd,adam", *bad]):
        code, out, err = train(tmp_path, *arguments)
        assert code == 2, out
        assert "batch_size=100000 is larger than" in err
        assert len(err.splitlines()) == 1
        assert not list(tmp_path.glob("outputs/*s/*"))
