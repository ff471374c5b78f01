"""Writes down what a program does for a cell: each config composed or parsed, each run.json opened.

Python imports this module at its start, see `harness.program`. An audit hook sees each open, a profile
function each call, in every process of a command. Nothing of the program is patched.
"""

import os
import sys
from pathlib import Path
from types import FrameType
from typing import Any

CALLS = {"parse": "config/parse.py", "load_sweep_config": "config/composition.py"}
"""Public functions through which every composed config goes, and where they stand."""


def _install(trips: str) -> None:
    def write(what: str) -> None:
        descriptor = os.open(trips, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(descriptor, f"{os.getpid()} {what}\n".encode())
        os.close(descriptor)

    def opened(event: str, args: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(args[0], (str, Path)) and args[1] == "r":
            path = Path(args[0])
            if path.name == "run.json":
                write(f"read {path.parent.name}")

    def called(frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.endswith(CALLS.get(code.co_name, "nowhere")):
            write(code.co_name)

    sys.addaudithook(opened)
    sys.setprofile(called)


if "SWEEPS_TEST_TRIPS" in os.environ:
    _install(os.environ["SWEEPS_TEST_TRIPS"])
