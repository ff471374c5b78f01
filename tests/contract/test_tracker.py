"""What every tracker promises: a run is found by its key, has each point once, and ends as it did.

A tracker of your own is put through it by a subclass of `TrackerContract` with two methods.
"""

from __future__ import annotations

import abc
import dataclasses
import json
import logging
import math
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import ANY

import pytest
from harness.examples import EXAMPLES, load_example
from harness.program import points as points_of
from harness.program import train

from sweeps.config import Config, TrackingConfig
from sweeps.errors import BadInputError
from sweeps.runs.outcome import Outcome
from sweeps.runs.paths import RunPaths, SweepPaths
from sweeps.runs.record import RunRecord, SweepRecord
from sweeps.sweep.sync import sync
from sweeps.tracking import (
    Ending,
    Mirror,
    Point,
    RunToTrack,
    mlflow_tracker,
    own_tracker,
    trackers_of,
)
from sweeps.tracking.tensorboard import TensorBoardTracker

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sweeps.tracking import Tracker

    Points = list[tuple[str, int, int, float]]

STARTED_MS = 1_700_000_000_123


@dataclasses.dataclass(frozen=True)
class Stored:
    """What a tracker has of a run; None: it keeps no such thing.

    Attributes:
        points: Metric, step, time in ms and value, sorted; without results and settings.
        status: 'RUNNING' while it is open.
        files: Their content, by their path.
    """

    points: Points
    status: str | None
    files: dict[str, str] | None


