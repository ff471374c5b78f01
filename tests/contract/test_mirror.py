"""The mirror against a real SQLite store, read back with MLflow's own client."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import shutil
import socket
import time
from typing import TYPE_CHECKING, Any

import pytest

from sweeps.config import TrackingConfig
from sweeps.errors import TrackingUnavailableError
from sweeps.files import replace_json, replace_text
from sweeps.runs.paths import RunPaths, SweepPaths
from sweeps.runs.record import RunRecord, SweepRecord
from sweeps.sweep.sync import sync
from sweeps.tracking import Mirror, mlflow_tracker, tracking_uri

if TYPE_CHECKING:
    from pathlib import Path

STARTED_MS = 1_700_000_000_000


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def store(tmp_path: Path, made_store: Path) -> None:
    """A database at its place; the one that is deleted in a test is made anew by the mirror."""
    shutil.copyfile(made_store, tmp_path / "mlflow.db")


def a_run(folder: Path, *, key: str = "key-a", name: str = "lr=0.1,optimizer=sgd") -> RunRecord:
    folder.mkdir(parents=True, exist_ok=True)
    record = RunRecord(
        key=key,
        identity="f" * 64,
        name=name,
        status="RUNNING",
        objective="val_loss",
        started_ms=STARTED_MS,
        overrides=name.split(","),
        choices={"optimizer": "sgd", "model": "mlp"},
        params={
            "lr": 0.1,
            "optimizer._target_": "torch.optim.SGD",
            "threads": None,
            "x": "y" * 9000,
        },
        dataset={"name": "digits", "digest": "abc123", "shape": [1, 8, 8], "classes": 10},
        git={"commit": "c" * 40, "branch": "main", "dirty": True},
    )
    record.save(RunPaths(folder))
    return record


def add_points(folder: Path, values: list[float], *, first: int = 1, key: str = "val_loss") -> None:
    with RunPaths(folder).metrics.open("a") as file:
        for step, value in enumerate(values, first):
            point = {"key": key, "value": value, "step": step, "time_ms": STARTED_MS + step}
            file.write(json.dumps(point) + "\n")


def finish(folder: Path, record: RunRecord, **changes: Any) -> RunRecord:
    ended: dict[str, Any] = {"status": "FINISHED", "outcome": "finished", "best_epoch": 1}
    ended |= {"objective_value": 0.25, "ended_ms": STARTED_MS + 60_000, **changes}
    record = dataclasses.replace(record, **ended)
    record.save(RunPaths(folder))
    return record


def push(output_dir: Path, *runs: Path, sweep: Path | None = None) -> None:
    """One process's mirror: connects, sends what is there, and ends."""
    mirror = Mirror([mlflow_tracker(TrackingConfig(), output_dir)])
    mirror.start()
    mirror.wait_ready()
    for run in runs:
        mirror.watch_run(RunPaths(run))
    if sweep is not None:
        mirror.watch_sweep(SweepPaths(sweep))
    mirror.close()


def client(output_dir: Path) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(f"sqlite:///{output_dir}/mlflow.db")


def stored(output_dir: Path) -> list[Any]:
    reader = client(output_dir)
    experiment = reader.get_experiment_by_name("sweeps")
    return list(reader.search_runs([experiment.experiment_id]))


def history(output_dir: Path, run: Any, key: str = "val_loss") -> list[tuple[int, int, float]]:
    points = client(output_dir).get_metric_history(run.info.run_id, key)
    return sorted((point.step, point.timestamp, point.value) for point in points)


def artifacts(output_dir: Path, run: Any, folder: str | None = None) -> set[str]:
    return {item.path for item in client(output_dir).list_artifacts(run.info.run_id, folder)}


