"""MLflow is refused, killed, silent, failing, locked or crowded, and no training notices."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import signal
import sqlite3
import time
from typing import TYPE_CHECKING, Any

import pytest
from harness.program import QUICK, all_runs, client, finish, start, train
from harness.server import Proxy, Server
from mlflow.exceptions import MlflowException

from sweeps.tracking import Store
from sweeps.tracking.mlflow.reader import StoreReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from harness.program import Process

ALONE = ["device=cpu", "threads=1"]
SLOW = ["model=custom", "model._target_=sleeping.Net", "trusted_targets=[sleeping]"]
SLOW += ["data=synthetic", "data.samples=1280", "epochs=6", "log_every=2"]
SWEEP = ["-m", "name=s", *QUICK, *ALONE, "lr=0.1,0.01"]
WARNING = "MLflow does not take the points"
SEND_LATER = "Send it later with: python -m sweeps.sync outputs/runs/"
BUSY_TIMEOUT_S = 20.0
"""How long SQLite itself waits for a lock in MLflow's store."""


SLEEPING = """
import time
import torch

class Net(torch.nn.Module):
    def __init__(self, in_channels, image_size, num_classes):
        super().__init__()
        self.layer = torch.nn.Linear(in_channels * image_size**2, num_classes)

    def forward(self, x):
        if self.training:
            time.sleep(0.15)
        return self.layer(x.flatten(1))
"""


def start_slow(folder: Path, *arguments: str) -> Process:
    """Starts a run that takes a quarter of a minute and leaves the cores to others."""
    (folder / "sleeping.py").write_text(SLEEPING)
    return start(folder, *arguments, *SLOW, *ALONE)


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    running = Proxy(server.port)
    yield running
    running.stop()


def test_a_sweep_is_refused_at_the_start_and_leaves_nothing(tmp_path: Path, server: Server) -> None:
    proxies = {mode: Proxy(server.port) for mode in ("refuse", "hang", "fail")}
    processes = {}
    began = time.monotonic()
    for mode, proxy in proxies.items():
        proxy.switch(mode)  # type: ignore[arg-type]
        (tmp_path / mode).mkdir()
        processes[mode] = start(tmp_path / mode, *SWEEP, f"tracking.uri={proxy.uri}")
    for mode, process in processes.items():
        code, out, err = finish(process)
        assert code == 2, (mode, out, err)
        assert len(err.splitlines()) == 1, err
        assert proxies[mode].uri in err
        assert "Traceback" not in out + err
        assert not (tmp_path / mode / "outputs").exists()
        proxies[mode].stop()
    assert time.monotonic() - began < 150  # 20 s where nothing else runs; MLflow itself waits 4 min


def test_what_was_trained_offline_is_sent_later(
    tmp_path: Path, server: Server, proxy: Proxy
) -> None:
    proxy.switch("refuse")
    where = [f"tracking.uri={proxy.uri}", "tracking.experiment=offline"]
    code, out, err = train(tmp_path, *SWEEP, *where, "tracking.offline=true")
    assert (code, err) == (0, ""), out
    assert server.runs("offline") == []
    code, out, err = _sync(tmp_path, "outputs/sweeps/s")
    assert code == 2
    assert len(err.splitlines()) == 1, err
    proxy.switch("pass")
    cells = sorted(path.parent for path in tmp_path.glob("outputs/sweeps/s/*/run.json"))
    assert len(cells) == 2
    before = []
    for _ in range(2):
        code, out, err = _sync(tmp_path, "outputs/sweeps/s")
        assert (code, err) == (0, ""), out
        assert "2 runs, all is sent" in out
        (parent,) = [r for r in server.runs("offline") if "mlflow.parentRunId" not in r.data.tags]
        assert parent.info.status == "FINISHED"
        children = [r for r in server.runs("offline") if r.info.run_id != parent.info.run_id]
        assert {r.data.tags["mlflow.parentRunId"] for r in children} == {parent.info.run_id}
        _assert_sent(server.client(), children, cells)
        before.append(sorted(run.info.run_id for run in children))
        for file in tmp_path.glob("outputs/sweeps/s/**/mlflow.json"):
            file.unlink()  # the second time it does not even know what it has sent
    assert before[0] == before[1]


@dataclasses.dataclass(frozen=True)
class Ending:
    """What has become of a run whose server went away in the middle.

    Attributes:
        leave_s: Time from the end of the training, or from Ctrl-C, to the end of the process.
        synced: Exit code and output of the later `sweeps.sync`; None where it was not run.
    """

    folder: Path
    code: int
    out: str
    err: str
    leave_s: float
    synced: tuple[int, str, str] | None

    @property
    def run(self) -> Path:
        (record,) = self.folder.glob("outputs/runs/*/run.json")
        return record.parent


FATES = {
    "back": "refuse",
    "hang": "hang",
    "fail": "fail",
    "refuse": "refuse",
    "interrupt": "hang",
}
"""What the server does to each run; 'back' then gets it back, 'interrupt' is stopped by Ctrl-C."""


