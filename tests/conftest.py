"""What tests of different rooms share."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from harness.server import Server
    from hydra.types import HydraContext


# Read when torch is loaded, here and in the programs that tests start. Several run at once: the threads
# of one process would wait for each other, and burn the cores meanwhile, where others have the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")


@pytest.fixture(scope="session")
def made_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database without runs, as MLflow makes it; that takes it seconds."""
    from mlflow import MlflowClient

    database = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(f"sqlite:///{database}").search_experiments()
    return database


@pytest.fixture
def ready_store(tmp_path: Path, made_store: Path) -> Path:
    """A copy of that database where a command in `tmp_path` looks for one."""
    database = tmp_path / "outputs" / "mlflow.db"
    database.parent.mkdir()
    shutil.copyfile(made_store, database)
    return database


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """An MLflow server, which takes seconds to start."""
    from harness.server import Server

    running = Server(tmp_path_factory.mktemp("server"))
    yield running
    running.stop()


@pytest.fixture(scope="module")
def context() -> Iterator[HydraContext]:
    """What Hydra hands to our sweeper."""
    from hydra import initialize_config_dir
    from hydra._internal.callbacks import Callbacks
    from hydra.core.global_hydra import GlobalHydra
    from hydra.types import HydraContext

    from sweeps.config.composition import composing
    from sweeps.config.locations import conf_dir
    from sweeps.config.resolvers import prepare_hydra

    prepare_hydra()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        yield composing(HydraContext(hydra.config_loader, Callbacks()))
