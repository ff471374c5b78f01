"""MLflow as people have it: folders with special names, projects that move, experiments in the trash."""

from __future__ import annotations

import logging
import shlex
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from mlflow import MlflowClient

from sweeps.analysis.sources import Sources
from sweeps.config import TrackingConfig
from sweeps.errors import TrackingUnavailableError
from sweeps.runs.outcome import Outcome
from sweeps.runs.paths import RunPaths
from sweeps.runs.record import RunRecord
from sweeps.tracking import Mirror, mlflow_tracker, tracking_uri
from sweeps.tracking.address import sqlite_file, sqlite_uri
from sweeps.tracking.mlflow.reader import StoreReader

if TYPE_CHECKING:
    from pathlib import Path

EXPERIMENT = ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID")


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in EXPERIMENT:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def project(tmp_path: Path, made_store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project folder, and its output folder with a database; commands run there."""
    folder = tmp_path / "old"
    (folder / "outputs").mkdir(parents=True)
    shutil.copyfile(made_store, folder / "outputs" / "mlflow.db")
    monkeypatch.chdir(folder)
    return folder


def known(client: MlflowClient, name: str = "sweeps") -> Any:
    found = client.get_experiment_by_name(name)
    assert found is not None
    return found


def send(output_dir: Path, key: str, **tracking: Any) -> Mirror:
    """Sends a finished run as a command does."""
    folder = output_dir / "runs" / key
    folder.mkdir(parents=True)
    record = RunRecord(
        key=key, identity="f" * 64, name=key, status="RUNNING", objective="val_loss", started_ms=1
    )
    record.save(RunPaths(folder))
    record.status, record.outcome, record.ended_ms = "FINISHED", Outcome.FINISHED, 2
    record.save(RunPaths(folder))
    return send_again(output_dir, folder, **tracking)


def send_again(output_dir: Path, folder: Path, **tracking: Any) -> Mirror:
    mirror = Mirror([mlflow_tracker(TrackingConfig(**tracking), output_dir)])
    mirror.start()
    mirror.wait_ready()
    mirror.watch_run(RunPaths(folder))
    mirror.close()
    return mirror


def in_store(output_dir: Path) -> dict[str, set[str]]:
    """Returns the names of the files that MLflow's own client finds, by run."""
    client = MlflowClient(sqlite_uri(output_dir / "mlflow.db"))
    runs = client.search_runs([known(client).experiment_id])
    return {
        run.info.run_name: {item.path for item in client.list_artifacts(run.info.run_id)}
        for run in runs
    }


# Special names


@pytest.mark.parametrize("outputs", ["outputs", "my%20out?puts"])
@pytest.mark.parametrize("name", ["my%20project", "what?#now", "100% 数据"])
def test_any_name_of_a_folder(
    name: str, outputs: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = project.rename(project.with_name(name))
    monkeypatch.chdir(folder)
    output_dir = (folder / "outputs").rename(folder / outputs)
    assert send(output_dir, "a").complete
    assert in_store(output_dir) == {"a": {"run.json"}}
    uri = tracking_uri(TrackingConfig(), output_dir)
    assert Sources.choose(output_dir).tracking_uri == uri
    assert len(StoreReader(uri).experiment("sweeps", "").runs) == 1
    assert [path.name for path in folder.parent.iterdir()] == [name]
    assert [path.name for path in folder.iterdir()] == [outputs]


def test_the_files_of_uris(tmp_path: Path) -> None:
    for name in ("plain.db", "a%20b.db", "a?b.db", "a#b c.db", "数.db"):
        file = sqlite_file(sqlite_uri(tmp_path / name))
        assert file is not None
        assert file.absolute() == tmp_path / name
    assert sqlite_uri(tmp_path / "a b.db") == f"sqlite:///{tmp_path}/a b.db"
    assert sqlite_file("http://localhost:5000") is None


# Moved projects


@pytest.mark.parametrize("how", ["moved", "copied"])
def test_the_files_of_a_project_stay_in_its_folder(
    how: str, project: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    send(project / "outputs", "a")
    new = project.with_name("new")
    (shutil.move if how == "moved" else shutil.copytree)(project, new)
    monkeypatch.chdir(new)
    caplog.set_level(logging.INFO, "sweeps")
    for key in ("b", "c"):
        send(new / "outputs", key)
    assert caplog.text.count(f"The project was in {project / 'outputs'}: MLflow keeps") == 1
    assert in_store(new / "outputs") == {key: {"run.json"} for key in "abc"}
    files = [path.relative_to(new).parts[:2] for path in new.rglob("artifacts/*/*/run.json")]
    assert files == [("outputs", "artifacts")] * 3
    left = list(project.rglob("artifacts/*/*/run.json")) if project.exists() else []
    assert len(left) == (how == "copied")


def test_a_place_that_somebody_chose_is_kept(project: Path, tmp_path: Path) -> None:
    client = MlflowClient(f"sqlite:///{project}/outputs/mlflow.db")
    chosen = tmp_path / "elsewhere" / "artifacts"
    chosen.mkdir(parents=True)
    client.create_experiment("sweeps", chosen.as_uri())
    send(project / "outputs", "a")
    assert len(list(chosen.rglob("run.json"))) == 1


def test_a_store_of_two_projects_is_left_as_it_is(project: Path, tmp_path: Path) -> None:
    send(project / "outputs", "a")
    shared = f"sqlite:///{project}/outputs/mlflow.db"
    send(tmp_path / "other" / "outputs", "b", uri=shared)
    assert (
        known(MlflowClient(shared)).artifact_location
        == (project / "outputs" / "artifacts").as_uri()
    )


def test_a_link_to_the_project_is_the_project(project: Path, tmp_path: Path) -> None:
    send(project / "outputs", "a")
    (tmp_path / "link").symlink_to(project)
    send(tmp_path / "link" / "outputs", "b")
    client = MlflowClient(f"sqlite:///{project}/outputs/mlflow.db")
    assert known(client).artifact_location == (project / "outputs" / "artifacts").as_uri()


# Experiments


def test_mlflow_knows_that_the_experiment_is_of_trainings(project: Path) -> None:
    client = MlflowClient(f"sqlite:///{project}/outputs/mlflow.db")
    client.create_experiment("before")
    for name in ("new", "before"):
        send(project / "outputs", name, experiment=name)
        assert known(client, name).tags["mlflow.experimentKind"] == "custom_model_development"


def test_the_command_in_the_message_brings_back_an_experiment_from_the_trash(
    project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    uri = f"sqlite:///{project}/outputs/mlflow.db"
    assert send(project / "outputs", "a").complete
    client = MlflowClient(uri)
    number = known(client).experiment_id
    client.delete_experiment(number)
    assert not send(project / "outputs", "b").complete
    assert "its experiment 'sweeps' is in the trash; to restore it: " in caplog.text
    assert "The run goes on" in caplog.text
    assert "python -m sweeps.sync" in caplog.text
    command = caplog.text.split("to restore it: ")[1].split("; or name")[0]
    setting, program, *arguments = shlex.split(command)
    assert (setting, program) == (f"MLFLOW_TRACKING_URI={uri}", "mlflow")
    subprocess.run(
        ["env", setting, sys.executable, "-m", "mlflow", *arguments], check=True, timeout=300
    )
    assert send_again(project / "outputs", project / "outputs/runs/b").complete
    assert set(in_store(project / "outputs")) == {"a", "b"}


def test_the_experiment_of_an_id(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = MlflowClient(f"sqlite:///{project}/outputs/mlflow.db")
    number = client.create_experiment("mine")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", number)
    send(project / "outputs", "a")
    assert [run.info.run_name for run in client.search_runs([number])] == ["a"]
    assert client.get_experiment_by_name("sweeps") is None
    assert Sources.choose(project / "outputs").read_experiment("").runs[0].name == "a"
    send(project / "outputs", "b", experiment="named")
    assert client.get_experiment_by_name("named") is not None
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "77")
    with pytest.raises(TrackingUnavailableError, match="MLFLOW_EXPERIMENT_ID=77 is no experiment"):
        send(project / "outputs", "c")