@pytest.fixture(scope="module")
def endings(tmp_path_factory: pytest.TempPathFactory, server: Server) -> dict[str, Ending]:
    """Trains all of them at once, and beside them one without tracking: they wait most of the time."""
    root = tmp_path_factory.mktemp("away")
    proxies = {fate: Proxy(server.port) for fate in FATES}
    processes = {}
    for fate in ("untracked", *FATES):
        (root / fate).mkdir()
        tracking = ["tracking=none"]
        if fate in proxies:
            tracking = [f"tracking.uri={proxies[fate].uri}", f"tracking.experiment={fate}"]
            tracking += ["tracking.system_metrics_after_s=0"]  # MLflow's own thread waits too
        processes[fate] = start_slow(root / fate, f"name={fate}", *tracking)
    for fate, proxy in proxies.items():
        _wait(processes[fate], lambda fate=fate: _sent(root / fate))  # type: ignore[misc]
        assert _record(root / fate)["status"] == "RUNNING", "it ended before its server went away"
        proxy.switch(FATES[fate])  # type: ignore[arg-type]
    processes["interrupt"].send_signal(signal.SIGINT)  # the last: its server has just gone
    asked, ends = time.time(), dict[str, float]()
    _wait(processes["back"], lambda: WARNING in _log(root / "back"))
    proxies["back"].switch("pass")
    while len(ends) < len(processes):
        for fate, process in processes.items():
            if fate not in ends and process.poll() is not None:
                ends[fate] = time.time()
        time.sleep(0.1)
    for fate in ("hang", "fail"):
        proxies[fate].switch("pass")
    results = {fate: finish(process) for fate, process in processes.items()}
    syncs = {
        fate: start(root / fate, f"outputs/runs/{fate}", module="sweeps.sync")
        for fate in ("hang", "fail", "refuse")
    }
    synced = {fate: finish(process) for fate, process in syncs.items()}
    for proxy in proxies.values():
        proxy.stop()
    trained = {fate: _record(root / fate)["ended_ms"] / 1000 for fate in processes}
    trained["interrupt"] = asked
    return {
        fate: Ending(
            root / fate, *results[fate], ends[fate] - trained[fate], synced=synced.get(fate)
        )
        for fate in processes
    }


def test_a_server_that_comes_back_gets_everything(
    endings: dict[str, Ending], server: Server
) -> None:
    end = endings["back"]
    assert (end.code, end.err) == (0, ""), end.out
    assert end.out.count(WARNING) == 1
    assert "sweeps.sync" not in end.out
    _assert_sent(server.client(), server.runs("back"), [end.run])


@pytest.mark.parametrize("fate", ["hang", "fail"])
def test_a_server_that_does_not_answer_costs_no_time_and_gets_everything_later(
    fate: str, endings: dict[str, Ending], server: Server
) -> None:
    end = endings[fate]
    _assert_trained_on(end, endings["untracked"])
    assert end.synced is not None
    code, out, err = end.synced
    assert (code, err) == (0, ""), out
    assert "1 runs, all is sent" in out
    _assert_sent(server.client(), server.runs(fate), [end.run])


def test_a_server_that_never_comes_back_is_named(
    endings: dict[str, Ending], server: Server
) -> None:
    end = endings["refuse"]
    _assert_trained_on(end, endings["untracked"])
    assert end.synced is not None
    code, out, err = end.synced
    assert code == 2, out
    assert len(err.splitlines()) == 1, err
    assert "cannot be used: Connection refused" in err


def test_ctrl_c_does_not_wait_for_a_silent_server(endings: dict[str, Ending]) -> None:
    end = endings["interrupt"]
    assert end.code == 128 + signal.SIGINT, end.out
    assert "To continue: python -m sweeps.train" in end.out
    assert _record(end.folder)["outcome"] == "interrupted"
    assert end.leave_s < 20, f"{end.leave_s:.0f} s to leave"  # 10 s where nothing else runs


def _assert_trained_on(end: Ending, untracked: Ending) -> None:
    assert (end.code, end.err) == (0, ""), end.out
    assert "Traceback" not in end.out
    assert end.out.count(WARNING) == 1
    assert end.out.count(SEND_LATER) == 1
    record, twin = _record(end.folder), _record(untracked.folder)
    assert record["outcome"] == "finished"
    assert record["metrics"] == twin["metrics"]
    assert record["seconds"] < 2 * twin["seconds"] + 5
    assert end.leave_s < 90, f"{end.leave_s:.0f} s to leave"


def test_a_lost_answer_makes_no_second_run(tmp_path: Path, server: Server, proxy: Proxy) -> None:
    proxy.lose_answer("runs/create")
    where = [f"tracking.uri={proxy.uri}", "tracking.experiment=lost"]
    code, out, err = train(tmp_path, "name=lost", *QUICK, *ALONE, *where)
    assert (code, err) == (0, ""), out
    assert any("runs/create" in path for path in proxy.requests)
    _assert_sent(server.client(), server.runs("lost"), [tmp_path / "outputs/runs/lost"])


