"""The one way to MLflow: its client, how its requests are made, and what its errors say."""

from __future__ import annotations

import logging
import os
import re
from typing import Any

from sweeps.errors import TrackingUnavailableError
from sweeps.tracking.address import sqlite_file

TIMEOUT = "MLFLOW_HTTP_REQUEST_TIMEOUT"


def make_client(uri: str) -> Any:
    """Returns MLflow's client for a store, which is made where it is a database that is not there."""
    load_mlflow()
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri)


def open_client(uri: str, otherwise: str) -> Any:
    """Returns MLflow's client for a store to read from.

    Args:
        uri: The tracking URI.
        otherwise: What to type where there is none, as a sentence.

    Raises:
        TrackingUnavailableError: There is no database where the URI says.
    """
    database = sqlite_file(uri)
    if database is not None and not database.is_file():
        raise TrackingUnavailableError(f"There is no MLflow store at {uri}. {otherwise}")
    return make_client(uri)


def load_mlflow() -> None:
    """Imports MLflow, which takes seconds, and makes it silent, impatient and never insistent.

    MLflow asks the environment at each request, so this holds for the whole process, whoever comes
    first and whatever was set before: a request whose answer was lost is not repeated below us, because
    a repeated `runs/create` makes a second run. Who writes asks for the run by its key and tries again.
    """
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
    # How long one request may take is a person's own choice; MLflow's 120 s would look like hanging.
    os.environ.setdefault(TIMEOUT, "8")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    import mlflow  # noqa: F401

    for name in ("mlflow", "alembic", "urllib3"):  # we say what matters, once
        logging.getLogger(name).setLevel(logging.CRITICAL)


def explain(error: Exception) -> str:
    """Returns in a few words what MLflow, its database or a connection says, without a full stop."""
    said = str(error)
    # A failed connection is a page of nested exceptions whose last words say it all.
    if found := re.findall(r"\[Errno -?\d+\] ([^'\")]+)", said):
        return str(found[-1]).strip()
    if "timed out" in said and TIMEOUT in os.environ:
        return f"no answer within {os.environ[TIMEOUT]} s; {TIMEOUT} allows more"
    if found := re.findall(r"too many (\d+) error responses", said):
        return f"it answers {found[-1]}"
    lines = said.strip().splitlines() or [repr(error)]
    return lines[0][:200].rstrip(".")
