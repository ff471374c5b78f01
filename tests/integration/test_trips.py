"""How far a cell travels: what is done for each one, counted in every process of a real sweep."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest
from harness.program import QUICK, finish, start

TRIPS = Path(__file__).parents[1] / "harness" / "trips"
GRID = ["optimizer=sgd,adam", "lr=0.1,0.01"]
SEARCH = ["hydra/sweeper=search", "search=halving", "lr=0.1,0.01,0.001"]


def trips(folder: Path, *arguments: str) -> tuple[Counter[str], Counter[str], Counter[str]]:
    """Runs a sweep.

    Returns:
        How often its controller has composed and parsed, how often its other processes have, and how
        often the controller has read the record of each cell.
    """
    written = folder / "trips"
    written.unlink(missing_ok=True)
    paths = os.pathsep.join([str(TRIPS), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = ["-m", "name=s", *QUICK, "epochs=4", "tracking=none", *arguments]
    process = start(folder, *command, PYTHONPATH=paths, SWEEPS_TEST_TRIPS=str(written))
    code, out, err = finish(process)
    assert code == 0, out + err
    lines = [line.split() for line in written.read_text().splitlines()]
    mine = [words for pid, *words in lines if int(pid) == process.pid]
    others = [words for pid, *words in lines if int(pid) != process.pid]
    assert len(others) > 0  # runs were watched too
    calls = (Counter(words[0] for words in those if len(words) == 1) for those in (mine, others))
    return *calls, Counter(words[1] for words in mine if len(words) == 2)  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("typed", "cells"), [(GRID, 4), (GRID[:1], 2), (SEARCH, 3)], ids=["grid", "no rate", "search"]
)
def test_a_cell_is_composed_and_parsed_once(tmp_path: Path, typed: list[str], cells: int) -> None:
    controller, runs, reads = trips(tmp_path, *typed)
    assert controller == {"load_sweep_config": cells, "parse": cells}
    assert not runs["load_sweep_config"] + runs["parse"]
    assert len(reads) == cells
    assert max(reads.values()) <= (
        4 if typed is SEARCH else 3
    )  # one more where it is taken up again
    if typed is GRID:
        _, _, reads = trips(tmp_path, *GRID[:1], "lr=0.1,0.01,0.001")
        assert len(reads) == 6
        assert max(reads.values()) <= 3