class TrackerContract(abc.ABC):
    """The tests; `make` and `stored` say what they are about."""

    @abc.abstractmethod
    def make(self, output_dir: Path) -> Tracker:
        """Returns a new tracker, as a command makes it."""

    @abc.abstractmethod
    def stored(self, output_dir: Path, run: RunToTrack) -> Stored | None:
        """Returns what is there of a run; of one that was replaced None, or what has no points."""

    def connected(self, output_dir: Path) -> Tracker:
        tracker = self.make(output_dir)
        assert tracker.connect()
        return tracker

    def test_each_point_is_there_once_with_its_own_time(self, tmp_path: Path) -> None:
        run, points = a_run(tmp_path), some_points(6)
        tracker = self.connected(tmp_path)
        run_id = tracker.open_run(run)
        tracker.log(run_id, points[:3])
        tracker.log(run_id, points[1:4])
        tracker.log(run_id, [])
        tracker = self.connected(tmp_path)  # after a kill nobody knows what has arrived
        assert tracker.open_run(run) == run_id
        tracker.log(run_id, points)
        assert self.found(tmp_path, run).points == as_tuples(points)

    def test_a_point_at_the_same_step_later_is_another_one(self, tmp_path: Path) -> None:
        run, (point,) = a_run(tmp_path), some_points(1)
        points = [point, point._replace(time_ms=point.time_ms + 5, value=0.75)]
        tracker = self.connected(tmp_path)
        tracker.log(tracker.open_run(run), points)
        assert self.found(tmp_path, run).points == as_tuples(points)

    def test_values_that_are_no_finite_numbers_are_taken(self, tmp_path: Path) -> None:
        run, values = a_run(tmp_path), (math.nan, math.inf, -math.inf)
        points = [p._replace(value=v) for p, v in zip(some_points(3), values, strict=True)]
        tracker = self.connected(tmp_path)
        tracker.log(tracker.open_run(run), points)
        found = self.found(tmp_path, run).points
        assert [step for _, step, _, _ in found] == [1, 2, 3]
        assert [abs(value) < 1e300 for *_, value in found] == [False] * 3

    def test_runs_are_told_apart_by_their_keys(self, tmp_path: Path) -> None:
        sweep = dataclasses.replace(a_run(tmp_path), key="5" * 32, kind="sweep")
        tracker = self.connected(tmp_path)
        parent = tracker.open_run(sweep)
        below = dataclasses.replace(a_run(tmp_path / "a"), key="1" * 32, parent=parent)
        test = dataclasses.replace(a_run(tmp_path / "b"), key="2" * 32, parent=parent)
        runs = [below, dataclasses.replace(test, kind="range_test")]
        ids = [tracker.open_run(run) for run in runs]
        assert len({parent, *ids}) == 3
        points = some_points(2)
        for run_id, point in zip(ids, points, strict=True):
            tracker.log(run_id, [point])
        for run, point in zip(runs, points, strict=True):
            assert self.found(tmp_path, run).points == as_tuples([point])

    def test_a_run_ends_and_goes_on(self, tmp_path: Path) -> None:
        run, points = a_run(tmp_path), some_points(2)
        for part, status in ((points[:1], "KILLED"), (points, "FINISHED")):
            tracker = self.connected(tmp_path)
            run_id = tracker.open_run(run)
            if (found := self.found(tmp_path, run)).status is not None:
                assert found.status == "RUNNING"
            tracker.log(run_id, part)
            tracker.close_run(run_id, an_ending(status))
            found = self.found(tmp_path, run)
            assert found.status in (status, None)
            assert found.points == as_tuples(part)

    def test_a_run_that_is_left_has_not_ended(self, tmp_path: Path) -> None:
        run, points = a_run(tmp_path), some_points(2)
        tracker = self.connected(tmp_path)
        run_id = tracker.open_run(run)
        tracker.log(run_id, points[:1])
        tracker.close_run(run_id, None)
        assert self.found(tmp_path, run).status in ("RUNNING", None)
        assert tracker.open_run(run) == run_id
        tracker.log(run_id, points)
        assert self.found(tmp_path, run).points == as_tuples(points)

    def test_files_are_copies_of_those_that_are_there(self, tmp_path: Path) -> None:
        run = a_run(tmp_path)
        text, missing = run.folder / "train.log", run.folder / "missing"
        tracker = self.connected(tmp_path)
        run_id = tracker.open_run(run)
        for content in ("first", "second"):
            text.write_text(content)
            tracker.log_files(run_id, [(text, None), (text, "config"), (missing, None)])
        tracker.close_run(run_id, an_ending("FINISHED"))
        text.unlink()
        expected = {"train.log": "second", "config/train.log": "second"}
        assert self.found(tmp_path, run).files in (expected, None)

    def test_a_run_that_was_replaced_is_out_of_sight(self, tmp_path: Path) -> None:
        run, points = a_run(tmp_path), some_points(2)
        again = dataclasses.replace(run, key="9" * 32, replaces=[run.key, "8" * 32])
        tracker = self.connected(tmp_path)
        first = tracker.open_run(run)
        tracker.log(first, points[:1])
        tracker.close_run(first, an_ending("FINISHED"))
        assert tracker.open_run(again) != first
        tracker.log(tracker.open_run(again), points[1:])
        gone = self.stored(tmp_path, run)
        assert gone is None or gone.points == []
        assert self.found(tmp_path, again).points == as_tuples(points[1:])

    def test_the_mirror_brings_it_what_is_in_the_folders(self, tmp_path: Path) -> None:
        sweep = SweepPaths(tmp_path / "sweeps" / "study")
        cells = [sweep.folder / f"lr=0.{number}" for number in (1, 2)]
        for number, folder in enumerate(cells, 1):
            write_run(folder, key=str(number) * 32, points=some_points(4))
        record = SweepRecord("5" * 32, "study", "FINISHED", "val_loss", STARTED_MS, STARTED_MS + 9)
        record.save(sweep)
        name = self.make(tmp_path).name
        for _ in range(2):
            self.mirror(tmp_path, sweep=sweep)
            for folder in cells:
                run = dataclasses.replace(a_run(folder), key=folder.name[-1] * 32)
                found = self.found(tmp_path, run)
                assert found.points == as_tuples(some_points(4))
                assert found.status in ("FINISHED", None)
                assert found.files is None or "run.json" in found.files
                RunPaths(folder).mirror_for(name).unlink()  # it does not know what it has sent

    def test_the_mirror_goes_on_where_a_killed_command_was(self, tmp_path: Path) -> None:
        run = a_run(tmp_path / "run")
        for count, status in ((2, "RUNNING"), (4, "FINISHED")):
            write_run(run.folder, key=run.key, points=some_points(count), status=status)
            self.mirror(tmp_path, run=RunPaths(run.folder))
            found = self.found(tmp_path, run)
            assert found.points == as_tuples(some_points(count))
            assert found.status in (status, None)

    def mirror(
        self, output_dir: Path, *, run: RunPaths | None = None, sweep: SweepPaths | None = None
    ) -> None:
        """Brings what there is to a new tracker, as a command does that has nothing to train."""
        mirror = Mirror([self.make(output_dir)])
        mirror.start()
        mirror.wait_ready()
        if run is not None:
            mirror.watch_run(run)
        if sweep is not None:
            mirror.watch_sweep(sweep)
        mirror.close()
        assert mirror.complete

    def found(self, output_dir: Path, run: RunToTrack) -> Stored:
        found = self.stored(output_dir, run)
        assert found is not None
        return dataclasses.replace(found, points=sorted(found.points))


