"""A project that was renamed, moved or copied: MLflow notes the absolute places of its files."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

BUSY_S = 20.0


def bring_along(database: Path, experiment: Any, artifacts: Path) -> Path | None:
    """Makes an experiment keep its files beside its database, if that is where they are now.

    MLflow has no call for it, so the two columns are rewritten that say where the files of the
    experiment and of its runs lie. Others would write them into the folder that the project was in.

    Args:
        database: The SQLite file, in the output folder.
        experiment: MLflow's experiment.
        artifacts: The folder of files beside the database.

    Returns:
        Where the experiment kept its files until now, or None where it stays.
    """
    old = _folder(experiment.artifact_location)
    if old is None or old.name != artifacts.name or _is_same(old, artifacts):
        return None
    with contextlib.closing(sqlite3.connect(database, timeout=BUSY_S)) as connection, connection:
        runs = connection.execute(
            "SELECT run_uuid FROM runs WHERE experiment_id = ?", (experiment.experiment_id,)
        )
        if old.exists() and not any((artifacts / run_id).is_dir() for (run_id,) in runs):
            return None  # somebody's choice
        before, after = experiment.artifact_location, artifacts.as_uri()
        connection.execute(
            "UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?",
            (after, experiment.experiment_id),
        )
        connection.execute(
            "UPDATE runs SET artifact_uri = ? || substr(artifact_uri, ?)"
            " WHERE experiment_id = ? AND substr(artifact_uri, 1, ?) = ?",
            (after, len(before) + 1, experiment.experiment_id, len(before) + 1, f"{before}/"),
        )
    return old


def _folder(location: str) -> Path | None:
    parts = urlsplit(location)
    return Path(url2pathname(parts.path)) if parts.scheme == "file" else None


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one == other or one.samefile(other)
    except OSError:  # one of them is not there
        return False
