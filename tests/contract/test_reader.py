"""What the store gives back is what was sent: values that are not finite, repeated points, files."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from sweeps.errors import BadInputError
from sweeps.runs.metrics import Point
from sweeps.runs.paths import RunPaths
from sweeps.tracking import Reader, Store

if TYPE_CHECKING:
    from pathlib import Path

KEY = "a" * 32


def point(key: str, value: float, step: int, time_ms: int = 1) -> Point:
    return Point(key, step, value, time_ms)


def test_a_run_comes_back_from_the_store_alone(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    store = Store(uri, "study", tmp_path / "artifacts")
    store.connect()
    run_id = store.find_or_create_run(key=KEY, name="n", tags={}, params={}, start_ms=1)
    reader = Reader(uri)
    with pytest.raises(BadInputError, match="has no saved config and record"):
        reader.fetch(run_id, tmp_path / "none")

    sent = [point("loss", math.nan, 1), point("loss", math.inf, 2), point("loss", -math.inf, 3)]
    sent += [point("loss", 0.1 + 0.2, 4), point("loss", 1 / 3, 4, time_ms=2)]
    sent += [point("system/cpu", 1.0, 1), point("best_loss", 0.5, 0)]
    sent += [point("settings/lr", 0.1, 0)]
    store.log(run_id, points=sent)
    for name in ("config.yaml", "run.json", "uncommitted.diff"):
        (tmp_path / name).write_text(name)
    store.log_files(run_id, [(tmp_path / "config.yaml", "config")])
    store.log_files(run_id, [(tmp_path / name, None) for name in ("run.json", "uncommitted.diff")])

    stored = reader.fetch(run_id, tmp_path / "run")
    assert (stored.run_id, stored.experiment) == (run_id, "study")
    assert math.isnan(stored.points.pop(("loss", 1)))
    assert stored.points == {("loss", 2): math.inf, ("loss", 3): -math.inf, ("loss", 4): 1 / 3}
    paths = RunPaths(tmp_path / "run")
    files = (paths.config, paths.record, paths.diff)
    assert [path.read_text() for path in files] == ["config.yaml", "run.json", "uncommitted.diff"]
    assert not paths.weights.exists()
    fetched_again = reader.fetch(run_id, tmp_path / "again")
    assert fetched_again.points.keys() == stored.points.keys() | {("loss", 1)}

    assert reader.find(KEY) == (run_id, "study")
    assert reader.find("b" * 32) is None
    assert reader.find("' OR '1'='1") is None
    with pytest.raises(BadInputError, match="Check the id, or name another store"):
        reader.fetch("0" * 32, tmp_path / "absent")


def test_a_reader_makes_no_store(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"There is no MLflow store at .*--tracking-uri URI"):
        Reader(f"sqlite:///{tmp_path}/mlflow.db")
    assert list(tmp_path.iterdir()) == []
