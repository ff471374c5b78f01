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


# Read when torch is loaded, here and in the programs that tests start: several tests run at once, and
# the threads of one process wait for each other where others have the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")


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
