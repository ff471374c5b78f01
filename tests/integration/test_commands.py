"""The program as a person starts it: real processes, real folders, a real SQLite store."""

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from harness.program import QUICK, all_runs, client, start, train, train_fresh


def test_a_sweep_is_a_parent_with_its_cells(tmp_path: Path) -> None:
    sweep = ["-m", "name=s", "optimizer=sgd,adam", "lr=0.1,0.01", *QUICK]
    code, out, err = train_fresh(tmp_path, *sweep)
    assert (code, err) == (0, "")
    assert "All 4 settings that finished are equal: " in out
    assert "mlflow ui --backend-store-uri sqlite:///outputs/mlflow.db" in out
    runs = all_runs(tmp_path)
    assert len(runs) == 5
    assert {run.info.status for run in runs} == {"FINISHED"}
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    assert len(parents) == 1
    assert "| # |" in parents[0].data.tags["mlflow.note.content"]
    cells = [run for run in runs if run not in parents]
    assert {run.data.tags["mlflow.parentRunId"] for run in cells} == {parents[0].info.run_id}
    shown = {(run.data.params["optimizer"], run.data.params["lr"]) for run in cells}
    assert shown == {("sgd", "0.1"), ("sgd", "0.01"), ("adam", "0.1"), ("adam", "0.01")}
    for run in cells:
        folder = Path(run.data.tags["sweeps.folder"])
        written = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        expected = Counter((point["key"], point["step"]) for point in written)
        assert set(expected.values()) == {1}
        for key in {key for key, _ in expected}:
            history = client(tmp_path).get_metric_history(run.info.run_id, key)
            assert len(history) == sum(k == key for k, _ in expected)
        assert run.inputs.dataset_inputs[0].dataset.digest
        stored = {item.path for item in client(tmp_path).list_artifacts(run.info.run_id)}
        assert {"config", "environment.json", "model.safetensors", "train.log"} <= stored

    code, out, err = train(tmp_path, "-m", "name=s", "lr=0.1,0.01", "optimizer=sgd,adam", *QUICK)
    assert (code, err) == (0, "")
    assert "Sweep of 4 runs (0 to run)" in out
    assert len(all_runs(tmp_path)) == 5


def test_digits_are_learned(tmp_path: Path) -> None:
    code, _, err = train_fresh(tmp_path, "name=good", "optimizer=adam", "lr=0.003", "tracking=none")
    assert (code, err) == (0, "")
    record = json.loads((tmp_path / "outputs/runs/good/run.json").read_text())
    assert record["outcome"] == "finished"
    assert record["metrics"]["test_accuracy"] > 0.95
    assert not (tmp_path / "outputs/mlflow.db").exists()


BROKEN = """
import torch
class Net(torch.nn.Module):
    def __init__(self, num_classes, image_size, in_channels, fail):
        super().__init__()
        self.layer = torch.nn.Linear(in_channels * image_size**2, num_classes)
        self.fail = fail
    def forward(self, x):
        if self.fail and self.training:
            raise RuntimeError("it broke")
        return self.layer(x.flatten(1))
"""