class TestMLflow(TrackerContract):
    @pytest.fixture(autouse=True)
    def store(self, tmp_path: Path, made_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
            monkeypatch.delenv(name, raising=False)
        shutil.copyfile(made_store, tmp_path / "mlflow.db")

    def make(self, output_dir: Path) -> Tracker:
        return mlflow_tracker(TrackingConfig(), output_dir)

    def stored(self, output_dir: Path, run: RunToTrack) -> Stored | None:
        from mlflow import MlflowClient

        client = MlflowClient(f"sqlite:///{output_dir}/mlflow.db")
        experiment = client.get_experiment_by_name("sweeps")
        assert experiment is not None
        runs = client.search_runs([experiment.experiment_id], f"tags.`sweeps.key` = '{run.key}'")
        if not runs:
            return None
        (found,) = runs
        run_id = found.info.run_id
        measured = [key for key in found.data.metrics if not key.startswith(("settings/", "best_"))]
        points = [
            (point.key, point.step, point.timestamp, point.value)
            for key in measured
            for point in client.get_metric_history(run_id, key)
        ]
        root = Path(found.info.artifact_uri.removeprefix("file://"))
        return Stored(points, found.info.status, files_below(root))


class TestTensorBoard(TrackerContract):
    def make(self, output_dir: Path) -> Tracker:
        return TensorBoardTracker()

    def stored(self, output_dir: Path, run: RunToTrack) -> Stored | None:
        files = RunPaths(run.folder).tensorboard.glob(f"*.{run.key}")
        return Stored([point for file in files for point in read_events(file)], None, None)

    def test_what_a_kill_has_torn_is_written_again(self, tmp_path: Path) -> None:
        run, points = a_run(tmp_path), some_points(4)
        tracker = self.connected(tmp_path)
        tracker.log(tracker.open_run(run), points[:2])
        (file,) = RunPaths(run.folder).tensorboard.iterdir()
        whole = file.read_bytes()
        for torn in (1, 15, 30):
            file.write_bytes(whole[:-torn])
            tracker = self.connected(tmp_path)
            tracker.log(tracker.open_run(run), points)
            assert self.found(tmp_path, run).points == as_tuples(points)

    def test_it_needs_no_torch(self, tmp_path: Path) -> None:
        code = (
            "import sys; from pathlib import Path\n"
            "from sweeps.tracking import Point, RunToTrack\n"
            "from sweeps.tracking.tensorboard import TensorBoardTracker\n"
            "tracker = TensorBoardTracker(); tracker.connect()\n"
            "run = RunToTrack('k', 'n', 'run', Path.cwd(), 1)\n"
            "point = Point('loss', 1, 0.5, 2)\n"
            "tracker.log(tracker.open_run(run), [point])\n"
            "print(sorted({'torch', 'tensorflow', 'mlflow'} & set(sys.modules)))\n"
        )
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)
        assert done.stdout == "[]\n"
        assert read_events(RunPaths(tmp_path).tensorboard) == [("loss", 1, 2, 0.5)]


class TestTheSmallest(TrackerContract):
    """The one that docs/extending/tracker.md shows."""

    def make(self, output_dir: Path) -> Tracker:
        tracker: Tracker = load_example("csv_tracker.py").CsvTracker(output_dir)
        return tracker

    def stored(self, output_dir: Path, run: RunToTrack) -> Stored | None:
        folder = output_dir / "csv" / run.key
        if not folder.exists():
            return None
        lines = folder / "points.csv"
        rows = [row.split(",") for row in lines.read_text().split()] if lines.exists() else []
        points = [(key, int(step), int(ms), float(value)) for key, step, ms, value in rows]
        ended = folder / "ended.json"
        status = json.loads(ended.read_text())["status"] if ended.exists() else "RUNNING"
        return Stored(points, status, files_below(folder / "files"))


