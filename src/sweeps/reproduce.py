"""Repeat a saved run and prove that it is the same: python -m sweeps.reproduce RUN."""

from __future__ import annotations

import logging
import os
import sys

from sweeps.errors import SweepsError
from sweeps.files import ensure_home, find_own_modules
from sweeps.reproduction.options import Options, explain, parser
from sweeps.runs.console import ConsoleHandler
from sweeps.signals import Interrupted, raising_signals


def main() -> None:
    """Runs the command line and exits: 0 the same, 1 differs or failed, 2 bad input, 128+n on signal n."""
    typed = vars(parser().parse_args())
    find_own_modules()
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[ConsoleHandler()])
    logging.getLogger("sweeps").setLevel(logging.INFO)
    ensure_home()
    try:
        with raising_signals():
            from sweeps.reproduction.repeat import reproduce  # late: --help must not wait for it

            verdict = reproduce(Options(**typed | {"trusted": tuple(typed["trusted"])}))
            sys.exit(1 if verdict.kind == "differs" else 0)
    except Interrupted as interrupted:
        sys.exit(128 + interrupted.signum)
    except (SweepsError, OSError) as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        sys.stdout.flush()
        sys.stderr.write(f"sweeps: {explain(error)}\n")
        sys.exit(error.exit_code if isinstance(error, SweepsError) else 2)


if __name__ == "__main__":
    main()