@pytest.mark.usefixtures("ready_store")
def test_one_failed_cell_does_not_stop_the_others(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text(BROKEN)
    (tmp_path / "conf/model").mkdir(parents=True)
    (tmp_path / "conf/model/mine.yaml").write_text("_target_: broken.Net\nfail: false\n")
    code, out, err = train(
        tmp_path,
        *("-m", "--config-dir", "conf", "name=f", "model=mine", "trusted_targets=[broken]"),
        *("model.fail=true,false", "data=synthetic", "epochs=1"),
    )
    assert code == 1
    assert "1 of 2 runs failed" in err
    assert "Traceback" not in err + out
    assert "RuntimeError: it broke" in out
    statuses = Counter(run.info.status for run in all_runs(tmp_path))
    assert statuses == {"FAILED": 2, "FINISHED": 1}


def test_a_diverged_run_is_a_result(tmp_path: Path) -> None:
    code, _, err = train(
        tmp_path, "name=d", "lr=1e12", "loss=mse", *QUICK, "epochs=5", "tracking=none"
    )
    assert (code, err) == (0, "")
    record = json.loads((tmp_path / "outputs/runs/d/run.json").read_text())
    assert (record["outcome"], record["status"]) == ("diverged", "FINISHED")


@pytest.mark.usefixtures("ready_store")
def test_interrupted_and_continued_equals_uninterrupted(tmp_path: Path) -> None:
    long = ["data=synthetic", "data.samples=600", "epochs=10", "log_every=1", "optimizer=adam"]
    long += ["schedule=cosine", "data.flip=true", "model=swagger_cifar", "threads=2"]
    process = start(tmp_path, "name=cut", *long)
    metrics = tmp_path / "outputs/runs/cut/metrics.jsonl"
    deadline = time.monotonic() + 120
    while not (metrics.exists() and metrics.stat().st_size > 900):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert "To continue: python -m sweeps.train" in out
    assert process.returncode == 128 + signal.SIGTERM, out + err
    record = json.loads((tmp_path / "outputs/runs/cut/run.json").read_text())
    assert (record["outcome"], record["status"]) == ("interrupted", "KILLED")
    assert train(tmp_path, "name=cut", *long)[0] == 0
    assert train(tmp_path, "name=whole", "tracking=none", *long)[0] == 0
    points = [
        [
            (point["key"], point["step"], point["value"])
            for point in map(json.loads, (tmp_path / f"outputs/runs/{n}/metrics.jsonl").open())
        ]
        for n in ("cut", "whole")
    ]
    assert len(points[0]) > 100
    assert points[0] == points[1]
    weights = [tmp_path / f"outputs/runs/{n}/model.safetensors" for n in ("cut", "whole")]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    runs = all_runs(tmp_path)
    assert [run.info.status for run in runs] == ["FINISHED"]


REFUSED = {
    "unknown choice": (["optimizer=adm"], "Did you mean 'adam'?"),
    "unknown key": (["lrr=0.1"], "Unknown key lrr. Did you mean 'lr'?"),
    "unknown key in a group": (["optimizer.momntum=1"], "Did you mean 'optimizer.momentum'?"),
    "wrong type": (["lr=fast"], "lr=fast must be a number"),
    "negative rate": (["lr=-1"], "lr=-1.0 must be a finite number above 0"),
    "list without -m": (["lr=0.1,0.2"], "add -m"),
    "second cell": (["-m", "lr=0.1,-1"], "Nothing was started"),
    "large batch": (["batch_size=9999"], "batch_size=9999 is larger than the"),
    "absent GPU": (["device=cuda:77"], "CUDA device"),
    "numbered GPU": (["-m", "lr=0.1,0.2", "device=cuda:1"], "CUDA_VISIBLE_DEVICES=1"),
    "search alone": (["search=asha"], "add -m and hydra/sweeper=search"),
    "sweeper alone": (["hydra/sweeper=search"], "add -m and hydra/sweeper=search"),
    "missing root": (["data=image_folder", "data.root=nowhere"], "does not exist"),
    "untrusted": (["model._target_=os.system"], "not in a trusted package"),
    "alias": (["model._target_=torch.nn.functional.torch.load"], "outside the trusted packages"),
    "misfit": (["model=custom", "model._target_=torch.nn.Tanh"], "does not fit|cannot be built"),
    "no server": (["tracking.uri=http://127.0.0.1:9"], "Start it, name another"),
    "unwritable": (["output_dir=/dev/null/out"], "Cannot write"),
}


@pytest.mark.usefixtures("ready_store")
@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_refused(case: str, tmp_path: Path) -> None:
    arguments, message = REFUSED[case]
    code, out, err = (train_fresh if case == "misfit" else train)(tmp_path, *arguments)
    assert code == 2, out + err
    assert "Traceback" not in out + err
    assert any(part in err for part in message.split("|")), err
    assert len(err.splitlines()) == 1
    assert not list(tmp_path.glob("outputs/*/*/run.json"))
    assert not list(tmp_path.glob("outputs/*/*"))
    assert all_runs(tmp_path) == []


@pytest.mark.parametrize("flags", [["--help"], ["--cfg", "job"], ["--info", "plugins"]])
def test_questions_import_no_torch(flags: list[str], tmp_path: Path) -> None:
    code = f"import sys; sys.argv[1:] = {flags!r}\n"
    code += "from sweeps.train import main\n"
    code += "try: main()\nexcept SystemExit: pass\n"
    code += "print('HEAVY', [m for m in ('torch', 'mlflow') if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.endswith("HEAVY []\n"), done.stdout[-500:]
    assert len(done.stdout) > 500
