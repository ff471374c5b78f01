"""A forked program sees what a new interpreter sees, and ends as it does."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING

import pytest
from harness.program import finish, start, start_fresh

if TYPE_CHECKING:
    from pathlib import Path

SEEN = """
import json, os, signal, sys, threading, torch
print(json.dumps({
    "arguments": sys.argv,
    "environment": dict(os.environ),
    "folder": os.getcwd(),
    "gradients": torch.is_grad_enabled(),
    "handlers": {s: str(signal.getsignal(s)) for s in (1, 2, 13, 15, 17)},
    "leads": [os.getsid(0) == os.getpid(), os.getpgrp() == os.getpid()],
    "main": [sys.modules["__main__"].__file__, __name__, __spec__.name],
    "path": sys.path,
    "terminal": [stream.isatty() for stream in (sys.stdout, sys.stderr)],
    "threads": [threading.active_count(), torch.get_num_threads()],
}))
print("said", file=sys.stderr)
"""


def test_it_sees_what_a_new_interpreter_sees(tmp_path: Path) -> None:
    (tmp_path / "seen.py").write_text(SEEN)
    seen = []
    for begin in (start_fresh, start):
        env = {"OMP_NUM_THREADS": "2", "SEEN": "yes"}
        code, out, err = finish(begin(tmp_path, "a", "b=1", module="seen", **env))
        assert (code, err) == (0, "said\n"), err
        seen.append(json.loads(out))
    assert seen[0] == seen[1]
    assert seen[0]["environment"]["SEEN"] == "yes"


ENDS = {
    "sys.exit(3)": (3, ""),
    "sys.exit()": (0, ""),
    "sys.exit('sorry')": (1, "sorry\n"),
    "import os; os._exit(7)": (7, ""),
    "raise ValueError('no')": (1, "ValueError: no\n"),
    "import os; os.kill(os.getpid(), 9)": (-signal.SIGKILL, ""),
    "import atexit; atexit.register(lambda: print('last', file=sys.stderr))": (0, "last\n"),
}


@pytest.mark.parametrize("last_line", ENDS)
def test_it_ends_as_a_new_interpreter_does(last_line: str, tmp_path: Path) -> None:
    (tmp_path / "ends.py").write_text(f"import sys\nprint('begun', flush=True)\n{last_line}\n")
    expected_code, last = ENDS[last_line]
    code, out, err = finish(start(tmp_path, module="ends"))
    assert (code, out) == (expected_code, "begun\n")
    assert err.endswith(last)


def test_it_can_be_killed(tmp_path: Path) -> None:
    (tmp_path / "waits.py").write_text("import time\nprint('up', flush=True)\ntime.sleep(600)\n")
    process = start(tmp_path, module="waits")
    assert process.poll() is None
    process.kill()
    assert finish(process)[0] == -signal.SIGKILL
    process.kill()  # as with subprocess, nothing where it has ended
