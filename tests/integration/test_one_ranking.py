"""Everything that names a best of a sweep names the best setting, not the luckiest run."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
from harness.program import QUICK, finish, start, train

from sweeps.errors import BadInputError
from sweeps.reproduction.original import load_original

GOLDEN = Path(__file__).parents[1] / "golden" / "v1"
SWEEP = ["-m", *QUICK, "epochs=1", "name=study", "tracking=none", "workers=1", "threads=1"]
SWEEP += ["lr=0.1,1.0", "seed=0,1,2"]
RESULTS = {
    "lr=0.1,seed=0": ("finished", 0.96),
    "lr=0.1,seed=1": ("finished", 0.97),
    "lr=0.1,seed=2": ("finished", 0.98),
    "lr=1.0,seed=0": ("finished", 0.99),
    "lr=1.0,seed=1": ("finished", 0.60),
    "lr=1.0,seed=2": ("diverged", 0.98),
}


def test_all_name_the_best_setting(tmp_path: Path) -> None:
    code, out, err = train(tmp_path, *SWEEP)
    assert (code, err) == (0, ""), out
    study = tmp_path / "outputs/sweeps/study"
    folders = {name: _rewrite(study, name) for name in RESULTS}
    before = {path: path.stat().st_mtime_ns for path in study.glob("*/checkpoint.pt")}

    code, out, err = train(tmp_path, *SWEEP)
    assert (code, err) == (0, ""), out
    assert {path: path.stat().st_mtime_ns for path in study.glob("*/checkpoint.pt")} == before
    assert "Best: lr=0.1, val_accuracy 0.9700" in out
    assert f"Best run: outputs/sweeps/study/{folders['lr=0.1,seed=1'].name}\n" in out

    with (study / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    order = [name.replace(",", " ") for name in RESULTS]
    assert [row["cell"] for row in rows] == order
    assert [row["rank"] for row in rows] == ["1", "1", "1", "-", "-", "-"]
    assert [row["folder"] for row in rows] == [str(folders[name]) for name in RESULTS]
    lines = (study / "results.md").read_text().splitlines()[2:]
    assert [line.split(" | ")[1] for line in lines] == order
    assert json.loads((study / "sweep.json").read_text())["best_value"] == pytest.approx(0.97)

    best = ["study", "--best", "--no-tracking"]
    code, out, err = finish(start(tmp_path, *best, module="sweeps.reproduce"))
    assert (code, err) == (0, ""), out
    assert "Best: lr=0.1. Of its 3 seeds the one nearest to their mean is repeated." in out
    assert f"Original: outputs/sweeps/study/{folders['lr=0.1,seed=1'].name}\n" in out


def _rewrite(study: Path, name: str) -> Path:
    """Gives a run that was trained another result, by hand."""
    lr, seed = (word.partition("=")[2] for word in name.split(","))
    for path in study.glob("*/run.json"):
        record = json.loads(path.read_text())
        if (record["params"]["lr"], record["params"]["seed"]) == (float(lr), int(seed)):
            record["outcome"], record["objective_value"] = RESULTS[name]
            path.write_text(json.dumps(record))
            return path.parent
    raise AssertionError(name)


def write_losses(study: Path, losses: dict[str, list[float]], **changed: object) -> None:
    """Writes runs by hand: values of val_loss by the kind of loss, one a learning rate."""
    for kind, values in losses.items():
        for rate, value in enumerate(values, start=1):
            folder = study / f"loss={kind},lr={rate}"
            shutil.copytree(GOLDEN, folder)
            record = json.loads((folder / "run.json").read_text())
            record |= {"name": folder.name, "identity": folder.name, "objective": "val_loss"}
            record |= {"objective_value": value, "outcome": "finished", **changed}
            record["choices"] |= {"loss": kind}
            record["params"] |= {"lr": rate}
            (folder / "run.json").write_text(json.dumps(record))


def test_of_losses_of_two_kinds_the_larger_part_has_the_best(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_losses(tmp_path / "study", {"l1": [0.5, 0.4, 0.6], "mse": [0.1, 0.2]})
    with caplog.at_level("INFO", logger="sweeps"):
        found = load_original(str(tmp_path / "study"), best=True, output_dir=tmp_path, uri="")
    assert found.record.name == "loss=l1,lr=2"
    (said,) = caplog.messages
    assert "study has 2 parts that are not ranked together: the best of the largest is" in said
    assert said.endswith("repeated, loss l1.")


def test_a_sweep_without_a_finished_run_has_no_best(tmp_path: Path) -> None:
    write_losses(tmp_path / "study", {"l1": [0.5]}, outcome="interrupted")
    with pytest.raises(BadInputError, match=r"No run of .*study has finished, so it has no best"):
        load_original(str(tmp_path / "study"), best=True, output_dir=tmp_path, uri="")
