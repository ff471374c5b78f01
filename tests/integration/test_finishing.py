"""Grids that finish themselves: what they add, and that a kill in the middle changes nothing."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest
from harness.program import QUICK, break_at, finish, start, train, was_hit

if TYPE_CHECKING:
    from pathlib import Path

SMALL = ["-m", *QUICK, "tracking=none", "workers=2", "threads=1"]
GRID = [*SMALL, "extend=auto", "lr=1e-5,1e-4"]


def cells(folder: Path, name: str) -> dict[str, float]:
    """Returns what each run of a sweep has come to, by its folder."""
    found = (folder / "outputs/sweeps" / name).glob("*/run.json")
    records = {path.parent.name: json.loads(path.read_text()) for path in found}
    assert all(record["outcome"] == "finished" for record in records.values())
    return {name: record["objective_value"] for name, record in records.items()}


def test_an_extension_that_is_killed_goes_on_to_the_same_cells(tmp_path: Path) -> None:
    code, out, err = train(tmp_path, "name=twin", *GRID)
    assert (code, err) == (0, ""), out
    assert "Extending: lr=0.001,0.01, because the best, lr=0.0001, is the largest tried." in out
    whole = cells(tmp_path, "twin")
    assert len(whole) > 3
    code, out, _ = train(tmp_path, "name=cut", *GRID, "plan=true")
    assert code == 0
    assert "2 runs: 2 new. Nothing was started." in out
    assert "may come: values beyond the edge that a best lies on" in out
    assert not (tmp_path / "outputs/sweeps/cut").exists()
    process = start(tmp_path, "name=cut", *GRID)
    while not any((tmp_path / "outputs/sweeps").glob("cut/*lr=0.001*/metrics.jsonl")):
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()  # the controller, while it trains what it has added
    assert finish(process)[0] != 0
    code, out, _ = train(tmp_path, "name=cut", *GRID, "plan=true")
    assert "lr=0.001" in out
    assert "lr=0.01" in out
    code, out, err = train(tmp_path, "name=cut", *GRID)
    assert (code, err) == (0, ""), out
    assert cells(tmp_path, "cut") == whole
    code, out, err = train(tmp_path, "name=cut", *GRID)
    assert (code, err) == (0, ""), out
    assert "Extending" not in out
    assert cells(tmp_path, "cut") == whole


def test_what_is_tied_is_repeated_and_what_is_behind_is_not(tmp_path: Path) -> None:
    hard = ["data.noise=10", "data.samples=600", "data.val_fraction=0.3"]
    grid = ["seeds=auto", "max_cells=4", "lr=1e-6,0.002,0.003", "seed=0,1,2"]
    code, out, err = train(tmp_path, *SMALL, "name=s", *hard, *grid)
    assert (code, err) == (0, ""), out
    assert "Repeating: seed=3,4 for 2 settings, because 3 seeds leave" in out
    assert "[13/13]" in out
    assert "allowing for 4 looks" in out
    names = cells(tmp_path, "s")
    assert len(names) == 13
    assert sum("lr=1e-06" in name for name in names) == 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["lr=0.1,0.01", "extend=auto", "hydra/sweeper=search"], "add to a grid, and a search"),
        (["lr=0.1,0.01", "batch_size=8,16", "zip=[lr,batch_size]", "extend=auto"], "zip pairs lr"),
        (["lr=0.1,0.01", "seeds=auto", "seed=0,1,2,3,4,5,6,7,8,9"], "10 are typed"),
        (["lr=0.1,0.01", "seeds=0,1"], "seeds are typed seed="),
        (["lr=0.1,0.01", "seeds=5"], "type the seeds themselves"),
        (["lr=0.1,0.01", "extend=yes"], "Allowed: null, auto"),
        (["lr=0.1,0.01", "max_cells=4"], "has no effect alone"),
        (["lr=0.1,0.01", "extend=auto", "max_cells=0"], "must be 1 or more runs"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path: Path, words: list[str], said: str) -> None:
    code, _, err = train(tmp_path, "-m", *QUICK, "tracking=none", *words)
    assert (code, len(err.splitlines())) == (2, 1), err
    assert said in err
    assert not (tmp_path / "outputs").exists()


def test_one_run_alone_adds_nothing(tmp_path: Path) -> None:
    code, _, err = train(tmp_path, *QUICK, "tracking=none", "extend=auto")
    assert (code, len(err.splitlines())) == (2, 1), err
    assert "add -m" in err


def test_nothing_is_added_while_a_run_has_no_result(tmp_path: Path) -> None:
    env = break_at(tmp_path, "os.rename", "model.safetensors", "kill", 1)
    code, out, _ = train(tmp_path, "name=cut", *GRID, "retries=0", **env)
    assert was_hit(tmp_path) >= 1
    assert code != 0
    assert "Extending" not in out
    code, out, err = train(tmp_path, "name=cut", *GRID)
    assert (code, err) == (0, ""), out
    assert "Extending: lr=0.001,0.01" in out
