"""Where a run stands: nothing yet, to be continued, done, and whether it is still what it was."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib.metadata
import importlib.util
import logging
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sweeps.records import now_ms

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

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
        started_ms=now_ms(),
        ended_ms=None,
        epochs_done=0,
        best_epoch=None,
        objective_value=None,
        metrics={},
    )
    again.save(paths)
    # Only now: until then they belong to a whole run.
    epochs = paths.weights_after("*")
    for path in (
        paths.metrics,
        paths.metric_times,
        paths.weights,
        *epochs.parent.glob(epochs.name),
    ):
        path.unlink(missing_ok=True)
    return again


def say_changes(names: Sequence[str], changed: Iterable[str], *, refresh: bool) -> None:
    """Says of finished runs, in one line, that they would come out differently today, and why."""
    what = ", ".join(changed)
    if len(names) == 1:
        verb = "it is trained again" if refresh else "it is kept; refresh=true trains it again"
        log.warning("%s changed since it finished (%s): %s.", names[0], what, verb)
    else:
        verb = "trained again" if refresh else "kept; refresh=true trains them again"
        log.warning("%d finished runs: %s changed since. They are %s.", len(names), what, verb)


@functools.cache
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
    sha = hashlib.sha256(_own_source())
    for top in own_modules(targets):
        _add_source(sha, top)
    return sha.hexdigest()[:32]


def own_modules(targets: Iterable[str]) -> list[str]:
    """Returns a person's own top packages among those of some dotted names."""
    tops = {target.split(".", maxsplit=1)[0] for target in targets}
    return sorted(tops - {"sweeps", "torch", "torchvision"})


@functools.cache
def _own_source() -> bytes:
    """Returns a hash of this package as it was imported; what is edited later does not run here."""
    sha = hashlib.sha256()
    _add_source(sha, "sweeps")
    return sha.digest()


def _add_source(sha: Any, top: str) -> None:
    for path in _sources(top):
        sha.update(path.name.encode() + b"\0" + path.read_bytes())


def _sources(top: str) -> list[Path]:
    spec = importlib.util.find_spec(top)
    if spec is None:
        return []
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    if folders:
        return sorted(path for folder in folders for path in folder.rglob("*.py"))
    return [Path(spec.origin)] if spec.origin and spec.origin.endswith(".py") else []
