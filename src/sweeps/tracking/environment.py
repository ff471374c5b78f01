"""The code and the machine a run was made with."""

from __future__ import annotations

import functools
import importlib.metadata
import platform
import subprocess
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


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
