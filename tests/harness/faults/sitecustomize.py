"""Breaks a process at a named point: Python imports this module at its start, see `harness.program`.

An audit hook sees each open and each rename before it happens. At the chosen one it kills the process,
leaves half a file behind first, or says that the disk is full. Nothing of the program is patched.
"""

import errno
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any


def _install(fault: dict[str, Any]) -> None:
    armed: list[bool] = []

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if armed and event == "open":
            os.kill(os.getpid(), signal.SIGKILL)
        source, target = _paths(event, args)
        if event != fault["event"] or Path(target).name != fault["file"] or not _is_the_hit(fault):
            return
        if fault["action"] == "after":
            armed.append(True)
        else:
            _break(fault["action"], Path(source), Path(target))

    sys.addaudithook(hook)


def _paths(event: str, args: tuple[Any, ...]) -> tuple[str, str]:
    if event == "os.rename":
        return str(args[0]), str(args[1])
    written = event == "open" and isinstance(args[0], str) and args[1] not in ("r", "rb", None)
    return (args[0], args[0]) if written else ("", "")


def _break(action: str, source: Path, target: Path) -> None:
    if action == "full":
        raise OSError(errno.ENOSPC, "No space left on device", str(target))
    if action == "half":
        os.truncate(source, source.stat().st_size // 2)
    if action == "torn":
        with target.with_name("metrics.jsonl").open("a") as file:
            file.write('{"key": "train_lo')
    os.kill(os.getpid(), signal.SIGKILL)


def _is_the_hit(fault: dict[str, Any]) -> bool:
    """Counts over all processes of a command, by the length of a file."""
    descriptor = os.open(fault["counter"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, b".")
    size = os.fstat(descriptor).st_size
    os.close(descriptor)
    return bool(size == fault["hit"])


if "SWEEPS_TEST_FAULT" in os.environ:
    _install(json.loads(os.environ["SWEEPS_TEST_FAULT"]))
