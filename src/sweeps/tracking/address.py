"""Where runs are tracked: the URI of a database file, the file of a URI, and the experiment in it."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from sweeps.errors import TrackingUnavailableError

DEFAULT_EXPERIMENT = "sweeps"

SPECIAL = re.compile(r"\?|%[0-9A-Fa-f]{2}")
"""What means something else in a URI than in the name of a file."""


def sqlite_uri(database: Path) -> str:
    """Returns the URI of a database file, absolute wherever that is possible.

    Below a folder with a special name the path from here needs no quoting.
    """
    for path in (database.absolute(), Path(os.path.relpath(database))):
        if not SPECIAL.search(str(path)):
            return f"sqlite:///{path}"
    from sqlalchemy import URL

    return URL.create("sqlite", database=str(database.absolute())).render_as_string()


def sqlite_file(uri: str) -> Path | None:
    """Returns the database file of a URI, or None where it names no such file."""
    if not uri.startswith("sqlite:///"):
        return None
    if not SPECIAL.search(uri):
        return Path(uri.removeprefix("sqlite:///"))
    from sqlalchemy import make_url

    return Path(make_url(uri).database or "")


def remove_quoted_folder(uri: str) -> None:
    """Removes the empty folder that MLflow makes of a quoted path, beside the one that is meant."""
    quoted = Path(uri.removeprefix("sqlite:///"))
    for folder in quoted.parents if quoted != sqlite_file(uri) else ():
        try:
            folder.rmdir()
        except OSError:  # not empty, or never made
            return


def experiment_of(name: str | None) -> str | None:
    """Returns a name, or the environment's, or ours; None where the environment says an id."""
    if name := name or os.environ.get("MLFLOW_EXPERIMENT_NAME"):
        return name
    return None if os.environ.get("MLFLOW_EXPERIMENT_ID") else DEFAULT_EXPERIMENT


def find_experiment(client: Any, name: str | None) -> Any:
    """Returns MLflow's experiment of a name, or with None of MLFLOW_EXPERIMENT_ID; None: there is none.

    Raises:
        TrackingUnavailableError: The store has no experiment of that id.
    """
    from mlflow.exceptions import MlflowException

    if name is not None:
        return client.get_experiment_by_name(name)
    number = os.environ["MLFLOW_EXPERIMENT_ID"]
    try:
        return client.get_experiment(number)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        raise TrackingUnavailableError(
            f"MLFLOW_EXPERIMENT_ID={number} is no experiment of {client.tracking_uri}. Unset it, or"
            " type tracking.experiment=NAME."
        ) from error
