"""Starts programs without the seconds of their imports: each is forked from a process that has imported.

    python warm.py CONTROL

CONTROL is an inherited socket. For each byte on it, which comes with a channel and with what is to
become standard output and error, a process starts that is as `python -m MODULE ARGUMENTS` would make it:
in a session, a folder, an environment and with pipes of its own, and nothing of the program has run in
it. It is as real as another, and dies as one. Between the two is a keeper, which waits for its end.

The program's own fork server, which would import the same once more, is forked likewise: the program
gets a spare process at its start, which turns into the server when one is asked for.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import struct
import sys
import threading
import traceback
import warnings
from multiprocessing import util
from pathlib import Path
from typing import Any, NoReturn

IMPORTED = [
    "matplotlib.figure",
    "mlflow.store.tracking.sqlalchemy_store",
    "mlflow.system_metrics.system_metrics_monitor",
    "rich.table",
    "scipy.stats",
    "sklearn.datasets",
    "sklearn.ensemble",
    "sklearn.inspection",
    "statsmodels.stats.multitest",
    "statsmodels.stats.power",
    "sweeps.compare",
    "sweeps.sweep.preload",  # what the program's own fork server imports
    "sweeps.reproduce",
    "sweeps.sync",
    "sweeps.train",
]
NUMBER = struct.Struct("i")


def main() -> None:
    """Imports, and from then on forks; what is forked returns here and runs its program."""
    sys.path.pop(0)  # our own folder
    for name in IMPORTED:
        importlib.import_module(name)
    assert threading.active_count() == 1, "a thread does not survive a fork"
    gc.collect()
    gc.freeze()
    request = _serve(socket.socket(fileno=int(sys.argv[1])))
    _become(request)
    _lend_a_fork_server()
    _leave(_run(request["module"]))


def _serve(control: socket.socket) -> dict[str, Any]:
    """Forks until the tests end; returns in each new process what it is to run."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for keepers
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, 1, 3)
        if not message:
            os._exit(0)
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            control.close()
            return _keep(*descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def _keep(channel_descriptor: int, out: int, err: int) -> dict[str, Any]:
    channel = socket.socket(fileno=channel_descriptor)
    with channel.makefile() as lines:
        request: dict[str, Any] = json.loads(lines.readline())
    pid = os.fork()
    if pid == 0:
        os.setsid()
        channel.sendall(NUMBER.pack(os.getpid()))
        channel.close()
        os.dup2(out, 1)
        os.dup2(err, 2)
    os.close(out)
    os.close(err)
    if pid == 0:
        return request
    status = os.waitpid(pid, 0)[1]
    channel.sendall(NUMBER.pack(os.waitstatus_to_exitcode(status)))
    os._exit(0)


def _become(request: dict[str, Any]) -> None:
    """Takes on what a new interpreter takes from its surroundings."""
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.argv = ["", *request["arguments"]]
    more = [path for path in request["env"].get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.path[:0] = [os.getcwd(), *(path for path in more if path not in sys.path)]  # noqa: PTH109
    for path in more:
        if (custom := Path(path, "sitecustomize.py")).exists():
            runpy.run_path(str(custom))
    if "OMP_NUM_THREADS" in os.environ:  # read by a library when it was loaded
        import torch

        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


def _run(module: str) -> int:
    warnings.filterwarnings("ignore", ".* found in sys.modules after import", RuntimeWarning)
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as leaving:
        if isinstance(leaving.code, str):
            print(leaving.code, file=sys.stderr)
        return leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _leave(code: int) -> NoReturn:
    """Ends as an interpreter does, but takes nothing apart: all of it was copied for that."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _lend_a_fork_server() -> None:
    """Has a spare process of ours become the fork server, for which an interpreter would be started."""
    mine, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        mine.close()
        _wait_as_spare(theirs)
    theirs.close()
    start_interpreter = util.spawnv_passfds

    def start(path: bytes, arguments: list[str], descriptors: list[int]) -> int:
        if "multiprocessing.forkserver" not in arguments[-1]:
            return start_interpreter(path, arguments, descriptors)
        util.spawnv_passfds = (
            start_interpreter  # a second server, after one that was killed, is fresh
        )
        message = json.dumps([arguments[-1], list(descriptors), dict(os.environ)]).encode()
        socket.send_fds(mine, [NUMBER.pack(len(message))], list(descriptors))
        mine.sendall(message)
        return pid

    util.spawnv_passfds = start  # type: ignore[assignment]


def _wait_as_spare(theirs: socket.socket) -> NoReturn:
    length, descriptors, _, _ = socket.recv_fds(theirs, NUMBER.size, 16)
    if not length:
        os._exit(0)  # the program has ended without a fork server
    with theirs, theirs.makefile("rb") as file:
        code, numbers, env = json.loads(file.read(NUMBER.unpack(length)[0]))
    # The code names the descriptors by the numbers that they have in the program.
    aside = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, 500) for descriptor in descriptors]
    for descriptor, number in zip(aside, numbers, strict=True):
        os.dup2(descriptor, number)
    os.closerange(min(aside), max(aside) + 1)
    os.environ.clear()
    os.environ.update(env)
    with contextlib.suppress(SystemExit):
        exec(code, {})
    _leave(0)


if __name__ == "__main__":
    main()
