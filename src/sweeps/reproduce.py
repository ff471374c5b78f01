"""Repeat a saved run and prove that it is the same: python -m sweeps.reproduce RUN."""

from __future__ import annotations

import argparse
import logging
import math
import os
import re
import sys
from pathlib import Path
from typing import NoReturn

from sweeps.errors import BadInputError, SweepsError
from sweeps.files import ensure_home, explain_unwritable
from sweeps.runs.console import ConsoleHandler
from sweeps.signals import Interrupted, raising_signals

EXAMPLES = """
RUN is a run's folder, the name of a run or sweep in the output folder, or an MLflow run id:

  python -m sweeps.reproduce 4fb4a8d2674c4413b80ed105de69c719
  python -m sweeps.reproduce outputs/sweeps/lr_study/lr=0.1,optimizer=sgd-3f9a1c2b
  python -m sweeps.reproduce lr_study --best
  python -m sweeps.reproduce RUN --epochs 1

Exit code: 0 exact or within tolerance, 1 differs or failed, 2 bad input or refused.
"""


def main() -> None:
    """Runs the command line and exits: 0 the same, 1 differs or failed, 2 bad input, 128+n on signal n."""
    arguments = _parser().parse_args()
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))  # a person's own models beside them, for the script too
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[ConsoleHandler()])
    logging.getLogger("sweeps").setLevel(logging.INFO)
    ensure_home()
    try:
        with raising_signals():
            sys.exit(_reproduce(arguments))
    except Interrupted as interrupted:
        sys.exit(128 + interrupted.signum)
    except (SweepsError, OSError) as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        sys.stdout.flush()
        _say(_explain(error))
        sys.exit(error.exit_code if isinstance(error, SweepsError) else 2)


def _reproduce(arguments: argparse.Namespace) -> int:
    from sweeps.reproduction import Options, reproduce

    if arguments.epochs is not None and arguments.epochs < 1:
        raise BadInputError(f"--epochs {arguments.epochs} must be 1 or more.")
    if arguments.threads is not None and not 1 <= arguments.threads <= 1024:
        raise BadInputError(f"--threads {arguments.threads} must be 1 or more, at most 1024.")
    if not (math.isfinite(arguments.rtol) and arguments.rtol >= 0):
        raise BadInputError(f"--rtol {arguments.rtol} must be a number from 0, such as 1e-4.")
    verdict = reproduce(Options(**vars(arguments) | {"trusted": tuple(arguments.trusted)}))
    return 1 if verdict.kind == "differs" else 0


def _explain(error: SweepsError | OSError) -> str:
    if isinstance(error, OSError):
        return f"{explain_unwritable(error)} Choose another --output-dir FOLDER."
    text = re.sub(r"add 'trusted_targets=\[([^]]*)\]'", r"add --trust \1", str(error))
    # It may quote a stranger's config.
    return "".join(c if c.isprintable() else "?" for c in text[:2000])


def _say(message: str) -> None:
    sys.stderr.write(f"sweeps: {message}\n")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        _say(f"{message}. 'python -m sweeps.reproduce --help' shows what can be typed.")
        sys.exit(2)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m sweeps.reproduce",
        description="Repeats a saved run and proves, point by point, that it is the same.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("run", metavar="RUN", help="folder, name or MLflow run id")
    add(
        "--best",
        action="store_true",
        help="RUN is a sweep: of its best setting the run nearest to the mean",
    )
    add("--epochs", type=int, metavar="N", help="only the first N epochs, a quick check")
    add("--rtol", type=float, default=1e-4, help="relative error within tolerance (1e-4)")
    add("--stop-early", action="store_true", help="stop at the first point beyond the tolerance")
    add("--strict", action="store_true", help="refuse if anything that changes numbers differs")
    add("--allow-other-data", action="store_true", help="go on with data of another digest")
    add("--trust", dest="trusted", action="append", metavar="PACKAGE", help="run its code too")
    add("--data-root", type=Path, metavar="FOLDER", help="where the images are here")
    add("--threads", type=int, metavar="N", help="CPU threads instead of the original's")
    add("--output-dir", type=Path, default=Path("outputs"), metavar="FOLDER", help="(outputs)")
    add("--tracking-uri", metavar="URI", help="MLflow store; MLFLOW_TRACKING_URI counts as well")
    add("--no-tracking", dest="tracking", action="store_false", help="no run in MLflow")
    parser.set_defaults(trusted=[])
    return parser


if __name__ == "__main__":
    main()
