"""The examples of the documentation: they stand in it as they run."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from harness.examples import EXAMPLES
from harness.program import QUICK, train_fresh

if TYPE_CHECKING:
    from pathlib import Path


def test_the_page_shows_the_files_that_run() -> None:
    docs = EXAMPLES.parent
    pages = [docs / "extending.md", *sorted(docs.glob("extending/*.md"))]
    page = "".join(path.read_text() for path in pages)
    shown = dict(re.findall(r"`docs/examples/(\S+)`:\n\n```python\n(.*?)```", page, re.DOTALL))
    files = [path.relative_to(EXAMPLES) for path in EXAMPLES.rglob("*.py")]
    assert shown == {str(file): (EXAMPLES / file).read_text() for file in files}


def test_its_launcher_runs_a_search_that_stops_runs_early(tmp_path: Path) -> None:
    paths = os.pathsep.join([str(EXAMPLES), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = ["-m", "hydra/launcher=one_by_one", "hydra/sweeper=search", "search=halving", *QUICK]
    command += ["name=s", "tracking=none", "epochs=4", "lr=0.1,0.01,0.001"]
    code, out, err = train_fresh(tmp_path, *command, PYTHONPATH=paths)
    assert code == 0, out + err
    assert "pruned" in out
    assert "stopped early" in train_fresh(tmp_path, *command, "plan=true", PYTHONPATH=paths)[1]
