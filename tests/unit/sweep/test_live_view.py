"""What stands below the table of a sweep that trains."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sweeps.config import Config
from sweeps.runs.outcome import Outcome
from sweeps.runs.paths import RunPaths
from sweeps.runs.record import RunRecord
from sweeps.sweep.cell import Cell
from sweeps.sweep.live_view import LiveView

if TYPE_CHECKING:
    from pathlib import Path

RUNS = {
    "lr=1.0,seed=0": ("finished", 0.98),
    "lr=0.1,seed=0": ("finished", 0.97),
    "lr=0.1,seed=1": ("finished", 0.96),
    "lr=1.0,seed=1": ("diverged", 0.97),
}
SAID = [
    "lr=1.0  val_accuracy 0.9800",
    "lr=1.0  val_accuracy 0.9800",
    "lr=0.1  val_accuracy 0.9650 (mean of 2 seeds)",  # one lucky seed is not ranked above repeats
    "lr=0.1  val_accuracy 0.9650 (mean of 2 seeds)",
]


def save(folder: Path, name: str, outcome: str | None, value: float | None) -> RunPaths:
    paths = RunPaths(folder / name)
    paths.folder.mkdir(exist_ok=True)
    RunRecord(
        key=name,
        identity=name,
        name=name,
        status="FINISHED" if outcome else "RUNNING",
        objective="val_accuracy",
        started_ms=0,
        outcome=Outcome(outcome) if outcome else None,
        objective_value=value,
        best_epoch=1,
        overrides=name.split(","),
        params={key: float(of) for key, of in (word.split("=") for word in name.split(","))},
    ).save(paths)
    return paths


def cell_of(paths: RunPaths, name: str) -> Cell:
    cell = Cell(name.split(","), Config(), name, paths.folder, b"", label=name)
    cell.load()
    return cell


def test_the_best_so_far_is_the_best_setting_of_what_has_ended(tmp_path: Path) -> None:
    view = LiveView(total=len(RUNS), workers=1)
    cells = {name: cell_of(save(tmp_path, name, None, None), name) for name in RUNS}
    view.show(list(cells.values()))
    assert view.best_so_far() == ""
    said = []
    for name, (outcome, value) in RUNS.items():
        view.running([cells[name]])
        save(tmp_path, name, outcome, value)
        cells[name].load()
        view.ended(cells[name])
        said.append(view.best_so_far())
    assert said == SAID


def test_what_had_ended_before_counts(tmp_path: Path) -> None:
    view = LiveView(total=len(RUNS), workers=1)
    kept = [(save(tmp_path, name, *ended), name) for name, ended in RUNS.items()]
    view.show([cell_of(paths, name) for paths, name in kept])
    assert view.best_so_far() == SAID[-1]


@pytest.mark.parametrize("more", [0, 1])
def test_losses_of_two_kinds_have_a_best_each(tmp_path: Path, more: int) -> None:
    view = LiveView(total=2, workers=1)
    cells = []
    for kind, value in (("l1", 0.5), ("mse", 0.1)):
        paths = save(tmp_path, f"lr={more}", "finished", value)
        record = RunRecord.load(paths)
        assert record is not None
        record.objective, record.choices, record.identity = "val_loss", {"loss": kind}, kind
        own = RunPaths(tmp_path / kind)
        own.folder.mkdir()
        record.save(own)
        cells.append(cell_of(own, kind))
    view.show(cells)
    assert view.best_so_far() == f"lr={more}  val_loss 0.5000; lr={more}  val_loss 0.1000"


def test_runs_that_are_added_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    view = LiveView(total=1, workers=1)
    cells = [cell_of(save(tmp_path, "lr=1.0,seed=0", "finished", 0.9), "lr=1.0,seed=0")]
    view.show(cells)
    cells.append(cell_of(save(tmp_path, "lr=2.0,seed=0", None, None), "lr=2.0,seed=0"))
    view.show(cells)
    save(tmp_path, "lr=2.0,seed=0", "finished", 0.8)
    cells[1].load()
    with caplog.at_level("INFO"):
        view.ended(cells[1])
    assert "[2/2] lr=2.0,seed=0  finished" in caplog.text
