"""Many commands in one process, one after the other, each in an empty folder: for those that start nothing.

    python -m many LINES ANSWERS

LINES is a JSON list of lists of arguments, ANSWERS becomes a list of `Answer`s.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from pathlib import Path
from typing import NamedTuple

from harness.program import finish, start


class Answer(NamedTuple):
    """What became of a command.

    Attributes:
        code: The exit code.
        out: Standard output.
        err: Standard error.
        left: Files and folders that it left.
    """

    code: int
    out: str
    err: str
    left: list[str]


def train_many(folder: Path, lines: list[list[str]]) -> list[Answer]:
    """Runs training commands to their ends, in one process."""
    (folder / "lines.json").write_text(json.dumps(lines))
    (folder / "many.py").write_text("from harness.many import main\nmain()\n")
    tests = str(Path(__file__).parents[1])
    code, out, err = finish(start(folder, module="many", PYTHONPATH=tests))
    assert code == 0, out + err
    return [Answer(*answer) for answer in json.loads((folder / "answers.json").read_text())]


def main() -> None:
    """Runs the lines in the working directory's file."""
    top = Path.cwd()
    answers = []
    for number, line in enumerate(json.loads((top / "lines.json").read_text())):
        folder = top / f"{number}"
        folder.mkdir()
        os.chdir(folder)
        answers.append(_run(line, folder))
    (top / "answers.json").write_text(json.dumps(answers))


def _run(line: list[str], folder: Path) -> Answer:
    from sweeps.train import main as train

    sys.argv[1:] = line
    os.environ["HYDRA_FULL_ERROR"] = "0"
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            train()
        except SystemExit as ended:
            code = int(ended.code or 0)
    left = sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
    return Answer(code, out.getvalue(), err.getvalue(), left)