def test_a_finished_run_is_in_the_store_with_all_it_has(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    record = a_run(folder)
    paths = RunPaths(folder)
    paths.hydra.mkdir()
    paths.config.write_text("lr: 0.1\n")
    for path in (paths.environment, paths.diff, paths.log, paths.weights):
        path.write_text("{}")
    add_points(folder, [0.5, 0.25])
    finish(folder, record)
    push(tmp_path, folder)

    (run,) = stored(tmp_path)
    assert run.info.run_name == "lr=0.1,optimizer=sgd"
    assert (run.info.status, run.info.start_time, run.info.end_time) == (
        "FINISHED",
        STARTED_MS,
        STARTED_MS + 60_000,
    )
    params = run.data.params
    assert params.pop("x") == "y" * 6000
    assert params == {
        "lr": "0.1",
        "optimizer._target_": "torch.optim.SGD",
        "threads": "None",
        "optimizer": "sgd",
        "model": "mlp",
    }
    assert run.data.metrics == {"val_loss": 0.25, "best_val_loss": 0.25, "settings/lr": 0.1}
    tags = run.data.tags
    assert tags["sweeps.key"] == "key-a"
    assert tags["sweeps.identity"] == "f" * 64
    assert tags["sweeps.outcome"] == "finished"
    assert tags["mlflow.source.git.commit"] == "c" * 40
    assert tags["sweeps.git_dirty"] == "true"
    (data,) = run.inputs.dataset_inputs
    assert (data.dataset.name, data.dataset.digest) == ("digits", "abc123")
    assert history(tmp_path, run) == [(1, STARTED_MS + 1, 0.5), (2, STARTED_MS + 2, 0.25)]
    assert artifacts(tmp_path, run) >= {"config", "train.log", "model.safetensors"}
    assert artifacts(tmp_path, run) >= {"environment.json", "uncommitted.diff"}
    assert artifacts(tmp_path, run, "config") == {"config/config.yaml"}
    assert run.info.artifact_uri.startswith((tmp_path / "artifacts").as_uri())


def test_thousands_of_points_arrive_and_those_not_finite_too(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    record = a_run(folder)
    add_points(folder, [float(step) for step in range(1, 2501)])
    add_points(folder, [math.nan, math.inf], key="train_loss")
    finish(folder, record, outcome="diverged", objective_value=None, best_epoch=None)
    push(tmp_path, folder)
    (run,) = stored(tmp_path)
    assert [value for _, _, value in history(tmp_path, run)] == [*map(float, range(1, 2501))]
    first, second = history(tmp_path, run, "train_loss")
    assert math.isnan(first[2])
    assert second[2] > 1e308
    assert run.data.tags["sweeps.outcome"] == "diverged"


def test_pushing_again_changes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    record = a_run(folder)
    add_points(folder, [0.5, 0.25])
    finish(folder, record)
    push(tmp_path, folder)
    (before,) = stored(tmp_path)
    push(tmp_path, folder)
    (after,) = stored(tmp_path)
    assert after.to_dictionary() == before.to_dictionary()
    assert len(history(tmp_path, after)) == 2


def test_a_lost_mirror_file_makes_no_second_run_or_point(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    record = a_run(folder)
    add_points(folder, [0.5, 0.25])
    finish(folder, record)
    push(tmp_path, folder)
    RunPaths(folder).mirror.unlink()
    push(tmp_path, folder)
    (run,) = stored(tmp_path)
    assert len(history(tmp_path, run)) == 2
    assert len(history(tmp_path, run, "best_val_loss")) == 1
    assert run.info.status == "FINISHED"
    assert run.info.end_time == STARTED_MS + 60_000


def test_a_deleted_store_is_filled_again(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    record = a_run(folder)
    add_points(folder, [0.5, 0.25])
    finish(folder, record)
    push(tmp_path, folder)
    (tmp_path / "mlflow.db").unlink()
    push(tmp_path, folder)
    (run,) = stored(tmp_path)
    assert run.info.status == "FINISHED"
    assert len(history(tmp_path, run)) == 2


def test_a_line_without_its_end_waits_for_it(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    a_run(folder)
    add_points(folder, [0.5])
    whole = json.dumps({"key": "val_loss", "value": 0.25, "step": 2, "time_ms": STARTED_MS + 2})
    with RunPaths(folder).metrics.open("a") as file:
        file.write(whole[:20])
    push(tmp_path, folder)
    (run,) = stored(tmp_path)
    assert run.info.status == "RUNNING"
    assert [step for step, _, _ in history(tmp_path, run)] == [1]
    with RunPaths(folder).metrics.open("a") as file:
        file.write(whole[20:] + "\n")
    push(tmp_path, folder)
    assert [step for step, _, _ in history(tmp_path, run)] == [1, 2]


def test_points_forgotten_after_a_kill_do_not_hide_the_new_ones(tmp_path: Path) -> None:
    """A continued run rewrites metrics.jsonl shorter than what was already sent of it."""
    folder = tmp_path / "run"
    record = a_run(folder)
    add_points(folder, [0.9, 0.8, 0.7, 0.6])
    push(tmp_path, folder)  # and then SIGKILL: the record still says RUNNING
    metrics = RunPaths(folder).metrics
    lines = metrics.read_text().splitlines(keepends=True)
    replace_text(metrics, "".join(lines[:2]))
    add_points(folder, [0.5] * 10, first=103)
    finish(folder, record)
    push(tmp_path, folder)
    (run,) = stored(tmp_path)
    assert [step for step, _, _ in history(tmp_path, run)] == [1, 2, 3, 4, *range(103, 113)]
    assert run.info.status == "FINISHED"


def test_an_interrupted_run_that_goes_on_shows_its_last_best(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    record = a_run(folder)
    add_points(folder, [0.9])
    finish(folder, record, status="KILLED", outcome="interrupted", objective_value=0.9)
    push(tmp_path, folder)
    assert stored(tmp_path)[0].info.status == "KILLED"
    record.save(RunPaths(folder))
    push(tmp_path, folder)
    assert stored(tmp_path)[0].info.status == "RUNNING"
    add_points(folder, [0.25], first=2)
    finish(folder, record, ended_ms=STARTED_MS + 90_000)
    push(tmp_path, folder)
    (run,) = stored(tmp_path)
    assert (run.info.status, run.info.end_time) == ("FINISHED", STARTED_MS + 90_000)
    assert run.data.metrics["best_val_loss"] == 0.25
    assert run.data.tags["sweeps.outcome"] == "finished"
    assert len(history(tmp_path, run)) == 2


def test_a_sweep_is_a_parent_and_its_cells_are_children(tmp_path: Path) -> None:
    sweep = SweepPaths(tmp_path / "study")
    first, second = sweep.folder / "lr=0.1", sweep.folder / "lr=0.2"
    finish(first, a_run(first, key="a", name="lr=0.1"))
    failed = {"status": "FAILED", "outcome": "failed", "objective_value": None}
    finish(second, a_run(second, key="b", name="lr=0.2"), error="ValueError: no", **failed)
    sweep.results_markdown.write_text("| table |\n" * 2000)
    sweep.results_csv.write_text("a,b\n")
    sweep.multirun.write_text("lr: 0.1\n")
    SweepRecord(
        key="s",
        name="study",
        status="FAILED",
        objective="val_loss",
        started_ms=STARTED_MS,
        ended_ms=STARTED_MS + 5,
        command="python -m sweeps.train " + "lr=0.1," * 2000,
        cells=2,
        best_value=0.25,
    ).save(sweep)
    push(tmp_path, sweep=sweep.folder)
    push(tmp_path, sweep=sweep.folder)

    runs = {run.data.tags["sweeps.key"]: run for run in stored(tmp_path)}
    assert len(stored(tmp_path)) == 3
    parent = runs["s"]
    assert (parent.info.status, parent.info.end_time) == ("FAILED", STARTED_MS + 5)
    assert "| table |" in parent.data.tags["mlflow.note.content"]
    assert parent.data.metrics == {
        "best_val_loss": 0.25,
        "runs/finished": 1,
        "runs/diverged": 0,
        "runs/pruned": 0,
        "runs/failed": 1,
    }
    assert artifacts(tmp_path, parent) == {"results.csv", "results.md", "multirun.yaml"}
    for key in ("a", "b"):
        assert runs[key].data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert runs[key].data.tags["sweeps.sweep"] == "study"
    assert [runs[key].info.status for key in ("a", "b")] == ["FINISHED", "FAILED"]
    assert runs["b"].data.tags["sweeps.error"] == "ValueError: no"


def test_an_extended_sweep_shows_its_new_best_and_counts(tmp_path: Path) -> None:
    sweep = SweepPaths(tmp_path / "study")
    finish(sweep.folder / "a", a_run(sweep.folder / "a", key="a"))
    record = SweepRecord("s", "study", "FINISHED", "val_loss", STARTED_MS, STARTED_MS + 5)
    record.best_value = 0.25
    sweep.results_markdown.write_text("| table |\n")
    record.save(sweep)
    push(tmp_path, sweep=sweep.folder)
    for key, changes in (
        ("b", {"objective_value": 0.125}),
        ("c", {"outcome": "pruned", "objective_value": 0.0}),
        ("d", {"outcome": "diverged", "objective_value": 0.0}),
    ):
        finish(sweep.folder / key, a_run(sweep.folder / key, key=key), **changes)
    dataclasses.replace(record, status="RUNNING").save(sweep)
    push(tmp_path, sweep=sweep.folder)
    dataclasses.replace(record, ended_ms=STARTED_MS + 9, best_value=0.125).save(sweep)
    push(tmp_path, sweep=sweep.folder)
    (parent,) = [run for run in stored(tmp_path) if run.data.tags["sweeps.key"] == "s"]
    assert parent.data.metrics == {
        "best_val_loss": 0.125,
        "runs/finished": 2,
        "runs/diverged": 1,
        "runs/pruned": 1,
        "runs/failed": 0,
    }


def test_the_best_of_a_sweep_is_that_of_the_ranking(tmp_path: Path) -> None:
    """Its command was killed, or is older: `sync` asks the ranking in its place."""
    sweep = SweepPaths(tmp_path / "outputs/sweeps/study")
    for name, outcome, value in (
        *(("lr=0.1,seed=0", "finished", 0.25), ("lr=0.1,seed=1", "finished", 0.5)),
        *(("lr=1.0,seed=0", "finished", 0.125), ("lr=1.0,seed=1", "diverged", 0.125)),
    ):
        folder = sweep.folder / name
        record = dataclasses.replace(a_run(folder, key=name, name=name), identity=name)
        record.params |= {
            key: float(of) for key, of in (word.split("=") for word in name.split(","))
        }
        finish(folder, record, outcome=outcome, objective_value=value)
    SweepRecord("s", "study", "FINISHED", "val_loss", STARTED_MS, STARTED_MS + 5).save(sweep)
    assert sync([sweep.folder], uri=f"sqlite:///{tmp_path}/mlflow.db", experiment=None)
    (parent,) = [run for run in stored(tmp_path) if run.data.tags["sweeps.key"] == "s"]
    assert parent.data.metrics["best_val_loss"] == 0.375
    ended = SweepRecord.load(sweep)
    assert ended is not None
    assert ended.best_value == 0.375


def test_the_measures_of_a_sweep_are_its_metrics(tmp_path: Path) -> None:
    sweep = SweepPaths(tmp_path / "study")
    sweep.folder.mkdir()
    SweepRecord("s", "study", "FINISHED", "val_loss", STARTED_MS, STARTED_MS + 5).save(sweep)
    curve = [{"key": "expected_best/adam", "value": v, "step": k} for k, v in ((1, 0.5), (2, 0.25))]
    replace_json(sweep.measures, {"points": curve})
    push(tmp_path, sweep=sweep.folder)
    (parent,) = stored(tmp_path)
    assert history(tmp_path, parent, "expected_best/adam") == [
        (1, STARTED_MS + 5, 0.5),
        (2, STARTED_MS + 5, 0.25),
    ]


def test_a_sweep_that_went_on_and_ended_between_two_looks(tmp_path: Path) -> None:
    sweep = SweepPaths(tmp_path / "study")
    sweep.folder.mkdir()
    for status, ended_ms in (("FAILED", STARTED_MS + 5), ("FINISHED", STARTED_MS + 90)):
        SweepRecord(
            key="s",
            name="study",
            status=status,
            objective="val_loss",
            started_ms=STARTED_MS,
            ended_ms=ended_ms,
        ).save(sweep)
        push(tmp_path, sweep=sweep.folder)
        (parent,) = stored(tmp_path)
        assert (parent.info.status, parent.info.end_time) == (status, ended_ms)


def test_a_damaged_cell_does_not_keep_the_others_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    damaged, whole = tmp_path / "a", tmp_path / "b"
    a_run(damaged, key="a")
    RunPaths(damaged).record.write_text("{")
    finish(whole, a_run(whole, key="b"))
    with caplog.at_level(logging.WARNING, logger="sweeps"):
        push(tmp_path, damaged, whole)
    assert [run.info.status for run in stored(tmp_path)] == ["FINISHED"]
    assert "run.json is damaged" in caplog.text


def test_a_store_that_goes_away_is_one_warning_and_gets_the_points_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweeps.tracking.mirror.PUSH_EVERY_S", 0.05)
    folder = tmp_path / "run"
    record = a_run(folder)
    push(tmp_path, folder)
    artifact_root, away = tmp_path / "artifacts", tmp_path / "away"
    mirror = Mirror([mlflow_tracker(TrackingConfig(), tmp_path)])
    mirror.start()
    mirror.wait_ready()
    if artifact_root.exists():
        artifact_root.rename(away)
    artifact_root.write_text("a file where a folder must be")
    RunPaths(folder).log.write_text("said")
    finish(folder, record)
    with caplog.at_level(logging.WARNING, logger="sweeps"):
        mirror.watch_run(RunPaths(folder))
        time.sleep(1)
        assert len([r for r in caplog.records if "MLflow" in r.message]) == 1
    assert "metrics.jsonl" in caplog.text
    artifact_root.unlink()
    mirror.close()
    (run,) = stored(tmp_path)
    assert run.info.status == "FINISHED"
    assert artifacts(tmp_path, run) == {"run.json", "train.log"}


def test_an_unreachable_server_is_refused_within_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    mirror = Mirror([mlflow_tracker(TrackingConfig(uri=f"http://127.0.0.1:{port}"), tmp_path)])
    started = time.monotonic()
    mirror.start()
    with pytest.raises(TrackingUnavailableError, match=rf"{port} .*Start it.*tracking=none"):
        mirror.wait_ready()
    mirror.close()
    assert time.monotonic() - started < 20


def test_a_server_that_never_answers_is_refused_after_the_timeout(tmp_path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        mirror = Mirror([mlflow_tracker(TrackingConfig(uri=f"http://127.0.0.1:{port}"), tmp_path)])
        mirror.start()
        with pytest.raises(TrackingUnavailableError, match="did not answer within 1 s"):
            mirror.wait_ready(timeout_s=1)
        mirror.close()


def test_the_uri_is_the_configs_then_the_environments_then_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tracking_uri(TrackingConfig(), tmp_path) == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://there")
    assert tracking_uri(TrackingConfig(), tmp_path) == "http://there"
    assert tracking_uri(TrackingConfig(uri="http://here"), tmp_path) == "http://here"


def test_system_metrics_are_taken_of_a_long_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweeps.tracking.mirror.PUSH_EVERY_S", 0.05)
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.1")
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLES_BEFORE_LOGGING", "1")
    folder = tmp_path / "run"
    record = a_run(folder)
    for outcome, status in (("interrupted", "KILLED"), ("finished", "FINISHED")):
        record.save(RunPaths(folder))
        mirror = Mirror([mlflow_tracker(TrackingConfig(system_metrics_after_s=0.0), tmp_path)])
        mirror.start()
        mirror.wait_ready()
        mirror.watch_run(RunPaths(folder))
        time.sleep(2)
        finish(folder, record, outcome=outcome, status=status)
        mirror.close()
        (run,) = stored(tmp_path)
        assert run.info.status == status
    measured = next(key for key in run.data.metrics if key.startswith("system/"))
    in_order = sorted(history(tmp_path, run, measured), key=lambda point: point[1])
    assert [step for step, _, _ in in_order] == list(range(len(in_order)))  # not twice from 0
    assert len(in_order) > 2
