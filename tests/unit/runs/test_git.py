"""What is noted of the repository around a run, whatever git's settings, and that the patch applies."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sweeps.runs.provenance import MOST_NEW_BYTES, capture_git
from sweeps.runs.record import dirty_word

MODEL = "width = 3\n"


@pytest.fixture(autouse=True)
def nothing_remembered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, value in (("GLOBAL", os.devnull), ("SYSTEM", os.devnull)):
        monkeypatch.setenv(f"GIT_CONFIG_{name}", value)
    capture_git.cache_clear()
    yield
    capture_git.cache_clear()


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org", *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """One commit of a model, a text and a picture."""
    folder = tmp_path / "répo é"
    (folder / "package").mkdir(parents=True)
    (folder / "package" / "model.py").write_text("".join(f"line{i} = {i}\n" for i in range(30)))
    (folder / "notes ü.txt").write_text("one\n")
    (folder / "picture.bin").write_bytes(bytes(range(256)))
    (folder / ".gitignore").write_text("ignored*\n.venv/\n")
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "first")
    return folder


def change(folder: Path) -> None:
    model = folder / "package" / "model.py"
    model.write_text(model.read_text().replace("line9 = 9", "line9 = 10"))
    (folder / "notes ü.txt").write_text("two\n")
    (folder / "picture.bin").write_bytes(bytes(reversed(range(256))))
    (folder / "package" / "mod el ñ.py").write_text(MODEL)


def assert_restores(patch: bytes, folder: Path, copy: Path) -> None:
    git(folder, "clone", "-q", str(folder), str(copy))
    (copy.parent / "it.patch").write_bytes(patch)
    git(copy, "apply", str(copy.parent / "it.patch"))
    for path in folder.rglob("*"):
        if path.is_file() and ".git" not in path.parts and path.name != ".gitattributes":
            assert (copy / path.relative_to(folder)).read_bytes() == path.read_bytes()


def test_a_clean_commit_is_called_clean(repository: Path) -> None:
    (repository / "data.csv").write_text("1")
    (repository / "ignored.py").write_text(MODEL)
    found, diff = capture_git(repository)
    assert (found["dirty"], diff) == (False, b"")
    assert found["commit"] == git(repository, "rev-parse", "HEAD").strip()
    assert dirty_word(found) == "false"


@pytest.mark.parametrize("inside", [".", "package"])
def test_the_patch_holds_changes_and_untracked_code(
    inside: str, repository: Path, tmp_path: Path
) -> None:
    change(repository)
    found, diff = capture_git(repository / inside)
    assert found["dirty"] is True
    assert_restores(diff, repository, tmp_path / "copy")


@pytest.mark.parametrize(
    "settings",
    [
        {"diff.external": "echo", "color.ui": "always", "diff.colorMoved": "zebra"},
        {"diff.noprefix": "true", "diff.context": "0", "diff.relative": "true"},
        {"diff.mnemonicPrefix": "true", "core.quotepath": "false", "diff.orderFile": "none"},
        {"diff.noprefix": "true", "core.quotepath": "true", "diff.suppressBlankEmpty": "true"},
        {"diff.odd.command": "echo", "diff.odd.textconv": "echo"},
    ],
    ids=["external", "noprefix", "mnemonic", "quotes", "driver"],
)
def test_the_patch_is_plain_whatever_the_settings(
    settings: dict[str, str], repository: Path, tmp_path: Path
) -> None:
    change(repository)
    for key, value in settings.items():
        git(repository, "config", key, value)
    (repository / ".git" / "info" / "attributes").write_text("* diff=odd\n")
    assert_restores(capture_git(repository)[1], repository, tmp_path / "copy")


def test_an_ignored_file_that_is_imported_counts(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (repository / "ignored_model.py").write_text(MODEL)
    library = repository / ".venv/lib/site-packages/some.py"
    library.parent.mkdir(parents=True)
    library.write_text("")
    monkeypatch.syspath_prepend(str(library.parent))
    monkeypatch.syspath_prepend(str(repository))
    __import__("some")
    assert capture_git(repository)[0]["dirty"] is False
    __import__("ignored_model")
    capture_git.cache_clear()
    found, diff = capture_git(repository)
    assert found["dirty"] is True
    assert b"+width = 3" in diff
    assert b"some.py" not in diff
    for name in ("some", "ignored_model"):
        del sys.modules[name]


def test_large_new_files_are_named_instead(repository: Path, tmp_path: Path) -> None:
    change(repository)
    (repository / "generated.py").write_text("x = 1\n" * MOST_NEW_BYTES)
    found, diff = capture_git(repository)
    assert found["dirty"] is True
    assert len(diff) < MOST_NEW_BYTES
    assert b"Not in this patch: generated.py\n" in diff
    (repository / "generated.py").unlink()
    assert_restores(diff, repository, tmp_path / "copy")


def test_a_git_that_does_not_say_is_not_called_clean(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    script = folder / "git"
    script.write_text(
        f"#!/bin/sh\nPATH={json.dumps(os.environ['PATH'])}\n"
        'for word; do [ "$word" = diff ] && exit 124; done\nexec git "$@"\n'
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    found, _ = capture_git(repository)
    assert found["dirty"] is None
    assert dirty_word(found) == "unknown"


def test_no_repository(tmp_path: Path) -> None:
    assert capture_git(tmp_path) == ({}, b"")
