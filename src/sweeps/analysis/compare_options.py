"""What may be asked of a comparison, and how it is typed."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class CompareOptions:
    """What a person asks for.

    Attributes:
        sweeps: Names of sweeps, their folders, or their MLflow run ids.
        experiment: An MLflow experiment whose runs are compared too.
        filter: MLflow's filter on the runs of the experiment.
        axis: A setting each of whose values is measured at its own best; None: the optimizer.
        target: What time is measured to: a value of the objective, or METRIC=VALUE.
        workloads: Settings that tell workloads apart, such as 'data,model'.
        export_algoperf: Folder for the logs that AlgoPerf's scoring reads.
        html: File of the report.
        form: 'text', 'json' or 'csv'.
        output_dir: Holds sweeps/NAME.
        tracking_uri: The MLflow store; None: MLFLOW_TRACKING_URI, or the one in `output_dir`.
    """

    sweeps: Sequence[str] = ()
    experiment: str | None = None
    filter: str = ""
    axis: str | None = None
    target: str | None = None
    workloads: str | None = None
    export_algoperf: Path | None = None
    html: Path | None = None
    form: str = "text"
    output_dir: Path = Path("outputs")
    tracking_uri: str | None = None


def read_options(arguments: Sequence[str] | None) -> CompareOptions:
    """Returns what was typed, or says what is wrong with it and exits with 2."""
    return CompareOptions(**vars(_parser().parse_args(arguments)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sweeps.compare",
        description="Rank the runs of sweeps, seeds as repeats, and say what is best and how sure.",
    )
    add = parser.add_argument
    add(
        "sweeps", nargs="*", metavar="SWEEP", help="a sweep's name, folder, or MLflow parent run id"
    )
    add("--experiment", help="compare runs of this MLflow experiment")
    add("--filter", default="", help="with MLflow's filter, such as \"params.model = 'mlp'\"")
    add("--axis", help="measure each value of this setting at its own best (optimizer)")
    add("--target", help="time to it: a value of the objective, or METRIC=VALUE")
    add("--workloads", help="settings that tell workloads apart: data, model or data,model")
    add("--export-algoperf", type=Path, metavar="DIR", help="write logs for AlgoPerf's scoring")
    add("--html", type=Path, metavar="FILE", help="write the report, one file that works offline")
    form = parser.add_mutually_exclusive_group()
    for word, what in (("json", "everything as JSON"), ("csv", "the ranking as CSV")):
        form.add_argument(
            f"--{word}", dest="form", action="store_const", const=word, help=f"print {what}"
        )
    add("--output-dir", type=Path, default=Path("outputs"), help="holds sweeps/NAME (outputs)")
    add("--tracking-uri", help="the MLflow store (MLFLOW_TRACKING_URI, or outputs/mlflow.db)")
    parser.set_defaults(form="text")
    return parser
