"""The process of one run: its own session, its own output, gone when its controller is."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import sys
import threading
from multiprocessing import connection
from typing import TYPE_CHECKING

from sweeps.launchers.local.pipe import PipeChannel
from sweeps.signals import Interrupted, raising_signals

if TYPE_CHECKING:
    from multiprocessing.connection import Connection


def work(call: bytes, log: str | None, env: dict[str, str], link: Connection) -> None:
    """Runs a pickled call and sends what it returns or raises.

    Args:
        call: What is called with the run's channel, pickled by cloudpickle.
        log: File that gets what the process prints; None leaves it on the terminal.
        env: Set before anything runs, such as which GPU is seen.
        link: Gets what is reported, and at the end a pickled pair (returned, raised).
    """
    import cloudpickle

    if hasattr(os, "setsid"):
        os.setsid()  # Ctrl-C on a terminal reaches the controller alone, which asks us once
    os.environ.update(env)
    if log is not None:
        _print_to(log)
    _leave_with_controller()
    with raising_signals():
        answer: tuple[object, Exception | None]
        try:
            answer = (cloudpickle.loads(call)(PipeChannel(link)), None)
        except Interrupted as interrupted:
            _flush()
            os._exit(128 + interrupted.signum)
        except Exception as error:
            answer = (None, error)
    with contextlib.suppress(OSError):  # a controller that is leaving listens no more
        link.send_bytes(_pickled(answer))
    link.close()
    logging.shutdown()
    _flush()
    os._exit(0)  # nothing of ours is left to tear down, and torch takes its time for it


def _pickled(answer: tuple[object, Exception | None]) -> bytes:
    import cloudpickle

    try:
        content: bytes = cloudpickle.dumps(answer)
        cloudpickle.loads(content)  # some exceptions pickle, and cannot be read again
    except Exception as error:
        return bytes(cloudpickle.dumps((None, RuntimeError(f"{answer!r} cannot be sent: {error}"))))
    return content


def _print_to(log: str) -> None:
    with contextlib.suppress(OSError):
        os.makedirs(os.path.dirname(log), exist_ok=True)  # noqa: PTH103, PTH120 - before imports
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        for stream in (1, 2):
            os.dup2(descriptor, stream)
        os.close(descriptor)
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]


def _leave_with_controller() -> None:
    """Asks this process to stop, as a signal would, when its controller has died."""
    controller = multiprocessing.parent_process()
    assert controller is not None

    def wait() -> None:
        connection.wait([controller.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="watch-controller", daemon=True).start()


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
