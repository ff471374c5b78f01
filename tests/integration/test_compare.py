"""The command as a person starts it, on real run folders and a real SQLite store."""

import dataclasses
import itertools
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from harness.server import Proxy, Server
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, Metric, RunTag

from sweeps import compare
from sweeps.analysis.report import write_report
from sweeps.config import Config
from sweeps.errors import TrackingUnavailableError
from sweeps.files import replace_json
from sweeps.reproduction.publish import Place, mirrored
from sweeps.runs.outcome import Outcome
from sweeps.runs.paths import RunPaths, SweepPaths
from sweeps.runs.record import RunRecord, SweepRecord
from sweeps.runs.results import curves, read_folder
from sweeps.sweep.sync import sync
from sweeps.tracking.mlflow.reader import StoreReader
from sweeps.tracking.mlflow.view import links, runs_view

RATES = {"0.1": [0.90, 0.91, 0.92], "0.01": [0.70, 0.71, 0.73], "0.001": [0.50, 0.52, 0.51]}
COMMAND = "python -m sweeps.train -m name=study lr=0.1,0.01,0.001 seed=0,1,2"
DATA = {"name": "digits", "digest": "abc", "train": 1294, "val": 144}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def make_sweep(folder: Path, name: str = "study", cells: int = 9) -> Path:
    paths = SweepPaths(folder / "outputs" / "sweeps" / name)
    for lr, values in RATES.items():
        for seed, value in enumerate(values):
            make_run(RunPaths(paths.folder / f"lr={lr},seed={seed}"), lr, seed, value)
    SweepRecord(
        key="s",
        name=name,
        status="FINISHED",
        objective="val_accuracy",
        started_ms=0,
        command=COMMAND,
        cells=cells,
    ).save(paths)
    return paths.folder


def make_run(paths: RunPaths, lr: str, seed: int, value: float) -> None:
    paths.folder.mkdir(parents=True)
    RunRecord(
        key=f"{lr}-{seed}",
        identity=f"id{lr}-{seed}",
        name=f"lr={lr},seed={seed}",
        status="FINISHED",
        objective="val_accuracy",
        started_ms=0,
        outcome=Outcome.FINISHED,
        objective_value=value,
        best_epoch=3,
        epochs_done=3,
        metrics={"val_accuracy": value, "test_accuracy": value - 0.01},
        seconds=2.0,
        overrides=["name=study", f"lr={lr}", f"seed={seed}"],
        epochs=3,
        params={"lr": float(lr), "seed": seed, "epochs": 3, "compile": False, "threads": None},
        dataset=DATA,
    ).save(paths)
    points = made_up_points(value)
    torn = '{"key": "val_loss", "val'
    paths.metrics.write_text("".join(f"{json.dumps(p)}\n" for p in points) + torn)


def made_up_points(value: float) -> list[dict[str, Any]]:
    """Returns what a run logs whose loss still falls at its end."""
    points = [
        {"key": key, "value": at_epoch, "step": epoch * 10, "time_ms": epoch * 100}
        for epoch in (1, 2, 3)
        for key, at_epoch in (("val_accuracy", value * epoch / 3), ("val_loss", 1 - epoch / 9))
    ]
    return [*points, {"key": "test_accuracy", "value": value - 0.01, "step": 30, "time_ms": 300}]


