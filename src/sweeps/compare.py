"""Compare the runs of sweeps: python -m sweeps.compare lr_study [--html report.html]."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from sweeps.analysis.compare_options import CompareOptions, read_options
from sweeps.errors import SweepsError
from sweeps.files import ensure_home

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and exits: 0 well, 2 bad input."""
    options = read_options(arguments)
    ensure_home()
    try:
        _compare(options)
    except SweepsError as error:
        _say(f"sweeps: {error}")
        sys.exit(error.exit_code)
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        sys.exit(130)


def _compare(options: CompareOptions) -> None:
    from sweeps.analysis.comparing import compare_runs  # late: --help must not wait for it

    found = compare_runs(options)
    sys.stdout.write(found.text(options.form))
    if options.html is not None:
        found.write_html(options.html)
        _say(f"Report: {options.html}")
    if options.export_algoperf is not None:
        trials = found.write_algoperf(options.export_algoperf)
        _say(f"AlgoPerf logs: {options.export_algoperf} ({trials} trials)")
    sys.stdout.flush()


def _say(message: str) -> None:
    sys.stderr.write(f"{message}\n")  # stdout may be JSON


if __name__ == "__main__":
    main()
