"""A program forked by the warm process, used like one that `subprocess` started."""

from __future__ import annotations

import functools
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from harness.warm import NUMBER

if TYPE_CHECKING:
    from collections.abc import Sequence


class Forked:
    """A program that the warm process forked, see `harness.warm`; the interface is `Popen`'s.

    Args:
        module: What would stand after `python -m`.
        arguments: What would stand after that.
        folder: The working directory.
        env: The whole environment.
    """

    def __init__(
        self, module: str, arguments: Sequence[str], folder: Path, env: dict[str, str]
    ) -> None:
        self.returncode: int | None = None
        self._channel, theirs = socket.socketpair()
        pipes = [os.pipe(), os.pipe()]
        given = [theirs.fileno(), *(write for _, write in pipes)]
        socket.send_fds(_warm()[0], [b"+"], given)
        theirs.close()
        for _, write in pipes:
            os.close(write)
        self._outputs = [_Reader(read) for read, _ in pipes]
        request = {"module": module, "arguments": arguments, "folder": str(folder), "env": env}
        self._channel.sendall(json.dumps(request).encode() + b"\n")
        self.pid = self._receive()

    def poll(self) -> int | None:
        """Returns the exit code, or None while it runs."""
        return self._wait(0)

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Waits for the end of the program, and of all that write where it wrote."""
        deadline = None if timeout is None else time.monotonic() + timeout
        for output in self._outputs:
            output.join(None if deadline is None else max(0, deadline - time.monotonic()))
        left = None if deadline is None else max(0, deadline - time.monotonic())
        if any(output.is_alive() for output in self._outputs) or self._wait(left) is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
        out, err = self._outputs
        return out.text, err.text

    def send_signal(self, signum: int) -> None:
        """Sends a signal to the program, if it still runs."""
        if self.poll() is None:
            os.kill(self.pid, signum)

    def kill(self) -> None:
        """Kills the program, and nothing that it has started."""
        self.send_signal(signal.SIGKILL)

    def _wait(self, timeout_s: float | None) -> int | None:
        if self.returncode is None and select.select([self._channel], [], [], timeout_s)[0]:
            self.returncode = self._receive()
            self._channel.close()
        return self.returncode

    def _receive(self) -> int:
        answer = self._channel.recv(NUMBER.size)
        assert answer, "the warm process is gone; what it said is on standard error"
        return int(NUMBER.unpack(answer)[0])


class _Reader(threading.Thread):
    """Reads a pipe to its end, whoever waits for it."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(daemon=True)
        self.text = ""
        self._descriptor = descriptor
        self.start()

    def run(self) -> None:
        with open(self._descriptor) as file:  # noqa: PTH123 - no path
            self.text = file.read()


def clean_environment() -> dict[str, str]:
    """Returns the environment without what the person's shell says of MLflow, and without a GPU."""
    own = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    return own | {"CUDA_VISIBLE_DEVICES": ""}


@functools.cache
def _warm() -> tuple[socket.socket, subprocess.Popen[bytes]]:
    """Starts the warm process of these tests; it ends when the socket does, with this process."""
    ours, theirs = socket.socketpair()
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("warm.py")), str(theirs.fileno())],
        env=clean_environment() | {"MLFLOW_DISABLE_TELEMETRY": "true"},
        stdin=subprocess.DEVNULL,
        pass_fds=[theirs.fileno()],
    )
    theirs.close()
    return ours, process