def run_compare(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = 0
    try:
        compare.main(arguments)
    except SystemExit as leaving:
        code = int(leaving.code or 0)
    out, err = capsys.readouterr()
    return code, out, err


@pytest.mark.parametrize("source", ["study", "outputs/sweeps/study", "0" * 32])
def test_a_sweep_by_name_folder_or_run_id(
    here: Path, capsys: pytest.CaptureFixture[str], source: str
) -> None:
    folder = make_sweep(here)
    replace_json(SweepPaths(folder).mirror, {"run_id": "0" * 32})
    code, out, err = run_compare(capsys, source)
    assert (code, err) == (0, "")
    first = out.splitlines()[0]
    assert first.startswith("Best: lr=0.1, val_accuracy 0.9100 ± 0.0248 (mean and 95 % interval")
    assert "lr=0.1 is the largest tried: add 1,10." in out
    assert "python -m sweeps.train -m name=study lr=1,10 seed=0,1,2" in out


def test_the_forms_of_the_answer(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_sweep(here, cells=12)
    code, out, _ = run_compare(capsys, "study", "--json")
    found = json.loads(out)
    assert code == 0
    assert [row["settings"]["lr"] for row in found["ranking"]] == ["0.1", "0.01", "0.001"]
    assert found["notices"] == ["study: 3 runs of 12 not started yet."]
    code, out, _ = run_compare(capsys, "study", "--csv")
    assert (code, len(out.splitlines())) == (0, 4)
    code, _, err = run_compare(capsys, "study", "--html", "report.html")
    assert (code, err) == (0, "Report: report.html\n")
    content = (here / "report.html").read_text()
    assert 'href="outputs/sweeps/study/lr%3D0.1%2Cseed%3D0/"' in content
    assert COMMAND in content


def test_the_report_at_the_end_of_a_sweep(here: Path) -> None:
    paths = SweepPaths(make_sweep(here))
    summary = write_report(paths, read_folder(paths.folder))
    assert summary is not None
    assert summary.lines[0].startswith("Best: lr=0.1")
    assert summary.note == paths.note.read_text()
    assert "| 1 | lr=0.1 | 0.9100 ± 0.0248 |" in summary.note
    assert {path.name for path in summary.files} == {
        "report.html",
        "note.md",
        "objective.svg",
        "learning_curves.svg",
        "loss.svg",
    }
    assert all(path.stat().st_size for path in summary.files)


def test_a_report_that_cannot_be_written_is_a_warning(
    here: Path, caplog: pytest.LogCaptureFixture
) -> None:
    paths = SweepPaths(make_sweep(here))
    paths.figures.write_text("in the way")
    assert write_report(paths, read_folder(paths.folder)) is None
    assert "The report could not be written (FileExistsError" in caplog.text


def test_a_damaged_record_is_left_out(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_sweep(here)
    (folder / "lr=0.01,seed=0" / "run.json").write_text("{")
    code, out, _ = run_compare(capsys, "study")
    assert code == 0
    assert re.search(r"Left out: .*run\.json is damaged", out)


def test_a_run_that_was_killed_is_not_running(here: Path) -> None:
    folder = make_sweep(here)
    paths = RunPaths(folder / "lr=0.1,seed=0")
    record = RunRecord.load(paths)
    assert record is not None
    record.status, record.outcome, record.objective_value = "RUNNING", None, None
    record.save(paths)
    found = next(r for r in read_folder(folder).runs if r.folder == paths.folder)
    assert (found.outcome, found.value, found.best_epoch) == ("interrupted", 0.9, 3)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Name a sweep, its folder or its MLflow run id. outputs/sweeps has: study."),
        (["stady"], "Did you mean 'study'? outputs/sweeps has: study."),
        (["outputs/none"], "There is no sweep 'outputs/none'"),
        (["--experiment", "x"], "There is no MLflow store at sqlite:///"),
        (["study", "--html", "none/report.html"], "Cannot write none/report.html: No such file"),
        (["empty"], "There are no runs to compare in empty."),
        (["study", "--json", "--csv"], "not allowed with argument"),
    ],
)
def test_bad_input_is_explained(
    here: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    make_sweep(here)
    empty = SweepPaths(here / "empty")
    empty.folder.mkdir()
    SweepRecord("k", "empty", "RUNNING", "val_accuracy", 0).save(empty)
    code, _, err = run_compare(capsys, *arguments)
    assert code == 2
    assert said in err
    assert "Traceback" not in err


def fill_store(here: Path) -> tuple[MlflowClient, str]:
    """Mirrors the made-up sweep the way the mirror does, with one run of another program."""
    client = MlflowClient(f"sqlite:///{here}/outputs/mlflow.db")
    experiment = client.create_experiment("sweeps", (here / "artifacts").as_uri())
    tags = {"sweeps.sweep": "study", "sweeps.command": COMMAND}
    parent = client.create_run(experiment, run_name="study", tags=tags).info.run_id
    for lr, values in RATES.items():
        for seed, value in enumerate(values):
            tags = {"mlflow.parentRunId": parent, "sweeps.key": f"{lr}-{seed}"}
            tags |= {"sweeps.identity": f"id{lr}-{seed}", "sweeps.sweep": "study"}
            name = f"lr={lr},seed={seed}"
            run_id = client.create_run(
                experiment, start_time=0, run_name=name, tags=tags
            ).info.run_id
            for key, text in {"lr": lr, "seed": seed, "objective": "val_accuracy"}.items():
                client.log_param(run_id, key, text)
            points = [
                Metric(p["key"], p["value"], p["time_ms"], p["step"]) for p in made_up_points(value)
            ]
            points.append(Metric("best_val_accuracy", value, 300, 0))
            points.append(Metric("settings/lr", float(lr), 0, 0))
            outcome = [RunTag("sweeps.outcome", "finished"), RunTag("sweeps.best_epoch", "3")]
            client.log_batch(run_id, metrics=points, tags=outcome)
            sizes = json.dumps({k: v for k, v in DATA.items() if k != "digest"})
            data = Dataset("digits", "abc", "local", "digits", profile=sizes)
            client.log_inputs(run_id, datasets=[DatasetInput(data, [])])
            client.set_terminated(run_id, end_time=2000)
    return client, parent


def test_the_store_says_what_the_folders_say(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_sweep(here)
    _, expected, _ = run_compare(capsys, "study", "--json")
    folder.rename(here / "away")
    client, parent = fill_store(here)
    capsys.readouterr()
    want = json.loads(expected)
    for arguments in ([parent], ["study"], ["--filter", "params.lr != '5'"]):
        code, out, err = run_compare(capsys, *arguments, "--json")
        assert (code, err) == (0, "")
        found = json.loads(out)
        assert [r["mean"] for r in found["ranking"]] == [r["mean"] for r in want["ranking"]]
        assert "settings/" not in out
        assert found["answers"][0]["lines"][1:] == want["answers"][0]["lines"][1:]
    both = ["away", "--experiment", "sweeps"]
    assert len(json.loads(run_compare(capsys, *both, "--json")[1])["ranking"][0]["runs"]) == 3

    foreign = client.create_run("1", run_name="foreign")
    client.log_batch(
        foreign.info.run_id,
        metrics=[Metric("val_accuracy", v, i, i) for i, v in enumerate([0.2, float("nan"), 0.4])],
    )
    client.set_terminated(foreign.info.run_id)
    runs = StoreReader(f"sqlite:///{here}/outputs/mlflow.db").experiment("sweeps", "").runs
    other = next(run for run in runs if run.name == "foreign")
    assert {key for run in runs for key in run.metrics} == {
        *("val_accuracy", "val_loss", "test_accuracy")
    }
    assert (other.value, other.best_epoch, other.outcome) == (0.4, 3, "finished")

    code, _, err = run_compare(capsys, "--filter", "lr is 5")
    assert code == 2
    assert "MLflow does not understand --filter" in err
    code, _, err = run_compare(capsys, "--experiment", "sweps")
    assert code == 2
    assert "no experiment 'sweps'. Did you mean 'sweeps'? It has: Default, sweeps." in err
    code, _, err = run_compare(capsys, "f" * 32)
    assert code == 2
    assert f"It has no run {'f' * 32}." in err


def test_a_server_says_what_the_folders_say(
    here: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    server: Server,
) -> None:
    folder = make_sweep(here)
    pruned = RunPaths(folder / "lr=0.001,seed=0")
    record = RunRecord.load(pruned)
    assert record is not None
    dataclasses.replace(record, outcome=Outcome.PRUNED, epochs_done=1).save(pruned)
    want = json.loads(run_compare(capsys, "study", "--json")[1])
    lines = want["answers"][0]["lines"]
    assert "1 of 9 was stopped early by the search and is not ranked." in lines
    assert "of the best itself val_loss still fell" in lines[3]  # from the histories

    assert sync([folder], uri=server.uri, experiment=None)
    folder.rename(here / "away")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    (parent,) = [r for r in server.runs("sweeps") if "mlflow.parentRunId" not in r.data.tags]
    monkeypatch.setattr(
        "sweeps.tracking.mlflow.reader.POINTS_PER_HISTORY", 5
    )  # cut: asked for in halves
    capsys.readouterr()
    for arguments in (["study"], [parent.info.run_id], ["--filter", "params.lr != '5'"]):
        code, out, err = run_compare(capsys, *arguments, "--json")
        assert (code, err) == (0, "")
        assert without_places(json.loads(out)) == without_places(want)
    stored = curves(StoreReader(server.uri).children(parent.info.run_id).runs, "val_loss")
    assert [len(points) for points in stored.values()] == [3] * 9
    assert stored == curves(read_folder(here / "away").runs, "val_loss")


def without_places(found: dict[str, Any]) -> dict[str, Any]:
    """Returns what a comparison says, without where the runs were read from."""
    places = ("folder", "mlflow_run_id")
    ranking = [
        row | {"runs": [{k: v for k, v in run.items() if k not in places} for run in row["runs"]]}
        for row in found["ranking"]
    ]
    return found | {"ranking": ranking}


def test_ctrl_c_in_a_repeat_does_not_wait_for_a_silent_server(here: Path, server: Server) -> None:
    folder = make_sweep(here) / "lr=0.1,seed=0"
    proxy = Proxy(server.port)
    config = Config(output_dir=str(here / "outputs"))
    place = Place(proxy.uri, "repeats", None)

    def interrupt_while_it_hangs() -> None:
        with mirrored(place, folder, config):
            proxy.switch("hang")
            interrupted.append(time.monotonic())
            raise KeyboardInterrupt

    interrupted: list[float] = []
    with pytest.raises(KeyboardInterrupt):
        interrupt_while_it_hangs()
    assert time.monotonic() - interrupted[0] < 15  # the ordinary end tries for longer
    proxy.switch("refuse")
    with (
        pytest.raises(TrackingUnavailableError, match="--tracking-uri URI, or type --no-tracking"),
        mirrored(place, folder, config),
    ):
        pass
    with pytest.raises(TrackingUnavailableError, match=r"Start it, or name another with --uri URI"):
        sync([folder], uri=proxy.uri, experiment=None)


def test_a_server_that_is_away_names_the_way_out(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    make_sweep(here)
    assert run_compare(capsys, "study")[0] == 0
    code, _, err = run_compare(capsys, "--experiment", "sweeps")
    assert code == 2
    assert "http://127.0.0.1:9 cannot be read: Connection refused." in err
    assert "Name the sweep's folder instead" in err


def test_the_view_of_a_sweep_shows_what_was_typed() -> None:
    typed = itertools.product((1e-05, 0.1), ("sgd", "adam"), (None, 0.9))
    cells = [
        RunRecord(
            *("k", "i", "n", "FINISHED", "val_loss", 0),
            overrides=["name=s", f"lr={lr}", f"optimizer={optimizer}", f"model.dropout={dropout}"],
            params={"lr": lr, "model.dropout": dropout},
        )
        for lr, optimizer, dropout in typed
    ]
    state = json.loads(runs_view("abc", "val_loss", cells))
    assert state["selectedColumns"][:5] == [
        "metrics.`settings/lr`",  # as a param it would stand as text, 1e-05 after 0.1
        "params.`optimizer`",
        "params.`model.dropout`",  # not a number in each
        "metrics.`best_val_loss`",
        "metrics.`test_loss`",
    ]
    assert state["orderByAsc"]
    sections = [(s["name"], s["display"]) for s in state["compareRunSections"]]
    assert sections == [("Model metrics", True), ("settings", False)]  # folded, below the curves
    assert "(#/experiments/1/runs?viewStateShareKey=k)" in links("1", "abc", "k")


def test_help_is_quick() -> None:
    script = (
        "import sys, sweeps.compare as c\n"
        "try: c.main(['--help'])\n"
        "except SystemExit: pass\n"
        "print({'torch', 'mlflow', 'matplotlib', 'scipy', 'pandas'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=os.environ, check=True
    )
    assert done.stdout.endswith("set()\n")
    assert "python -m sweeps.compare" in done.stdout
