from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

from sweeps.runs.metrics import (
    Mark,
    Point,
    PointWriter,
    parse_line,
    read_metric,
    read_new,
    read_points,
)

if TYPE_CHECKING:
    from pathlib import Path


def test_points_come_back_in_order(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    with PointWriter(path, keep=0) as writer:
        writer.write({"train_loss": 0.5, "lr": 0.1}, 50)
        writer.write({"val_loss": float("nan")}, 60)
        writer.sync()
    found = read_points(path)
    assert [(p.key, p.step) for p in found] == [
        ("train_loss", 50),
        ("lr", 50),
        ("val_loss", 60),
    ]
    assert found[0].value == 0.5


def test_what_a_checkpoint_does_not_know_is_taken_out_and_keeps_its_time(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    with PointWriter(path, keep=0) as writer:
        for step in (1, 2, 3):
            writer.write({"loss": float(step)}, step)
    first = read_points(path)
    with path.open("a") as file:
        file.write('{"key": "lo')
    time.sleep(0.01)
    with PointWriter(path, keep=1) as writer:
        assert [p.step for p in read_points(path)] == [1]
        assert writer.last == {"loss": 1.0}
        for step in (2, 3, 4):
            writer.write({"loss": float(step)}, step)
    second = read_points(path)
    assert second[:3] == first
    assert second[3].step == 4


def test_a_run_that_is_cut_twice_keeps_the_first_times_too(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    with PointWriter(path, keep=0) as writer:
        for step in range(1, 6):
            writer.write({"loss": float(step)}, step)
    first = read_points(path)
    time.sleep(0.01)
    with PointWriter(path, keep=2) as writer:
        writer.write({"loss": 3.0}, 3)  # and it is cut again
    time.sleep(0.01)
    with PointWriter(path, keep=2) as writer:
        for step in range(3, 7):
            writer.write({"loss": float(step)}, step)
    second = read_points(path)
    assert second[:5] == first
    assert second[5].time_ms > first[4].time_ms
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_a_clock_set_back_does_not_turn_the_order_around(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "metrics.jsonl"
    clock = iter([5_000_000_000, 3_000_000_000, 6_000_000_000])
    monkeypatch.setattr(time, "time_ns", lambda: next(clock))
    with PointWriter(path, keep=0) as writer:
        for step in (1, 2, 3):
            writer.write({"loss": 0.0}, step)
    assert [p.time_ms for p in read_points(path)] == [5000, 5000, 6000]


def test_no_file_is_no_points(tmp_path: Path) -> None:
    assert read_points(tmp_path / "none") == []


def test_each_line_is_an_object_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    with PointWriter(path, keep=0) as writer:
        writer.write({"a": 1.0, "b": 2.0}, 1)
    assert [json.loads(line)["key"] for line in path.read_text().splitlines()] == ["a", "b"]


def test_one_metric_is_read_by_step_and_without_what_is_torn(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    lines = [
        {"key": "loss", "value": 0.25, "step": 2, "time_ms": 9},
        {
            "key": "note",
            "value": 3.0,
            "step": 1,
            "time_ms": 7,
            "on": "loss",
        },  # another that names it
        {"key": "loss", "value": 0.5, "step": 1, "time_ms": 8},
    ]
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines) + '{"key": "loss", "val')
    assert read_metric(path, "loss") == [Point("loss", 1, 0.5, 8), Point("loss", 2, 0.25, 9)]
    assert read_metric(tmp_path / "none", "loss") == []


def test_what_is_new_is_whole_lines_and_a_file_made_anew_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    assert read_new(path, Mark()) == ([], Mark())
    with PointWriter(path, keep=0) as writer:
        writer.write({"loss": 0.5}, 1)
        points, mark = read_new(path, Mark())
        assert [p.step for p in points] == [1]
        writer.write({"loss": 0.4}, 2)
    with path.open("a") as file:
        file.write('{"key": "lo')
    points, mark = read_new(path, mark)
    assert [p.step for p in points] == [2]
    assert read_new(path, mark) == ([], mark)
    with PointWriter(path, keep=1) as writer:  # a continued run forgets what it will do again
        writer.write({"loss": 0.3}, 7)
    assert [p.step for p in read_new(path, mark)[0]] == [1, 7]


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b'{"key": "lo',
        b"[]",
        b"7",
        b'{"key": "loss", "value": 1.0, "step": 1}',
        b'{"key": 1, "value": 1.0, "step": 1, "time_ms": 1}',
        b'{"key": "loss", "value": null, "step": 1, "time_ms": 1}',
        b'{"key": "loss", "value": 1.0, "step": 1.5, "time_ms": 1}',
        b'{"key": "loss", "value": 1.0, "step": true, "time_ms": 1}',
        b'{"key": "loss", "value": 1' + 400 * b"0" + b', "step": 1, "time_ms": 1}',
        b'{"a":' * 100_000,
        b"\xff\xfe",
    ],
)
def test_a_line_that_no_run_writes_is_no_point(line: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - json's own among them
        parse_line(line)
