"""Every command that an answer prints can be typed: the program itself says what it would run."""

import json
import shlex
from pathlib import Path

import pytest
from harness.program import QUICK, finish, start, train

SWEEP = ["-m", "name=s", *QUICK, "epochs=3", "data.noise=6", "tracking=none"]


@pytest.mark.parametrize(
    "axes",
    [
        ["optimizer=sgd_momentum", "optimizer.momentum=0.5,0.9", "lr=1e-4,1e-3", "seed=0,1"],
        ["batch_size=32,64", "optimizer=sgd,adam", "lr=1e-4"],
        ["hydra/sweeper=search", "optimizer=sgd,adam", "lr=1e-4,1e-3"],
    ],
)
def test_every_printed_command_passes_its_plan(tmp_path: Path, axes: list[str]) -> None:
    code, out, err = train(tmp_path, *SWEEP, *axes)
    assert code == 0, out + err
    code, out, err = finish(start(tmp_path, "s", "--json", module="sweeps.compare"))
    assert code == 0, out + err
    said = json.loads(out)["answers"][0]
    assert any("beyond" in command["purpose"] for command in said["commands"]), said
    for command in said["commands"]:
        words = shlex.split(command["line"])
        assert words[:3] == ["python", "-m", "sweeps.train"]
        code, out, err = train(tmp_path, *words[3:], "plan=true")
        assert code == 0, f"{command['line']}: {out}{err}"
