"""The same command again: what is done is kept, what is missing is trained, what changed is named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from harness.program import QUICK, all_runs, client, finish, points, start, train

from sweeps.runs.metrics import read_points
from sweeps.runs.paths import RunPaths, SweepPaths
from sweeps.runs.record import RunRecord

COMMAND = ["-m", "name=s", *QUICK, "workers=2"]


def records(folder: Path) -> dict[str, RunRecord]:
    cells = SweepPaths(folder / "outputs/sweeps/s").cells()
    return {cell.folder.name: record for cell in cells if (record := RunRecord.load(cell))}


def listing(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_plan_extend_duplicates_and_reuse(tmp_path: Path) -> None:
    code, out, err = train(tmp_path, *COMMAND, "lr=0.1,0.01", "plan=true")
    assert (code, err) == (0, "")
    assert "2 runs: 2 new. Nothing was started." in out
    assert not (tmp_path / "outputs").exists()

    code, out, err = train(tmp_path, *COMMAND, "lr=0.1,0.1,0.01")
    assert (code, err) == (0, "")
    assert "Sweep of 2 runs (1 duplicate)" in out
    first = records(tmp_path)
    assert len(first) == 2

    before = listing(tmp_path / "outputs")
    code, out, err = train(tmp_path, *COMMAND, "lr=0.1,0.1,0.01,0.001", "plan=true")
    assert (code, err) == (0, "")
    assert "4 runs: 2 done, 1 duplicate, 1 new." in out
    assert "by the mean of 2 finished runs, 1 at once" in out
    assert listing(tmp_path / "outputs") == before

    # The same cells in other words, with a default spelled out, and one new.
    code, out, err = train(tmp_path, *COMMAND, "seed=0", "lr=0.01,0.1,0.001")
    assert (code, err) == (0, "")
    assert "Sweep of 3 runs (1 to run)" in out
    after = records(tmp_path)
    assert len(after) == 3
    assert {name: after[name].key for name in first} == {n: r.key for n, r in first.items()}
    assert len(all_runs(tmp_path)) == 4


@pytest.mark.usefixtures("ready_store")
def test_changed_code_is_named_and_trained_again_on_demand(tmp_path: Path) -> None:
    net = tmp_path / "mine.py"
    source = "from sweeps.training.models import Linear\n\nclass Net(Linear):\n    pass\n"
    net.write_text(source)
    command = ["-m", "name=s", "model=custom", "model._target_=mine.Net", "trusted_targets=[mine]"]
    command += ["data=synthetic", "epochs=1", "lr=0.1,0.01"]
    assert train(tmp_path, *command)[0] == 0
    before = records(tmp_path)
    net.write_text(f"{source}    changed = True\n")
    code, out, err = train(tmp_path, *command)
    assert (code, err) == (0, "")
    said = "2 finished runs: code changed since. They are kept; refresh=true trains them again."
    assert out.count(said) == out.count("changed since") == 1
    assert {name: r.key for name, r in records(tmp_path).items()} == {
        name: r.key for name, r in before.items()
    }
    assert "2 to run again" in train(tmp_path, *command, "refresh=true", "plan=true")[1]
    code, out, err = train(tmp_path, *command, "refresh=true")
    assert (code, err) == (0, "")
    said = "2 finished runs: code changed since. They are trained again."
    assert out.count(said) == out.count("changed since") == 1
    assert "Sweep of 2 runs in" in out  # new trainings, none of them continued
    after = records(tmp_path)
    assert all(after[name].key != before[name].key for name in before)
    runs = all_runs(tmp_path)
    assert len(runs) == 3
    keys = {run.data.tags["sweeps.key"] for run in runs if "mlflow.parentRunId" in run.data.tags}
    assert keys == {record.key for record in after.values()}
    for run in runs:  # nothing of the first training is among its points
        history = client(tmp_path).get_metric_history(run.info.run_id, "val_loss")
        assert all(point.timestamp >= run.info.start_time for point in history)
        assert len(history) == ("mlflow.parentRunId" in run.data.tags)
    assert "changed since" not in train(tmp_path, *command, "refresh=true")[1]


def test_stop_on_error_starts_no_more(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text(
        "from torch import nn\n\n"
        "class Net(nn.Module):\n"
        "    def __init__(self, in_channels, image_size, num_classes):\n"
        "        super().__init__()\n"
        "        self.layer = nn.Linear(in_channels * image_size**2, num_classes)\n\n"
        "    def forward(self, x):\n"
        "        if self.training:\n"
        "            raise RuntimeError('it broke')\n"
        "        return self.layer(x.flatten(1))\n"
    )
    command = ["-m", "name=s", "model=custom", "model._target_=broken.Net"]
    command += ["trusted_targets=[broken]", "data=synthetic", "epochs=1", "seed=0,1,2"]
    code, out, err = train(tmp_path, *command, "on_error=stop", "workers=1", "tracking=none")
    assert code == 1
    assert out.count("RuntimeError: it broke") >= 1
    assert "1 of 3 runs failed, 2 did not run to their end; the table says why. The" in err
    assert len(records(tmp_path)) == 1


def test_sync_sends_what_was_made_offline_and_closes_orphans(tmp_path: Path) -> None:
    code, out, err = train(tmp_path, *COMMAND, "lr=0.1,0.01", "tracking.offline=true")
    assert (code, err) == (0, "")
    assert "To send it: python -m sweeps.sync outputs/sweeps/s" in out
    assert not (tmp_path / "outputs/mlflow.db").exists()
    folder = tmp_path / "outputs/sweeps/s"
    orphan = RunPaths(next(path.parent for path in folder.glob("*/run.json")))
    record = RunRecord.load(orphan)
    assert record is not None
    record.status, record.outcome, record.ended_ms = "RUNNING", None, None
    record.save(orphan)
    for _ in range(2):
        code, out, err = finish(start(tmp_path, str(folder), module="sweeps.sync"))
        assert (code, err) == (0, "")
        assert "2 runs, all is sent" in out
        runs = all_runs(tmp_path)
        assert sorted(run.info.status for run in runs) == ["FINISHED", "FINISHED", "KILLED"]
        children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
        for run in children:
            written = read_points(RunPaths(Path(run.data.tags["sweeps.folder"])).metrics)
            expected = [(p.step, p.time_ms) for p in written if p.key == "val_loss"]
            history = client(tmp_path).get_metric_history(run.info.run_id, "val_loss")
            assert len(history) == len(expected) > 0
            assert sorted((p.step, p.timestamp) for p in history) == sorted(expected)


def test_a_study_of_another_format_is_refused_and_left_alone(tmp_path: Path) -> None:
    assert train(tmp_path, *COMMAND, "lr=0.1", "tracking=none")[0] == 0
    record = next(tmp_path.glob("outputs/sweeps/s/*/run.json"))
    fields = json.loads(record.read_text())
    record.write_text(json.dumps(fields | {"format": 99}))
    code, out, err = train(tmp_path, *COMMAND, "lr=0.1,0.01", "tracking=none")
    assert code == 2, out
    assert "has format 99; this version reads 1" in err
    assert len(err.splitlines()) == 1
    assert json.loads(record.read_text())["format"] == 99


def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path: Path) -> None:
    command = [*QUICK[:2], "epochs=6", "log_every=2", "tracking=none", "optimizer=adam"]
    assert train(tmp_path, "name=whole", *command)[0] == 0
    shutil.copytree(tmp_path / "outputs/runs/whole", tmp_path / "outputs/runs/hurt")
    paths = RunPaths(tmp_path / "outputs/runs/hurt")
    record = RunRecord.load(paths)
    assert record is not None
    record.status, record.outcome = "RUNNING", None
    record.save(paths)
    content = bytearray(paths.checkpoint.read_bytes())
    content[len(content) // 2] ^= 0xFF
    paths.checkpoint.write_bytes(content)
    with paths.metrics.open("a") as file:
        file.write('{"key": "train_l')
    code, out, err = train(tmp_path, "name=hurt", *command)
    assert (code, err) == (0, "")
    assert "checkpoint.pt" in out
    assert "Going back to the state before it" in out
    assert "Continuing at epoch" in out
    runs = [tmp_path / "outputs/runs" / name for name in ("hurt", "whole")]
    assert len(points(runs[0])) > 10
    assert points(runs[0]) == points(runs[1])
    weights = [(run / "model.safetensors").read_bytes() for run in runs]
    assert weights[0] == weights[1]


def test_a_run_that_continues_on_another_device_says_so(tmp_path: Path) -> None:
    command = ["name=moved", *QUICK, "tracking=none", "device=cpu"]
    assert train(tmp_path, *command)[0] == 0
    paths = RunPaths(tmp_path / "outputs/runs/moved")
    record = RunRecord.load(paths)
    assert record is not None
    record.status, record.outcome, record.device = "RUNNING", None, "cuda"
    record.save(paths)
    code, out, err = train(tmp_path, *command)
    assert (code, err) == (0, "")
    assert "began on cuda (" in out
    assert "continues on cpu (" in out
