"""Other people's machines: folders that are not theirs, long names, users without a home."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from sweeps.data.cache import cache_dir
from sweeps.errors import BadInputError
from sweeps.files import expanded, explain_unwritable, replace_text
from sweeps.launchers.sockets import LONGEST, settle_sockets

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NOBODY = 54321
"""A number that no user has."""


def as_file(outputs: Path) -> None:
    outputs.touch()


def as_dangling_link(outputs: Path) -> None:
    outputs.symlink_to("nowhere")


def as_link_to_a_file(outputs: Path) -> None:
    (outputs.parent / "file").touch()
    outputs.symlink_to("file")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (as_file, "outputs is a file, and should be a folder"),
        (as_dangling_link, "outputs is a link to nowhere, which does not exist"),
        (as_link_to_a_file, "outputs is a file, and should be a folder"),
    ],
)
@pytest.mark.parametrize("below", ["", "runs/a"])
def test_what_is_in_the_way_of_a_folder(
    make: Callable[[Path], None], said: str, below: str, tmp_path: Path
) -> None:
    make(tmp_path / "outputs")
    with pytest.raises(OSError, match=r".") as raised:
        (tmp_path / "outputs" / below).mkdir(parents=True)
    assert f"{tmp_path}/{said}." in explain_unwritable(raised.value)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
@pytest.mark.parametrize(
    ("owner", "called", "asked"),
    [
        (0, "root", "runs"),
        (NOBODY + 1, f"user {NOBODY + 1}", "runs"),
        (0, "root", "closed/inside/deeper"),
    ],
)
def test_a_folder_of_somebody_else(owner: int, called: str, asked: str, tmp_path: Path) -> None:
    (tmp_path / "closed" / "inside").mkdir(parents=True)
    (tmp_path / "closed").chmod(0o700)
    tmp_path.chmod(0o755)
    os.chown(tmp_path, owner, owner)
    script = (
        "import os, sys, pathlib; from sweeps.files import explain_unwritable\n"
        f"os.chdir({str(tmp_path)!r}); os.setuid({NOBODY})\n"
        "try: pathlib.Path(sys.argv[1]).mkdir(parents=True)\n"
        "except OSError as error: print(explain_unwritable(error))"
    )
    said = run_python(script, asked)
    place = str(tmp_path) if asked == "runs" else "closed"
    assert f"{place} belongs to {called} and is closed to you." in said
    assert said.startswith(f"Cannot write {asked}")


def run_python(script: str, *arguments: str, **env: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env={**os.environ, **env},
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as raised:
        replace_text(tmp_path / "none" / "file", "")
    assert "No such file" in explain_unwritable(raised.value)
    assert explain_unwritable(OSError("odd")) == "Cannot write: odd."


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_a_user_without_a_home_is_told_what_to_set() -> None:
    script = (
        "import os; from sweeps.errors import BadInputError\n"
        "from sweeps.data.cache import cache_dir; from sweeps.files import ensure_home, expanded\n"
        f"os.setuid({NOBODY}); os.environ.pop('HOME', None); os.environ.pop('XDG_CACHE_HOME', None)\n"
        "os.environ.pop('SWEEPS_CACHE', None)\n"
        "for ask in (cache_dir, lambda: expanded('~/images')):\n"
        "    try: ask()\n"
        "    except BadInputError as error: print(error)\n"
        "ensure_home(); print(cache_dir())"
    )
    first, second, third = run_python(script).splitlines()
    assert "no home folder" in first
    assert "SWEEPS_CACHE=/tmp/cache" in first
    assert third == "/.cache/sweeps"
    assert second == "~/images starts in a home folder that there is none of. Type the whole path."


def test_a_home_of_nobody() -> None:
    with pytest.raises(BadInputError, match="~nobody-of-this-name/x starts in a home folder"):
        expanded("~nobody-of-this-name/x")


def test_the_cache_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SWEEPS_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_dir() == tmp_path / "sweeps"
    monkeypatch.setenv("SWEEPS_CACHE", str(tmp_path / "mine"))
    assert cache_dir() == tmp_path / "mine"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux forks from a server")
@pytest.mark.parametrize("length", [LONGEST, LONGEST + 1, 200])
def test_processes_start_whatever_the_length_of_tmpdir(length: int, tmp_path: Path) -> None:
    base = f"{tmp_path}/" if len(str(tmp_path)) + 2 < length else "/tmp/"
    folder = type(tmp_path)(base + "x" * (length - len(base)))
    folder.mkdir()
    script = (
        "from sweeps.launchers.local.pool import Pool\n"
        "if __name__ == '__main__': print(Pool(start_method='forkserver').call(lambda: 7))"
    )
    try:
        assert run_python(script, TMPDIR=str(folder)) == "7"
    finally:
        assert list(folder.iterdir()) == []
        folder.rmdir()


def test_the_temporary_folder_of_others_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    import tempfile

    before = tempfile.gettempdir()
    settle_sockets()
    assert tempfile.gettempdir() == before
