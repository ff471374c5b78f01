"""The measures as a person asks for them, and what a run keeps for them."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from harness.program import QUICK, points, train
from safetensors.numpy import load_file, save_file

from sweeps import compare
from sweeps.analysis.report import write_report
from sweeps.runs.outcome import Outcome
from sweeps.runs.paths import RunPaths, SweepPaths
from sweeps.runs.record import RunRecord, SweepRecord
from sweeps.runs.results import read_folder

CURVES = {
    "sgd": {"0.1": [0.3, 0.6, 0.7], "0.01": [0.1, 0.2, 0.3]},
    "adam": {"0.1": [0.5, 0.8, 0.9], "0.01": [0.5, 0.6, 0.7]},
}
TRUE = [0, 0, 1, 1, 2, 2]
PREDICTED = {"sgd": [0, 0, 1, 1, 2, 0], "adam": [0, 0, 1, 2, 2, 2]}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for data in ("digits", "noise"):
        for optimizer, curves in CURVES.items():
            for lr, curve in curves.items():
                make_run(tmp_path / "outputs/sweeps/study", data, optimizer, lr, curve)
    command = (
        "python -m sweeps.train -m name=study data=digits,noise optimizer=sgd,adam lr=0.1,0.01"
    )
    record = SweepRecord("s", "study", "FINISHED", "val_accuracy", 0, command=command, cells=8)
    record.save(SweepPaths(tmp_path / "outputs/sweeps/study"))
    return tmp_path


def make_run(sweep: Path, data: str, optimizer: str, lr: str, curve: list[float]) -> None:
    paths = RunPaths(sweep / f"{data},{optimizer},{lr}")
    paths.folder.mkdir(parents=True)
    typed = {"data": data, "optimizer": optimizer, "lr": lr}
    RunRecord(
        key=paths.folder.name,
        identity=paths.folder.name,
        name=paths.folder.name,
        status="FINISHED",
        objective="val_accuracy",
        started_ms=0,
        outcome=Outcome.FINISHED,
        objective_value=max(curve),
        best_epoch=3,
        epochs_done=3,
        metrics={"val_accuracy": max(curve), "val_loss": 1 - max(curve), "test_accuracy": 0.8},
        seconds=0.3,
        overrides=[f"{key}={value}" for key, value in typed.items()],
        choices={"data": data, "optimizer": optimizer},
        epochs=3,
        params={"lr": float(lr), "seed": 0, "batch_size": 64},
        dataset={"name": data, "digest": data, "classes": 3},
        start_loss=1.1,
        classes=["cat", "dog", "bird"],
    ).save(paths)
    lines = [
        {"key": "val_accuracy", "value": value, "step": epoch * 10, "time_ms": epoch * 100}
        for epoch, value in enumerate(curve, start=1)
    ]
    paths.metrics.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    as_saved(paths.predictions, PREDICTED[optimizer], TRUE)


def as_saved(path: Path, predicted: list[int], true: list[int]) -> None:
    import numpy as np

    classes = {"predicted": np.array(predicted, "int16"), "true": np.array(true, "int16")}
    save_file(classes, path)


def run_compare(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = 0
    try:
        compare.main(["study", *arguments])
    except SystemExit as leaving:
        code = int(leaving.code or 0)
    out, err = capsys.readouterr()
    return code, out, err


def test_the_measures_of_a_comparison(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run_compare(capsys)
    assert (code, err) == (0, "")
    assert "Measures of each optimizer at its own best; times are to val_accuracy 0.7:" in out
    rows = [line.split() for line in out.splitlines()]
    assert ["adam", "2", "2", "20", "0.2", "0.1", "(0.01", "to", "0.1)"] in rows
    assert "optimizer=adam needs 1 trial to be as good as optimizer=sgd with 2." in out
    assert "Lowest test accuracy by class: dog 0.500 (most taken for bird)." in out
    assert "Over 2 workloads, steps to the target of each:" in out
    assert ["adam", "1.000", "1.000", "20", "20"] in rows
    assert ["sgd", "0.833", "0.833", "30", "30"] in rows


def test_the_measures_for_scripts(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run_compare(capsys, "--json", "--target", "0.75")
    assert code == 0
    found: dict[str, Any] = json.loads(out)
    adam, sgd = found["measures"][0]["values"]
    assert found["measures"][0]["target"] == {"metric": "val_accuracy", "value": 0.75}
    assert (adam["value"], adam["best"]) == ("adam", {"optimizer": "adam", "lr": "0.1"})
    assert adam["time_to_target"]["epochs"] == 2
    assert sgd["time_to_target"] == {"epochs": None, "steps": None, "seconds": None, "missed": True}
    assert adam["expected_best"] == [pytest.approx(0.8), pytest.approx(0.9)]
    assert sgd["lr_sensitivity"]["value"] == pytest.approx(0.2)
    assert sgd["probability_best_beats_it"] is None
    assert found["measures"][0]["classes"]["confusion"] == [[2, 0, 0], [0, 1, 1], [0, 0, 2]]
    assert found["workloads"]["scores"]["sgd"]["steps"] == 0


def test_the_report_has_the_measures(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run_compare(capsys, "--html", "report.html", "--axis", "lr")
    assert (code, err) == (0, "Report: report.html\n")
    page = (here / "report.html").read_text()
    assert "Measures of each lr at its own best" in page
    assert '<td class="wrong" style="--share:0.5">1</td>' in page
    assert "expected best val_accuracy" in page
    assert "share of the workloads" in page

    paths = SweepPaths(here / "outputs/sweeps/study")
    assert write_report(paths, read_folder(paths.folder)) is not None
    kept = {
        (p["key"], p["step"]): p["value"] for p in json.loads(paths.measures.read_text())["points"]
    }
    assert kept["part1/time_to_target_epochs/adam", 0] == 2
    assert kept["part2/expected_best/sgd", 2] == pytest.approx(0.7)
    assert kept["algoperf_score/adam", 0] == 1


def test_logs_for_algoperf(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run_compare(capsys, "--workloads", "data", "--export-algoperf", "logs")
    assert (code, err) == (0, "AlgoPerf logs: logs (8 trials)\n")
    (path,) = here.glob("logs/sgd/study_0/noise_pytorch/trial_1/eval_measurements.csv")
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["global_step"] for row in rows] == ["10", "20", "30"]
    assert [row["validation/accuracy"] for row in rows] == ["0.3", "0.6", "0.7"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--axis", "optimiser"], "--axis optimiser: no run has that setting. Did you mean"),
        (["--workloads", "dta"], "--workloads dta: no run has that setting. Did you mean 'data'?"),
        (["--workloads", "optimizer"], "--workloads optimizer: optimizer is what is compared."),
        (
            ["--target", "95"],
            "--target 95 is no val_accuracy, which lies in 0..1. Type --target 0.95",
        ),
        (["--target", "val_acc=0.9"], "no run has logged val_acc. Did you mean 'val_accuracy'?"),
        (["--export-algoperf", "outputs"], "--export-algoperf outputs is not empty. Name a new"),
    ],
)
def test_what_cannot_be_meant(
    here: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    code, _, err = run_compare(capsys, *arguments)
    assert code == 2
    assert message in err
    assert len(err.splitlines()) == 1


def test_damaged_predictions_are_no_matrix(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in here.glob("outputs/sweeps/study/*adam,0.1/predictions.safetensors"):
        path.write_bytes(b"torn")
    code, out, _ = run_compare(capsys)
    assert code == 0
    assert "by class" not in out


def test_the_suite_is_one_command(tmp_path: Path) -> None:
    asked = ["-m", "experiment=suite", "optimizer=sgd,adam", "lr=0.1", "plan=true"]
    code, out, err = train(tmp_path, *asked)
    assert code == 0, err
    assert "10 runs: 10 new. Nothing was started." in out
    assert "new  data=noise model=swagger_cifar optimizer=adam" in out


def test_a_run_keeps_its_predictions_and_its_first_loss(tmp_path: Path) -> None:
    hard = ["data.noise=3", "tracking=none", "log_every=1", "lr=0.1"]
    of_test = ["data.val_fraction=0", "objective=test_accuracy"]
    for name, more in {"chosen": [], "on_test": of_test}.items():
        code, _, err = train(tmp_path, *QUICK, *hard, *more, "epochs=4", f"name={name}")
        assert code == 0, err
        paths = RunPaths(tmp_path / "outputs/runs" / name)
        (run,) = read_folder(paths.folder).runs
        kept = load_file(paths.predictions)
        assert len(kept["true"]) == 128
        accuracy = float((kept["predicted"] == kept["true"]).mean())
        assert accuracy == run.metrics["test_accuracy"]
        assert run.best_epoch is not None
        first = next(value for key, _, value in points(paths.folder) if key == "train_loss")
        assert run.start_loss == first
        assert run.classes == ("class0", "class1", "class2", "class3")
