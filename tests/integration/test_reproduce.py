"""Reproduction as a person does it: real processes, other working directories, a real SQLite store."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from harness.program import QUICK, Process, finish, points, start
from mlflow import MlflowClient
from PIL import Image

from sweeps.reproduce import main

Call = Callable[..., tuple[int, str, str]]

GOLDEN = Path(__file__).parents[1] / "golden" / "v1"


def begin(command: str, folder: Path, *arguments: str) -> Process:
    return start(folder, *arguments, module=f"sweeps.{command}")


def call(command: str, folder: Path, *arguments: str) -> tuple[int, str, str]:
    return finish(begin(command, folder, *arguments))


@pytest.fixture
def reproduce(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> Call:
    """The same command in this process, which has torch already."""

    def run(folder: Path, *arguments: str) -> tuple[int, str, str]:
        monkeypatch.chdir(folder)
        monkeypatch.setenv("SWEEPS_CACHE", str(folder / "cache"))
        monkeypatch.setattr(sys, "argv", ["reproduce", *arguments])
        monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
        capsys.readouterr()
        caplog.clear()
        with pytest.raises(SystemExit) as left:
            main()
        captured = capsys.readouterr()
        return int(left.value.code or 0), captured.out + caplog.text, captured.err

    return run


def refused(result: tuple[int, str, str]) -> str:
    code, out, err = result
    assert code == 2, out + err
    assert "Traceback" not in out + err
    assert len(err.splitlines()) == 1, err
    return err


def test_four_cells_are_exact_from_their_ids_alone(
    tmp_path: Path, made_store: Path, reproduce: Call
) -> None:
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    home.mkdir()
    elsewhere.mkdir()
    uri = f"sqlite:///{home}/outputs/mlflow.db"
    (home / "outputs").mkdir()
    shutil.copyfile(made_store, home / "outputs/mlflow.db")
    sweep = ["-m", "name=s", "optimizer=sgd,adam", "lr=0.1,0.01", *QUICK]
    code, out, err = call("train", home, *sweep)
    assert (code, err) == (0, ""), out
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("sweeps")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    cells = [run.info.run_id for run in runs if "mlflow.parentRunId" in run.data.tags]
    (parent,) = {run.info.run_id for run in runs} - set(cells)
    assert len(cells) == 4
    (home / "outputs/sweeps").rename(home / "outputs/moved")  # the store alone must do
    for pair in (cells[:2], cells[2:]):
        processes = [
            begin("reproduce", elsewhere, cell, "--tracking-uri", uri, "--strict") for cell in pair
        ]
        for process in processes:
            code, out, err = finish(process)
            assert (code, err) == (0, ""), out
            assert "Verdict: exact  (10 points compared, final weights equal)" in out
    for cell in cells:
        tags = client.get_run(cell).data.tags
        assert tags["sweeps.reproduced"] == "exact"
        repeat = client.get_run(tags["sweeps.reproduced_by"])
        assert repeat.info.status == "FINISHED"
        assert repeat.data.tags["sweeps.reproduces"] == cell
        assert repeat.data.tags["sweeps.verdict"] == "exact"
        assert repeat.data.tags["sweeps.identity"] == tags["sweeps.identity"]
        stored = {item.path for item in client.list_artifacts(repeat.info.run_id)}
        assert {"run.json", "reproduction.json", "config", "train.log"} <= stored
    assert len(list((elsewhere / "outputs/reproductions").iterdir())) == 4
    err = refused(reproduce(elsewhere, parent, "--tracking-uri", uri))
    assert "it is a sweep's parent" in err
    err = refused(reproduce(elsewhere, "0" * 32, "--tracking-uri", uri))
    assert "Check the id, or name another store with --tracking-uri URI" in err


LOSS = """
import torch
class Floored(torch.nn.CrossEntropyLoss):
    def forward(self, outputs, target):
        return super().forward(outputs, target).clamp(min=FLOOR)
