"""The code and the machine a run was made with."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import importlib.util
import platform
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable


@functools.cache
def capture_environment() -> dict[str, Any]:
    """Returns versions of Python, the platform and every installed package."""
    packages = {
        str(item.metadata["Name"]): item.version for item in importlib.metadata.distributions()
    }
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "packages": dict(sorted(packages.items(), key=lambda item: item[0].lower())),
    }


@functools.lru_cache(maxsize=4)
def capture_git(folder: Path) -> tuple[dict[str, Any], bytes]:
    """Returns commit, branch and dirty flag of the repository around a folder, and its diff.

    Empty where there is no repository or no git.
    """
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return {}, b""
    branch = _git(folder, "rev-parse", "--abbrev-ref", "HEAD") or b""
    diff = _git(folder, "diff", "HEAD", "--binary") or b""
    return {
        "commit": commit.decode().strip(),
        "branch": branch.decode().strip(),
        "dirty": bool(diff.strip()),
    }, diff


def _git(folder: Path, *arguments: str) -> bytes | None:
    try:
        done = subprocess.run(  # noqa: S603 - fixed arguments
            ["git", "-C", str(folder), *arguments],  # noqa: S607 - the person's own git
            capture_output=True,
            check=True,
            timeout=20,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


LIBRARIES = ("torch", "torchvision", "numpy", "pillow", "scikit-learn")
"""Packages whose version can change a result."""


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
