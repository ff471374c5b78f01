"""Axes that belong together, from the command line to the folders of the cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.program import QUICK, train

if TYPE_CHECKING:
    from pathlib import Path

SWEEP = ["-m", *QUICK, "name=s", "tracking=none", "workers=1", "optimizer=sgd,adam"]
SWEEP += ["optimizer.momentum=0,0.9", "lr=1,0.1", "exclude=optimizer is adam and lr above 0.1"]


def test_a_sweep_trains_what_is_left(tmp_path: Path) -> None:
    left_out = "3 of 8 combinations left out: 1 excluded, 2 with a setting that does not apply."
    code, out, err = train(tmp_path, *SWEEP, "plan=true")
    assert (code, err) == (0, "")
    assert left_out in out
    assert "5 runs: 5 new. Nothing was started." in out

    code, out, err = train(tmp_path, *SWEEP)
    assert (code, err) == (0, "")
    assert "Sweep of 5 runs in outputs/sweeps/s" in out
    common = "data=synthetic,epochs=2"
    names = {path.parent.name.rsplit("-", 1)[0] for path in tmp_path.glob("outputs/*/s/*/run.json")}
    assert names == {
        f"{common},lr=0.1,model=linear,optimizer=adam",
        f"{common},lr=0.1,model=linear,optimizer.momentum=0,optimizer=sgd",
        f"{common},lr=0.1,model=linear,optimizer.momentum=0.9,optimizer=sgd",
        f"{common},lr=1,model=linear,optimizer.momentum=0,optimizer=sgd",
        f"{common},lr=1,model=linear,optimizer.momentum=0.9,optimizer=sgd",
    }


def test_a_bad_sentence_starts_nothing(tmp_path: Path) -> None:
    code, _, err = train(tmp_path, "-m", *QUICK, "lr=1,2", "exclude=optimizer is sdg")
    assert code == 2
    assert err.startswith("sweeps: exclude='optimizer is sdg': optimizer is never sdg. Did you")
    assert len(err.splitlines()) == 1
    assert not list(tmp_path.glob("outputs/*/*"))