@pytest.mark.parametrize("wish", [None, "5"])
def test_reading_first_makes_no_second_run(
    wish: str | None, server: Server, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")  # a busy machine is slow to answer
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", wish or "")
    if wish is None:
        monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES")
    experiment = f"read first, {wish} retries"
    run: dict[str, Any] = {"key": "k", "name": "n", "tags": {}, "params": {}, "start_ms": 1}
    StoreReader(proxy.uri).sweep("s", experiment)
    store = Store(proxy.uri, experiment, None)
    store.connect()
    StoreReader(proxy.uri).sweep("s", experiment)
    proxy.lose_answer("runs/create")
    with pytest.raises(MlflowException):
        store.find_or_create_run(**run)
    run_id = store.find_or_create_run(**run)
    assert [run.info.run_id for run in server.runs(experiment)] == [run_id]
    assert sum("runs/create" in path for path in proxy.requests) == 1


@pytest.mark.usefixtures("ready_store")
def test_a_locked_database_loses_nothing_and_stops_nothing(tmp_path: Path) -> None:
    process = start_slow(tmp_path, "name=locked")
    _wait(process, lambda: _sent(tmp_path))
    with contextlib.closing(
        sqlite3.connect(tmp_path / "outputs/mlflow.db", timeout=60, isolation_level=None)
    ) as database:
        database.execute("BEGIN EXCLUSIVE")
        held = time.monotonic()
        assert _record(tmp_path)["status"] == "RUNNING"
        # The training ends while the store is locked, for longer than SQLite itself waits.
        _wait(process, lambda: _record(tmp_path)["status"] == "FINISHED")
        time.sleep(max(0.0, held + BUSY_TIMEOUT_S + 5 - time.monotonic()))
        database.execute("ROLLBACK")
    code, out, err = finish(process)
    assert (code, err) == (0, ""), out
    assert out.count(WARNING) == 1
    assert "sweeps.sync" not in out
    _assert_sent(client(tmp_path), all_runs(tmp_path), [tmp_path / "outputs/runs/locked"])


def test_eight_first_starts_at_once(tmp_path: Path) -> None:
    names = [f"r{number}" for number in range(8)]
    processes = [start(tmp_path, f"name={name}", *QUICK, *ALONE) for name in names]
    for process in processes:
        code, out, err = finish(process)
        assert (code, err) == (0, ""), out
        assert WARNING not in out
    _assert_sent(
        client(tmp_path), all_runs(tmp_path), [tmp_path / "outputs/runs" / name for name in names]
    )


def _sync(folder: Path, *arguments: str) -> tuple[int, str, str]:
    return finish(start(folder, *arguments, module="sweeps.sync"))


def _assert_sent(store: Any, runs: Sequence[Any], folders: Sequence[Path]) -> None:
    """Checks that a store has each run once, finished, and each point once with its own time."""
    assert [run.info.status for run in runs] == ["FINISHED"] * len(folders)
    by_folder = {run.data.tags["sweeps.folder"]: run for run in runs}
    assert sorted(by_folder) == sorted(map(str, folders))
    for folder in folders:
        run = by_folder[str(folder)]
        record = json.loads((folder / "run.json").read_text())
        assert (run.info.start_time, run.info.end_time) == (
            record["started_ms"],
            record["ended_ms"],
        )
        lines = list(map(json.loads, (folder / "metrics.jsonl").read_text().splitlines()))
        assert lines
        for key in {line["key"] for line in lines}:
            written = [(p["step"], p["time_ms"], p["value"]) for p in lines if p["key"] == key]
            history = store.get_metric_history(run.info.run_id, key)
            assert len(history) == len(written), (folder.name, key)
            assert sorted((p.step, p.timestamp, p.value) for p in history) == sorted(written)
        best = store.get_metric_history(run.info.run_id, f"best_{record['objective']}")
        assert [(p.timestamp, p.value) for p in best] == [
            (record["ended_ms"], record["objective_value"])
        ]
        names = {file.path for file in store.list_artifacts(run.info.run_id)}
        assert names >= {"config", "environment.json", "model.safetensors", "run.json", "train.log"}


def _wait(process: Process, until: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 180
    while not until():
        assert time.monotonic() < deadline
        assert process.poll() is None, finish(process)
        time.sleep(0.05)


def _sent(folder: Path) -> bool:
    """Whether the store has points of the run in a folder."""
    for path in folder.glob("outputs/runs/*/mlflow.json"):
        return bool(json.loads(path.read_text()).get("offset", 0) > 0)
    return False


def _record(folder: Path) -> dict[str, Any]:
    (path,) = folder.glob("outputs/runs/*/run.json")
    record: dict[str, Any] = json.loads(path.read_text())
    return record


def _log(folder: Path) -> str:
    return "".join(path.read_text() for path in folder.glob("outputs/runs/*/train.log"))