class Stuck:
    """A place that takes nothing until it is let go."""

    name, where = "Stuck", "A place that is away"

    def __init__(self) -> None:
        self.let_go = threading.Event()
        self.taken: list[Any] = []
        self.closed: list[tuple[str, Ending | None]] = []

    def connect(self) -> str:
        return "place"

    def open_run(self, run: RunToTrack) -> str:
        self.let_go.wait()
        return run.key

    def log(self, run_id: str, points: Sequence[Point]) -> None:
        self.taken.extend(points)

    def log_files(self, run_id: str, files: Sequence[tuple[Path, str | None]]) -> None: ...

    def close_run(self, run_id: str, ending: Ending | None) -> None:
        self.closed.append((run_id, ending))


def test_a_mirror_that_ends_lets_go_of_what_is_under_way(tmp_path: Path) -> None:
    write_run(tmp_path, key="1" * 32, points=[], status="RUNNING")
    tracker = Stuck()
    tracker.let_go.set()
    mirror = Mirror([tracker])
    mirror.start()
    mirror.watch_run(RunPaths(tmp_path))
    mirror.wait_ready()
    mirror.close()
    assert tracker.closed == [("1" * 32, None)]


def test_one_that_is_away_holds_up_no_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder, points = tmp_path / "run", some_points(3)
    write_run(folder, key="1" * 32, points=points)
    stuck, example = Stuck(), TestTheSmallest()
    mirror = Mirror([stuck, example.make(tmp_path)])
    mirror.start()
    mirror.wait_ready()
    mirror.watch_run(RunPaths(folder))
    run = dataclasses.replace(a_run(folder), key="1" * 32)
    deadline = time.monotonic() + 60
    while not (tmp_path / "csv" / run.key / "ended.json").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    with caplog.at_level(logging.WARNING, logger="sweeps"):
        mirror.close(timeout_s=0.5)
    assert example.found(tmp_path, run) == Stored(as_tuples(points), "FINISHED", ANY)
    assert not mirror.complete
    assert "Stuck does not have everything yet" in caplog.text
    command = r"python -m sweeps.sync --tracker \S*test_tracker.Stuck \S*run"
    assert re.search(command, caplog.text)
    stuck.let_go.set()
    mirror.close()
    assert mirror.complete
    assert len(stuck.taken) == 3


PROBE = """
import sys
import torch

class Net(torch.nn.Linear):
    def __init__(self, in_channels, image_size, num_classes):
        super().__init__(in_channels * image_size**2, num_classes)

    def forward(self, x):
        assert "tensorboard" not in sys.modules
        return super().forward(x.flatten(1))
"""


def test_a_sweep_in_tensorboard_and_in_a_tracker_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "probe.py").write_text(PROBE)
    shutil.copy(EXAMPLES / "csv_tracker.py", tmp_path)
    own = ["tracking.extra=[csv_tracker.CsvTracker]", "trusted_targets=[csv_tracker,probe]"]
    model = ["model=custom", "model._target_=probe.Net", "data=synthetic", "epochs=2"]
    tracking = ["tracking=none", "tracking.tensorboard=true", *own]
    code, out, err = train(tmp_path, "-m", "name=s", "lr=0.1,0.01", *model, *tracking, "threads=1")
    assert (code, err) == (0, ""), out
    runs = sorted(tmp_path.glob("outputs/sweeps/s/*/run.json"))
    assert len(runs) == 2
    assert len(list(tmp_path.glob("outputs/csv/*/ended.json"))) == 3
    for record in runs:
        run = RunToTrack(json.loads(record.read_text())["key"], "", "run", record.parent, 0)
        stored = TestTheSmallest().found(tmp_path / "outputs", run)
        events = [
            (key, step, value)
            for key, step, _, value in TestTensorBoard().found(tmp_path, run).points
        ]
        written = sorted(points_of(record.parent))
        assert len(written) == 10
        assert [(key, step, value) for key, step, _, value in stored.points] == written
        assert [(key, step) for key, step, _ in events] == [(k, s) for k, s, _ in written]
        assert [v for *_, v in events] == pytest.approx([v for *_, v in written], rel=1e-6)
        assert stored.status == "FINISHED"
    assert not (tmp_path / "outputs/mlflow.db").exists()


