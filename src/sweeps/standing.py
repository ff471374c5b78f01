"""Where a run stands: nothing yet, to be continued, done, and whether it is still what it was."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import importlib.util
import logging
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sweeps.paths import RunPaths
    from sweeps.records import RunRecord

log = logging.getLogger(__name__)

Standing = Literal["new", "continue", "again", "done"]

LIBRARIES = ("torch", "torchvision", "numpy", "pillow", "scikit-learn")
"""Packages whose version can change a result."""


def standing(record: RunRecord | None) -> Standing:
    """Returns what a command has to do for a run whose folder holds this record."""
    if record is None:
        return "new"
    if record.outcome in ("finished", "diverged"):
        return "done"
    return "again" if record.outcome == "failed" else "continue"


def changes(record: RunRecord, *, code: str, digest: str | None) -> list[str]:
    """Returns what is no longer as it was when the run was made.

    Args:
        record: The run.
        code: The present `code_digest`.
        digest: The data's present digest, or None where it was not read.
    """
    found = []
    if record.code and record.code != code:
        found.append("code")
    if digest and record.dataset.get("digest") not in (None, digest):
        found.append("data")
    before = record.environment.get("packages", {})
    for name, version in library_versions().items():
        if name in before and before[name] != version:
            found.append(f"{name} {before[name]} to {version}")
    return found


def restart(paths: RunPaths, record: RunRecord) -> RunRecord:
    """Makes a finished run one to be trained from its start; its run in MLflow is replaced."""
    for path in (paths.checkpoint, paths.previous_checkpoint, paths.mirror):
        path.unlink(missing_ok=True)
    again = dataclasses.replace(
        record,
        key=uuid.uuid4().hex,
        replaces=[*record.replaces, record.key],
        status="RUNNING",
        outcome=None,
        seconds=0.0,
        started_ms=time.time_ns() // 1_000_000,
    )
    again.save(paths)
    return again


def say_changes(record: RunRecord, changed: list[str], *, refresh: bool) -> None:
    """Names a finished run that would come out differently today."""
    verb = "it is trained again" if refresh else "it is kept; refresh=true trains it again"
    log.warning("%s changed since it finished (%s): %s.", record.name, ", ".join(changed), verb)


def library_versions() -> dict[str, str]:
    """Returns the installed versions of `LIBRARIES`."""
    versions = {}
    for name in LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def code_digest(targets: Iterable[str]) -> str:
    """Returns a hash of the source that trains: this package, and a person's own modules.

    Args:
        targets: Dotted names of the classes in use; the top packages of those that are not
            libraries are hashed.
    """
    tops = {target.split(".", maxsplit=1)[0] for target in targets}
    sha = hashlib.sha256()
    for top in sorted({"sweeps", *tops} - {"torch", "torchvision"}):
        for path in _sources(top):
            sha.update(path.name.encode() + b"\0" + path.read_bytes())
    return sha.hexdigest()[:32]


def _sources(top: str) -> list[Path]:
    spec = importlib.util.find_spec(top)
    if spec is None:
        return []
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    if folders:
        return sorted(path for folder in folders for path in folder.rglob("*.py"))
    return [Path(spec.origin)] if spec.origin and spec.origin.endswith(".py") else []