"""


def test_one_changed_line_of_a_loss_is_found_at_the_first_step_it_changes(
    tmp_path: Path, reproduce: Call
) -> None:
    (tmp_path / "mine.py").write_text(LOSS.replace("FLOOR", "0.02"))
    own = ["loss=custom", "loss._target_=mine.Floored", "trusted_targets=[mine]", "log_every=1"]
    code, out, err = call("train", tmp_path, "name=own", "tracking=none", *own, *QUICK)
    assert (code, err) == (0, ""), out

    assert "If you trust its code, add --trust mine." in refused(reproduce(tmp_path, "own"))

    options = ["own", "--trust", "mine", "--no-tracking"]
    code, out, err = call("reproduce", tmp_path, *options)
    assert (code, err) == (0, ""), out
    assert "Verdict: exact" in out

    (tmp_path / "mine.py").write_text(LOSS.replace("FLOOR", "0.2"))
    code, out, err = call("reproduce", tmp_path, *options)
    assert (code, err) == (1, ""), out
    repeats = (tmp_path / "outputs/reproductions").iterdir()
    last = max(repeats, key=lambda folder: (folder / "run.json").stat().st_mtime_ns)
    pairs = list(zip(points(tmp_path / "outputs/runs/own"), points(last), strict=True))
    (key, step, then), (_, _, now) = next(pair for pair in pairs if pair[0] != pair[1])
    assert step > 1
    assert f"Verdict: differs from step {step}  " in out
    assert f"step {step}: {key} was {then!r}, is {now!r} (relative error " in out
    assert json.loads((last / "reproduction.json").read_text())["verdict"] == (
        f"differs from step {step}"
    )


def test_a_changed_image_is_refused(tmp_path: Path, reproduce: Call) -> None:
    for name, shade in (("cat", 40), ("dog", 200)):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(10):
            image = Image.new("RGB", (8, 8), (shade + number, 20, 20))
            image.save(tmp_path / "images" / name / f"{number}.png")
    data = ["data=image_folder", "data.root=images", "data.image_size=8", "batch_size=4"]
    quick = ["model=linear", "epochs=1", "name=pets", "tracking=none"]
    code, out, err = call("train", tmp_path, *data, *quick)
    assert (code, err) == (0, ""), out

    (tmp_path / "images").rename(tmp_path / "moved")
    err = refused(reproduce(tmp_path, "pets", "--no-tracking"))
    assert "Type --data-root FOLDER" in err
    options = ["pets", "--no-tracking", "--data-root", "moved"]
    code, out, err = reproduce(tmp_path, *options)
    assert (code, err) == (0, ""), out
    assert "Verdict: exact" in out

    Image.new("RGB", (8, 8), (0, 0, 255)).save(tmp_path / "moved/dog/3.png")
    err = refused(call("reproduce", tmp_path, *options))
    assert "The data is not the same: its digest was " in err
    assert "--allow-other-data" in err


def test_a_saved_config_is_composed_again_from_anywhere(tmp_path: Path, reproduce: Call) -> None:
    saved = ["--config-dir", str(GOLDEN / ".hydra"), "--config-name", "config"]
    code, out, err = call("train", tmp_path, *saved, "tracking=none")
    assert (code, err) == (0, ""), out
    (repeat,) = (tmp_path / "outputs/runs").iterdir()
    assert repeat.name != "golden"
    then, now = points(GOLDEN), points(repeat)
    assert [point[:2] for point in now] == [point[:2] for point in then]
    assert [point[2] for point in now] == pytest.approx([point[2] for point in then], rel=1e-3)
    identities = {
        json.loads((run / "run.json").read_text())["identity"] for run in (repeat, GOLDEN)
    }
    assert len(identities) == 1

    changed = ["lr=0.1,0.2", "optimizer=adam", "name=second", "tracking=none"]
    code, out, err = call("train", tmp_path, "-m", *saved, *changed)
    assert (code, err) == (0, ""), out
    records = (tmp_path / "outputs/sweeps/second").glob("*/run.json")
    params = [json.loads(record.read_text())["params"] for record in records]
    assert sorted((p["lr"], p["optimizer.lr"]) for p in params) == [(0.1, 0.1), (0.2, 0.2)]
    for cell in params:
        assert cell["optimizer._target_"] == "torch.optim.Adam"
        assert (cell["epochs"], cell["model._target_"]) == (2, "sweeps.models.Linear")

    err = refused(reproduce(tmp_path, "second", "--no-tracking"))
    assert "second is a sweep of 2 runs. Add --best for its winner" in err
    code, out, err = reproduce(tmp_path, "second", "--best", "--no-tracking")
    assert (code, err) == (0, ""), out
    assert "Verdict: exact" in out


HOSTILE = "lr: ${oc.env:HOME}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: RUN"),
        (["x", "--epochs", "0"], "--epochs 0 must be 1 or more"),
        (["x", "--rtol", "nan"], "--rtol nan must be a number from 0"),
        (["x", "--threads", "0"], "--threads 0 must be 1 or more"),
        (["x", "--fast"], "unrecognized arguments: --fast"),
        (["hostile", "--no-tracking"], "never to the environment, files or resolvers"),
    ],
)
def test_bad_input_is_one_message(
    arguments: list[str], message: str, tmp_path: Path, reproduce: Call
) -> None:
    (tmp_path / "hostile/.hydra").mkdir(parents=True)
    (tmp_path / "hostile/.hydra/config.yaml").write_text(HOSTILE)
    for name in ("run.json", "metrics.jsonl"):
        (tmp_path / "hostile" / name).write_bytes((GOLDEN / name).read_bytes())
    assert message in refused(reproduce(tmp_path, *arguments))


def test_a_hostile_saved_config_does_not_reach_hydra(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(HOSTILE)
    (tmp_path / "overrides.yaml").write_text("[]\n")
    err = refused(call("train", tmp_path, "--config-dir", ".", "--config-name", "config"))
    assert "never to the environment, files or resolvers" in err


def test_help_imports_no_torch(tmp_path: Path) -> None:
    code = "import sys; sys.argv[1:] = ['--help']\n"
    code += "from sweeps.reproduce import main\n"
    code += "try: main()\nexcept SystemExit: pass\n"
    code += "print('HEAVY', [m for m in ('torch', 'mlflow', 'hydra') if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.endswith("HEAVY []\n"), done.stdout[-500:]
    assert "--allow-other-data" in done.stdout
