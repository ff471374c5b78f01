"""Ctrl-C and SIGTERM: a run is asked to stop at its next step; asked twice, it stops at once."""

from __future__ import annotations

import contextlib
import signal
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]


class Interrupted(KeyboardInterrupt):
    """A signal ended the program.

    Args:
        signum: The signal's number; the exit code is 128 plus it.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


class StopRequest:
    """Whether the program was asked to stop, and by which signal."""

    def __init__(self) -> None:
        self.signum: int | None = None


@contextlib.contextmanager
def graceful_stop() -> Iterator[StopRequest]:
    """Turns the first SIGINT or SIGTERM within the block into a request; the second raises.

    Raises:
        Interrupted: A second signal arrived within the block.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request  # Python delivers signals to the main thread alone
        return

    def ask(signum: int, _frame: Any) -> None:
        if request.signum is not None:
            raise Interrupted(signum)
        request.signum = signum

    with _handlers(ask):
        yield request


@contextlib.contextmanager
def raising_signals() -> Iterator[None]:
    """Makes SIGINT and SIGTERM raise `Interrupted` within the block."""

    def stop(signum: int, _frame: Any) -> None:
        raise Interrupted(signum)

    with _handlers(stop):
        yield


@contextlib.contextmanager
def _handlers(handler: Any) -> Iterator[None]:
    before = {signum: signal.signal(signum, handler) for signum in SIGNALS}
    try:
        yield
    finally:
        for signum, old in before.items():
            signal.signal(signum, old)
