"""What may be asked of a reproduction, and how it is typed."""

from __future__ import annotations

import argparse
import math
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from sweeps.errors import BadInputError, SweepsError
from sweeps.files import explain_unwritable

MOST_THREADS = 1024

EXAMPLES = """
RUN is a run's folder, the name of a run or sweep in the output folder, or an MLflow run id:

  python -m sweeps.reproduce 4fb4a8d2674c4413b80ed105de69c719
  python -m sweeps.reproduce outputs/sweeps/lr_study/lr=0.1,optimizer=sgd-3f9a1c2b
  python -m sweeps.reproduce lr_study --best
  python -m sweeps.reproduce RUN --epochs 1

Exit code: 0 exact or within tolerance, 1 differs or failed, 2 bad input or refused.
"""


@dataclass(frozen=True)
class Options:
    """What a person asks for.

    Attributes:
        run: A run's folder, a name below `output_dir`, or an MLflow run id.
        best: Whether `run` is a sweep, and the run that stands for its best setting is meant.
        epochs: Repeat and compare so many epochs; None: all.
        rtol: Relative error that still counts as 'within tolerance'.
        stop_early: Whether to stop at the first point that differs.
        strict: Whether to refuse when anything that can change numbers differs.
        allow_other_data: Whether data with another digest may be used.
        trusted: Module prefixes, beyond torch's and ours, whose code may run.
        data_root: Where the images are here; None: where they were.
        threads: CPU threads; None: as many as the original had.
        output_dir: Holds the repeat, and the default store.
        tracking_uri: The MLflow store; None: MLFLOW_TRACKING_URI, or the one in `output_dir`.
        tracking: Whether to record the repeat in MLflow.

    Raises:
        BadInputError: A number is out of its range.
    """

    run: str
    best: bool
    epochs: int | None
    rtol: float
    stop_early: bool
    strict: bool
    allow_other_data: bool
    trusted: tuple[str, ...]
    data_root: Path | None
    threads: int | None
    output_dir: Path
    tracking_uri: str | None
    tracking: bool

    def __post_init__(self) -> None:
        if self.epochs is not None and self.epochs < 1:
            raise BadInputError(f"--epochs {self.epochs} must be 1 or more.")
        if self.threads is not None and not 1 <= self.threads <= MOST_THREADS:
            raise BadInputError(
                f"--threads {self.threads} must be 1 or more, at most {MOST_THREADS}."
            )
        if not (math.isfinite(self.rtol) and self.rtol >= 0):
            raise BadInputError(f"--rtol {self.rtol} must be a number from 0, such as 1e-4.")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        sys.stderr.write(
            f"sweeps: {message}. 'python -m sweeps.reproduce --help' shows what can be typed.\n"
        )
        sys.exit(2)


def parser() -> argparse.ArgumentParser:
    """Returns what reads a command line into the fields of `Options`."""
    made = _Parser(
        prog="python -m sweeps.reproduce",
        description="Repeats a saved run and proves, point by point, that it is the same.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = made.add_argument
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
    made.set_defaults(trusted=[])
    return made


def explain(error: SweepsError | OSError) -> str:
    """Returns what is said of an error: what to type here, and nothing that a terminal obeys."""
    if isinstance(error, OSError):
        return f"{explain_unwritable(error)} Choose another --output-dir FOLDER."
    text = re.sub(r"add 'trusted_targets=\[([^]]*)\]'", r"add --trust \1", str(error))
    # It may quote a stranger's config.
    return "".join(c if c.isprintable() else "?" for c in text[:2000])
