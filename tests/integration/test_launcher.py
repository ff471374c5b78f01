"""Hydra's own conformance suite over our launcher, and Hydra's other launchers over our runs."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from harness.program import all_runs, train
from hydra.core.plugins import Plugins
from hydra.core.singleton import Singleton
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.test_utils.launcher_common_tests import IntegrationTestSuite, LauncherTestSuite
from hydra.version import VersionBase

from hydra_plugins.sweeps_plugins.local import LocalLauncher
from hydra_plugins.sweeps_plugins.sweeper import SweepsSweeper

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def no_version_base() -> None:
    """Hydra's suites expect the behaviour of a program that has named no version."""
    Singleton._instances.pop(VersionBase, None)


def test_hydra_finds_our_plugins() -> None:
    found = [plugin.__name__ for kind in (Launcher, Sweeper) for plugin in discover(kind)]
    assert LocalLauncher.__name__ in found
    assert SweepsSweeper.__name__ in found


def discover(kind: type) -> list[type]:
    return list(Plugins.instance().discover(kind))


@pytest.mark.parametrize(("launcher_name", "overrides"), [("local", ["hydra.launcher.workers=2"])])
class TestLauncher(LauncherTestSuite):
    """Hydra's suite."""


@pytest.mark.parametrize(
    ("task_launcher_cfg", "extra_flags"), [({}, ["-m", "hydra/launcher=local"])]
)
class TestIntegration(IntegrationTestSuite):
    """Hydra's suite, with programs of its own."""


@pytest.mark.usefixtures("ready_store")
@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_other_launchers_run_named_sweeps(launcher: str, tmp_path: Path) -> None:
    command = ["-m", "name=s", f"hydra/launcher={launcher}", "data=synthetic", "model=linear"]
    code, out, err = train(tmp_path, *command, "epochs=1", "lr=0.1,0.01")
    assert code == 0, out + err
    assert "All 2 settings that finished are equal: " in out
    code, out, err = train(tmp_path, *command, "epochs=1", "lr=0.1,0.01,0.001")
    assert code == 0, out + err
    assert "Sweep of 3 runs (1 to run)" in out
    runs = all_runs(tmp_path)
    assert len(runs) == 4
    assert {run.info.status for run in runs} == {"FINISHED"}


def test_a_plan_starts_no_process(tmp_path: Path) -> None:
    code = "import psutil, sys; sys.argv[1:] = ['-m', 'lr=0.1,0.01', 'plan=true']\n"
    code += "from sweeps.train import main\n"
    code += "main(); print('STARTED', psutil.Process().children())"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "2 runs: 2 new. Nothing was started." in done.stdout
    assert done.stdout.endswith("STARTED []\n"), done.stdout
