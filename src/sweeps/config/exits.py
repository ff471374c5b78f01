"""How a command ends: by an exit code, and where it went wrong by one message and no traceback."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING

from sweeps.config.command_line import explain_error
from sweeps.config.hydra_errors import for_terminal
from sweeps.signals import Interrupted, raising_signals

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def exiting() -> Iterator[None]:
    """Ends the program where its block raises: 1 a run failed, 2 bad input, 128+n on signal n.

    With HYDRA_FULL_ERROR=1 errors are raised as they are.
    """
    want_traceback = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come to us instead of being printed by Hydra
    try:
        with raising_signals():
            yield
    except Interrupted as interrupted:
        sys.exit(128 + interrupted.signum)
    except Exception as error:
        if want_traceback:
            raise
        message, code = explain_error(error)
        if message is None:
            raise
        sys.stdout.flush()
        sys.stderr.write(f"sweeps: {for_terminal(message)}\n")
        sys.exit(code)
