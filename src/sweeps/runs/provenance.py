"""The code and the machine a run was made with."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import importlib.util
import math
import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import torch


LIMIT_S = 20
"""Of one question to git: a run must not wait for a repository on a slow disk."""

MOST_NEW_FILES = 100
MOST_NEW_BYTES = 4 * 1024 * 1024
"""Of untracked files in a patch."""

LITERAL = ("--literal-pathspecs", "ls-files", "--others", "-z", "--")

PLAIN = (
    "--binary",
    "--no-ext-diff",
    "--no-textconv",
    "--no-color",
    "--no-relative",
    "--submodule=short",
    "--unified=3",
    "--src-prefix=a/",
    "--dst-prefix=b/",
    "-O/dev/null",
)
"""What settings such as diff.external, diff.noprefix or color.ui would make of a diff otherwise."""


@dataclass(frozen=True)
class Provenance:
    """What a run is made with besides its config and its data.

    Attributes:
        code: Hash of the source that trains, see `code_digest`.
        git: Commit, branch and dirty flag, see `capture_git`.
        diff: Its uncommitted changes as a patch.
        environment: Versions, see `capture_environment`.
        numerics: The device's name and torch's switches that decide bits.
        device: Such as 'cuda:0'.
        threads: CPU threads; bits depend on them.
    """

    code: str
    git: dict[str, Any]
    diff: bytes
    environment: dict[str, Any]
    numerics: dict[str, Any]
    device: str
    threads: int


def capture_provenance(targets: Sequence[str], device: torch.device) -> Provenance:
    """Returns what a run of some classes is made with here and now, once they are imported."""
    import torch

    from sweeps.training.determinism import describe_numerics

    if own_modules(targets):  # they are imported now, not with the fork server
        capture_git.cache_clear()
    git, diff = capture_git(Path.cwd())
    return Provenance(
        code=code_digest(targets),
        git=git,
        diff=diff,
        environment=capture_environment(),
        numerics=describe_numerics(device),
        device=str(device),
        threads=torch.get_num_threads(),
    )


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

    Python files that git does not track are changes as well: those that it does not ignore, and
    those that are imported. The diff holds them, and `git apply` takes it whatever git's settings.
    Dirty is None where git does not say in time. Empty where there is no repository or no git.
    """
    commit, top = _git(folder, "rev-parse", "HEAD"), _git(folder, "rev-parse", "--show-toplevel")
    if commit is None or top is None:
        return {}, b""
    branch = _git(folder, "rev-parse", "--abbrev-ref", "HEAD") or b""
    repository = Path(os.fsdecode(top.removesuffix(b"\n")))
    diff, added = _git(repository, "diff", *PLAIN, "HEAD"), _untracked_code(repository)
    unknown = diff is None or added is None
    return {
        "commit": commit.decode().strip(),
        "branch": branch.decode().strip(),
        "dirty": bool(diff or added) or (None if unknown else False),
    }, _with_new_files(diff or b"", repository, added or [])


def _untracked_code(repository: Path) -> list[str] | None:
    """Returns the Python files that are in no commit, or None where git does not say."""
    named = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
    inside = [Path(file) for file in named if file and file.startswith(f"{repository}{os.sep}")]
    imported = [str(file) for file in inside if _is_own(file)]
    visible = _git(repository, "ls-files", "--others", "--exclude-standard", "-z", "--", "*.py")
    if visible is None:
        return None
    # Git refuses the question where one of them is in a repository below this one.
    ignored = (_git(repository, *LITERAL, *imported) or b"") if imported else b""
    names = {os.fsdecode(name) for name in (visible + ignored).split(b"\0")}
    return sorted(name for name in names if name.endswith(".py") and _is_own(repository / name))


def _is_own(path: Path) -> bool:
    """Whether a file is no library of an environment that lies in the repository."""
    return "site-packages" not in path.parts and not path.is_relative_to(sys.prefix)


def _with_new_files(diff: bytes, repository: Path, names: Sequence[str]) -> bytes:
    """Returns a patch with new files in it; those beyond its bounds are named before it."""
    patches, left_out, room = [diff], [], MOST_NEW_BYTES
    for number, name in enumerate(names):
        patch = None
        if number < MOST_NEW_FILES and _size(repository / name) <= room:
            patch = _git(repository, "diff", "--no-index", *PLAIN, "--", os.devnull, name)
        if patch is None:
            left_out.append(f"Not in this patch: {name}\n".encode(errors="surrogateescape"))
        else:
            patches.append(patch)
            room -= len(patch)
    return b"".join([*left_out, *patches])


def _size(path: Path) -> float:
    try:
        return path.stat().st_size
    except OSError:
        return math.inf


def _git(folder: Path, *arguments: str) -> bytes | None:
    try:
        done = subprocess.run(  # noqa: S603 - fixed arguments
            ["git", "-C", str(folder), *arguments],  # noqa: S607 - the person's own git
            capture_output=True,
            check=False,
            timeout=LIMIT_S,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},  # many runs ask at once
        )
    except (OSError, subprocess.SubprocessError):
        return None
    differs = done.returncode == 1 and "--no-index" in arguments  # as the tool diff says it
    return done.stdout if done.returncode == 0 or differs else None


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
