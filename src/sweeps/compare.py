"""Compare the runs of sweeps: python -m sweeps.compare lr_study [--html report.html]."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from sweeps.analysis.sources import Sources
from sweeps.errors import BadInputError, SweepsError
from sweeps.files import ensure_home, replace_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sweeps.analysis.measures import Measures, Wanted
    from sweeps.analysis.ranking import Comparison
    from sweeps.runs.results import Collection


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and exits: 0 well, 2 bad input."""
    options = _parser().parse_args(arguments)
    ensure_home()
    try:
        _compare(options)
    except SweepsError as error:
        print(f"sweeps: {error}", file=sys.stderr)  # noqa: T201 - the terminal is the place
        sys.exit(error.exit_code)
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        sys.exit(130)


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
    form.add_argument("--json", action="store_true", help="print everything as JSON")
    form.add_argument("--csv", action="store_true", help="print the ranking as CSV")
    add("--output-dir", type=Path, default=Path("outputs"), help="holds sweeps/NAME (outputs)")
    add("--tracking-uri", help="the MLflow store (MLFLOW_TRACKING_URI, or outputs/mlflow.db)")
    return parser


def _compare(options: argparse.Namespace) -> None:
    collection = _collect(options)
    if not collection.runs:
        said = " ".join(collection.notices)
        raise BadInputError(
            f"There are no runs to compare in {' '.join(options.sweeps) or _asked(options)}."
            f"{f' {said}' if said else ''} Train some: python -m sweeps.train -m lr=0.1,0.01"
        )
    from sweeps.analysis import tables as listing
    from sweeps.analysis.measures import measure
    from sweeps.analysis.ranking import compare

    comparison = compare(collection)
    measures = measure(comparison, _wanted(options))
    if options.json:
        sys.stdout.write(listing.as_json(comparison, measures))
    elif options.csv:
        sys.stdout.write(listing.as_csv(comparison))
    else:
        sys.stdout.write(f"{listing.terminal(comparison, measures)}\n")
    if options.html is not None:
        _write_html(comparison, measures, options)
    if options.export_algoperf is not None:
        _export(measures, options.export_algoperf)
    sys.stdout.flush()


def _wanted(options: argparse.Namespace) -> Wanted:
    from sweeps.analysis.measures import Wanted
    from sweeps.analysis.time_to_target import read_target

    metric, target = ("", None) if options.target is None else read_target(options.target)
    keys = tuple(key for key in (options.workloads or "").split(",") if key)
    export = options.export_algoperf is not None
    return Wanted(options.axis, metric, target, workloads=keys, export=export)


def _export(measures: Measures, folder: Path) -> None:
    from sweeps.analysis.algoperf import export

    if measures.suite is None:
        raise BadInputError("--export-algoperf needs another --axis than data.")
    trials = export(measures.suite, folder)
    print(f"AlgoPerf logs: {folder} ({trials} trials)", file=sys.stderr)  # noqa: T201 - as above


def _asked(options: argparse.Namespace) -> str:
    filtered = f' with the filter "{options.filter}"' if options.filter else ""
    experiment = _sources(options).experiment or os.environ["MLFLOW_EXPERIMENT_ID"]
    return f"the experiment {experiment}{filtered}"


def _write_html(comparison: Comparison, measures: Measures, options: argparse.Namespace) -> None:
    from sweeps.analysis.html import html_report
    from sweeps.analysis.measure_figures import pictures

    title = ", ".join(sweep.name for sweep in comparison.sweeps) or _asked(options)
    report = html_report(
        comparison,
        pictures(comparison, measures),
        measures=measures,
        title=title,
        beside=options.html.absolute().parent,
        tracking_uri=_sources(options).tracking_uri,
    )
    try:
        replace_text(options.html, report)
    except OSError as error:
        raise BadInputError(
            f"Cannot write {options.html}: {error.strerror}. Name another file with --html."
        ) from error
    print(f"Report: {options.html}", file=sys.stderr)  # noqa: T201 - stdout may be JSON


def _collect(options: argparse.Namespace) -> Collection:
    sources = _sources(options)
    found = sources.read(options.sweeps)
    if options.experiment is not None or options.filter:
        return found + sources.read_experiment(options.filter)
    if not options.sweeps:
        raise BadInputError(f"Name a sweep, its folder or its MLflow run id. {sources.known()}")
    return found


def _sources(options: argparse.Namespace) -> Sources:
    return Sources.choose(options.output_dir, options.tracking_uri, options.experiment)


if __name__ == "__main__":
    main()
