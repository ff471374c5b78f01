"""Send to MLflow what it does not have yet: python -m sweeps.sync outputs/sweeps/lr_study."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from sweeps.errors import SweepsError
from sweeps.files import ensure_home, explain_unwritable, find_own_modules
from sweeps.sweep.sync import sync


def main() -> None:
    """Runs the command line and exits: 0 all sent, 1 some is missing, 2 bad input."""
    parser = argparse.ArgumentParser(
        prog="python -m sweeps.sync",
        description="Send to MLflow what it does not have yet of runs and sweeps. Points keep their"
        " own times, so it may be done any number of times. Runs whose process was killed are closed.",
    )
    parser.add_argument(
        "folders",
        nargs="+",
        type=Path,
        metavar="FOLDER",
        help="of a run, of a sweep, or outputs for all in it",
    )
    parser.add_argument("--uri", help="tracking store (default: the one the run was made with)")
    parser.add_argument("--experiment", help="experiment (default: the one the run was made with)")
    parser.add_argument(
        "--tracker",
        dest="trackers",
        action="append",
        default=[],
        metavar="my_package.MyTracker",
        help="a tracker of your own, whose code is then run; it may be given several times",
    )
    arguments = parser.parse_args()
    logging.basicConfig(format="%(message)s", level=logging.WARNING, stream=sys.stdout)
    logging.getLogger("sweeps").setLevel(logging.INFO)
    ensure_home()
    find_own_modules()
    try:
        complete = sync(**vars(arguments))
    except SweepsError as error:
        print(f"sweeps: {error}", file=sys.stderr)  # noqa: T201 - the terminal is the place
        sys.exit(error.exit_code)
    except OSError as error:
        said = f"sweeps: {explain_unwritable(error)} Type it as the user who made the runs."
        print(said, file=sys.stderr)  # noqa: T201 - the terminal is the place
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(0 if complete else 1)


if __name__ == "__main__":
    main()
