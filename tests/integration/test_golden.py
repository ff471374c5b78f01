"""Sweeps of an earlier version: the same commands find them done, and what they say is what they said.

`tests/golden/v2/sweeps` was recorded by the commands that its `sweep.json` files keep: a grid with a
failed and a diverged cell and a model of a person's own (`fragile.py`), rates around a range test's pick,
and a search with stopped trials. Kept is what a later command reads: of the checkpoints only those of
stopped trials, which may go on. `ranking.json` is what `sweeps.compare` said of each.
"""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from harness.program import finish, points, start, train

from sweeps.compare import main as compare
from sweeps.config import from_mapping, identity
from sweeps.config.saved import read_saved, resolve_references, with_defaults
from sweeps.runs.provenance import library_versions
from sweeps.runs.runner import check
from sweeps.training.determinism import describe_numerics

GOLDEN = Path(__file__).parents[1] / "golden"
SWEEPS = ("grid", "auto", "search")
RUNS = sorted(path.parent for path in GOLDEN.rglob("run.json"))

PLANS = {
    "grid": "4 runs: 3 done, 1 to run again. Nothing was started.",
    "auto": "3 runs: 3 done. Nothing was started.",
    "search": "6 runs: 5 stopped early, 1 done. Nothing was started.",
}
OPENED = {
    "grid": "Sweep of 4 runs (1 to run) in",
    "auto": "Sweep of 3 runs (0 to run) in",
    "search": "Sweep of 6 trials (6 known) in",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working directory with the recorded sweeps in its output folder."""
    shutil.copytree(GOLDEN / "v2/sweeps", tmp_path / "outputs/sweeps")
    shutil.copyfile(GOLDEN / "v2/fragile.py", tmp_path / "fragile.py")
    return tmp_path


def command(name: str) -> list[str]:
    """Returns the words with which a sweep was recorded."""
    words = shlex.split(
        json.loads((GOLDEN / f"v2/sweeps/{name}/sweep.json").read_text())["command"]
    )
    assert words[:3] == ["python", "-m", "sweeps.train"]
    return words[3:]


def contents(sweep: Path) -> dict[Path, bytes]:
    """Returns what a training would change in the folders of the runs that have not failed."""
    runs = [path.parent for path in sweep.rglob("run.json") if record(path.parent)["error"] is None]
    names = ("run.json", "metrics.jsonl", "model.safetensors", "trial.json", "suggested_lr.json")
    files = [run / name for run in runs for name in names if (run / name).exists()]
    return {file.relative_to(sweep): file.read_bytes() for file in files}


def record(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "run.json").read_text())
    return found


@pytest.mark.parametrize("name", SWEEPS)
def test_the_same_command_trains_nothing_that_is_done(name: str, folder: Path) -> None:
    """A failed cell is not done: it is run again, as ever, and fails again."""
    sweep = folder / "outputs/sweeps" / name
    before, runs = contents(sweep), sorted(sweep.rglob("run.json"))
    assert len(before) > 5
    code, out, err = train(folder, *command(name), "plan=true")
    assert (code, err) == (0, ""), out
    assert PLANS[name] in out

    code, out, err = train(folder, *command(name))
    assert code == (name == "grid"), out + err
    assert OPENED[name] in out
    assert sorted(sweep.rglob("run.json")) == runs
    assert contents(sweep) == before
    outcomes = sorted(record(path.parent)["outcome"] for path in runs)
    assert outcomes == sorted(
        record(GOLDEN / "v2/sweeps" / name / path.parent.relative_to(sweep))["outcome"]
        for path in runs
    )
    assert out.count("Range test") == (name == "auto")
    assert out.count("changed since") == 1  # of all runs at once, and of a single one by its name


def test_a_stopped_trial_goes_on_from_its_checkpoint(folder: Path) -> None:
    words = [word for word in command("search") if not word.startswith(("lr=", "optimizer="))]
    words = [word for word in words if not word.startswith(("hydra/", "search", "trials="))]
    (stopped,) = (folder / "outputs/sweeps/search").glob("*lr=0.02589*")
    before = points(stopped)
    assert record(stopped)["outcome"] == "pruned"
    code, out, err = train(folder, *words, "optimizer=sgd", "lr=0.02589")
    assert (code, err) == (0, ""), out
    assert "Sweep of 1 runs (1 continued) in" in out
    assert record(stopped)["outcome"] == "finished"
    after = points(stopped)
    assert len(after) > len(before) > 0
    assert after[: len(before)] == before


@pytest.mark.parametrize("name", SWEEPS)
def test_a_comparison_says_the_same(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    compare([name, "--json"])
    ranking = json.loads(capsys.readouterr().out)["ranking"]
    expected = json.loads((GOLDEN / "v2/ranking.json").read_text())[name]
    assert len(ranking) == len(expected) > 0
    assert [{key: row[key] for key in expected[0]} for row in ranking] == expected


@pytest.mark.parametrize(
    ("run", "trust"), [("grid/*lr=0.1,*", ["fragile"]), ("search/*lr=0.162*", [])]
)
def test_a_run_is_repeated_exactly(run: str, trust: list[str], folder: Path) -> None:
    (original,) = (folder / "outputs/sweeps").glob(run)
    words = [str(original), "--no-tracking", *(f"--trust={module}" for module in trust)]
    code, out, err = finish(start(folder, *words, module="sweeps.reproduce"))
    assert err == ""
    assert "Verdict: " in out
    if changed := elsewhere(original):
        pytest.skip(f"{', '.join(changed)} of the recording differ: bits may differ too")
    assert code == 0, out
    assert "Verdict: exact" in out


def elsewhere(original: Path) -> list[str]:
    """Returns what decides over bits and is not what it was when a run was recorded."""
    then = record(original)
    now = describe_numerics(torch.device("cpu"))
    packages = then["environment"]["packages"]
    machine = [
        key for key in ("device_name", "cpu_capability") if now[key] != then["numerics"][key]
    ]
    return machine + [
        key for key, version in library_versions().items() if packages.get(key) != version
    ]


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name[-8:])
def test_a_saved_config_is_the_same_experiment_and_can_be_built(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(GOLDEN / "v2"))
    values = resolve_references(with_defaults(read_saved(run / ".hydra/config.yaml"))[0])
    values |= {"trusted_targets": ["fragile"], "tracking": {"backend": "none"}}
    config = from_mapping(values | {"name": "golden", "output_dir": "outputs"})
    assert identity(config) == record(run)["identity"]
    check(config)  # every _target_ is found, and takes what it was given