def test_what_was_missed_is_sent_to_a_tracker_of_ones_own_too(
    tmp_path: Path, made_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(EXAMPLES)
    folder, points = tmp_path / "outputs" / "runs" / "run", some_points(3)
    write_run(folder, key="1" * 32, points=points)
    shutil.copyfile(made_store, tmp_path / "mlflow.db")
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    assert sync([folder], uri=uri, experiment=None, trackers=["csv_tracker.CsvTracker"])
    run = dataclasses.replace(a_run(folder), key="1" * 32)
    for found in (
        TestTheSmallest().found(tmp_path / "outputs", run),
        TestMLflow().found(tmp_path, run),
    ):
        assert (found.points, found.status) == (as_tuples(points), "FINISHED")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (
            "elsewhere.Tracker",
            r"=elsewhere.Tracker is not in a trusted package .*'trusted_targets=\[elsewhere\]'",
        ),
        ("json.Tracker", "tracking.extra=json.Tracker cannot be found"),
        ("json.JSONDecoder", r"is no tracker: it must be a class with connect, .*tracker\.md"),
        ("json.codecs.open", r"leads to codecs, outside the trusted packages"),
    ],
)
def test_what_is_no_tracker_of_ones_own_is_refused(tmp_path: Path, name: str, says: str) -> None:
    with pytest.raises(BadInputError, match=says):
        own_tracker(name, tmp_path, ("json",))


def test_a_config_names_its_trackers(tmp_path: Path) -> None:
    def names(**tracking: Any) -> list[str]:
        config = Config(
            output_dir=str(tmp_path), trusted_targets=[], tracking=TrackingConfig(**tracking)
        )
        return [tracker.name for tracker in trackers_of(config)]

    assert names() == []
    assert names(backend="mlflow") == ["MLflow"]
    assert names(backend="mlflow", tensorboard=True) == ["TensorBoard", "MLflow"]
    assert names(backend="mlflow", tensorboard=True, offline=True) == ["TensorBoard"]


def a_run(folder: Path) -> RunToTrack:
    folder.mkdir(exist_ok=True)
    return RunToTrack(
        key="7" * 32,
        name="lr=0.1",
        kind="run",
        folder=folder,
        started_ms=STARTED_MS,
        params={"lr": 0.1, "objective": "val_loss", "threads": None},
        numbers={"lr": 0.1},
        tags={"device": "cpu"},
        git={"commit": "c" * 40, "branch": "main", "dirty": None},
        dataset={"name": "digits", "digest": "d" * 8},
    )


def an_ending(status: str) -> Ending:
    best = Point("best_val_loss", 0, 0.25, STARTED_MS + 99)
    return Ending(status, STARTED_MS + 99, [best], {"outcome": "finished"})


def some_points(count: int) -> list[Point]:
    """Returns points whose values are the same in 32 bits."""
    return [Point("val_loss", step, 1 / 2**step, STARTED_MS + step) for step in range(1, count + 1)]


def as_tuples(points: Sequence[Point]) -> Points:
    return sorted((p.key, p.step, p.time_ms, p.value) for p in points)


def files_below(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_text(errors="replace") for path in files}


def write_run(folder: Path, *, key: str, points: list[Point], status: str = "FINISHED") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    record = RunRecord(key, "f" * 64, folder.name, status, "val_loss", STARTED_MS)
    if status == "FINISHED":
        record.outcome, record.ended_ms = Outcome.FINISHED, STARTED_MS + 9
    record.save(RunPaths(folder))
    lines = "".join(f"{json.dumps(point._asdict())}\n" for point in points)
    RunPaths(folder).metrics.write_text(lines)


def read_events(path: Path) -> Points:
    """Reads an event file, or a folder of them, as TensorBoard itself does."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(path), size_guidance={"scalars": 0})
    events.Reload()
    return [
        (tag, event.step, round(event.wall_time * 1000), event.value)
        for tag in events.Tags()["scalars"]
        for event in events.Scalars(tag)
    ]
