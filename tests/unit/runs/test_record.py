from __future__ import annotations

import dataclasses
import json
import math
from typing import TYPE_CHECKING

import pytest

from sweeps.errors import BadInputError
from sweeps.runs.outcome import Outcome
from sweeps.runs.paths import RunPaths, SweepPaths
from sweeps.runs.record import RunRecord, SweepRecord, ending

if TYPE_CHECKING:
    from pathlib import Path


def a_run() -> RunRecord:
    return RunRecord(
        key="k", identity="i", name="lr=0.1", status="RUNNING", objective="val_loss", started_ms=1
    )


def test_nothing_is_loaded_where_nothing_ran(tmp_path: Path) -> None:
    assert RunRecord.load(RunPaths(tmp_path)) is None
    assert SweepRecord.load(SweepPaths(tmp_path)) is None


def test_a_run_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    record = dataclasses.replace(
        a_run(),
        status="FINISHED",
        outcome=Outcome.FINISHED,
        objective_value=0.1 + 0.2,
        best_epoch=2,
        epochs_done=3,
        metrics={"val_loss": 1 / 3, "test_accuracy": 1.0},
        ended_ms=9,
        seconds=1.5,
        overrides=["lr=0.1"],
        choices={"optimizer": "sgd"},
        params={"lr": 0.1, "threads": None, "model.widths": [8, 8]},
        dataset={"name": "digits", "digest": "d", "shape": [1, 8, 8]},
        git={"commit": "c", "branch": "b", "dirty": True},
        environment={"python": "3.11"},
    )
    record.save(RunPaths(tmp_path))
    assert RunRecord.load(RunPaths(tmp_path)) == record


def test_a_sweep_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    record = SweepRecord(
        key="k",
        name="study",
        status="KILLED",
        objective="val_loss",
        started_ms=1,
        ended_ms=2,
        command="python -m sweeps.train -m lr=0.1,0.01",
        overrides=["lr=0.1,0.01"],
        cells=2,
    )
    record.save(SweepPaths(tmp_path))
    assert SweepRecord.load(SweepPaths(tmp_path)) == record


def test_values_that_are_not_finite_survive_in_strict_json(tmp_path: Path) -> None:
    metrics = {"a": math.inf, "b": -math.inf, "c": math.nan, "d": 0.5}
    record = dataclasses.replace(a_run(), metrics=metrics, objective_value=math.inf)
    record.save(RunPaths(tmp_path))

    def refuse(word: str) -> float:
        raise AssertionError(f"{word} is not JSON")

    json.loads(RunPaths(tmp_path).record.read_text(), parse_constant=refuse)
    loaded = RunRecord.load(RunPaths(tmp_path))
    assert loaded is not None
    assert loaded.objective_value == math.inf
    assert math.isnan(loaded.metrics.pop("c"))
    assert loaded.metrics == {"a": math.inf, "b": -math.inf, "d": 0.5}


@pytest.mark.parametrize("value", [[0.5, math.inf], {"inner": [math.nan]}])
def test_params_that_are_not_finite_are_strict_json_too(tmp_path: Path, value: object) -> None:
    dataclasses.replace(a_run(), params={"p": value}).save(RunPaths(tmp_path))
    text = RunPaths(tmp_path).record.read_text()
    assert "Infinity" not in text
    assert "NaN" not in text


def test_the_numbers_of_a_run_are_what_was_typed_and_what_always_matters() -> None:
    typed = ["lr=1e-05", "optimizer=sgd", "+optimizer.momentum=0.9", "compile=true", "workers=auto"]
    params = {"lr": 1e-05, "batch_size": 64, "epochs": 3, "optimizer.momentum": 0.9}
    params |= {"compile": True}
    words = {"workers": "auto"}
    record = dataclasses.replace(a_run(), overrides=typed, params=params | words)
    assert record.numbers == {"lr": 1e-05, "batch_size": 64.0, "optimizer.momentum": 0.9}


def test_how_a_run_ended_in_words() -> None:
    assert ending(Outcome.PRUNED, 3, 27) == "pruned at epoch 3 of 27"
    assert ending(Outcome.PRUNED, 0, 27) == "pruned"
    assert ending(Outcome.FINISHED, 27, 27) == "finished"


def test_a_damaged_record_is_refused(tmp_path: Path) -> None:
    RunPaths(tmp_path).record.write_text('{"format": 1, "key')
    with pytest.raises(BadInputError, match=r"run\.json is damaged: .* Delete its folder"):
        RunRecord.load(RunPaths(tmp_path))


def test_a_record_of_another_format_is_refused(tmp_path: Path) -> None:
    RunPaths(tmp_path).record.write_text('{"format": 99}')
    with pytest.raises(BadInputError, match="has format 99; this version reads 1"):
        RunRecord.load(RunPaths(tmp_path))
