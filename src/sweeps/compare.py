"""Compare the runs of sweeps: python -m sweeps.compare lr_study [--html report.html]."""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from sweeps.errors import BadInputError, SweepsError, did_you_mean
from sweeps.paths import RunPaths, SweepPaths, read_json, replace_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sweeps.reporting.ranking import Comparison
    from sweeps.results import Collection

RUN_ID = re.compile(r"[0-9a-f]{32}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and exits: 0 well, 2 bad input."""
    options = _parser().parse_args(arguments)
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
    from sweeps.reporting import listing
    from sweeps.reporting.ranking import compare

    comparison = compare(collection)
    if options.json:
        sys.stdout.write(listing.as_json(comparison))
    elif options.csv:
        sys.stdout.write(listing.as_csv(comparison))
    else:
        sys.stdout.write(f"{listing.terminal(comparison)}\n")
    if options.html is not None:
        _write_html(comparison, options)
    sys.stdout.flush()


def _asked(options: argparse.Namespace) -> str:
    filtered = f' with the filter "{options.filter}"' if options.filter else ""
    return f"the experiment {_experiment(options)}{filtered}"


def _write_html(comparison: Comparison, options: argparse.Namespace) -> None:
    from sweeps.reporting.figures import figures
    from sweeps.reporting.html import html_report

    title = ", ".join(sweep.name for sweep in comparison.sweeps) or _asked(options)
    report = html_report(
        comparison,
        [figures(part) for part in comparison.parts],
        title=title,
        beside=options.html.absolute().parent,
        tracking_uri=_tracking_uri(options),
    )
    try:
        replace_text(options.html, report)
    except OSError as error:
        raise BadInputError(
            f"Cannot write {options.html}: {error.strerror}. Name another file with --html."
        ) from error
    print(f"Report: {options.html}", file=sys.stderr)  # noqa: T201 - stdout may be JSON


def _collect(options: argparse.Namespace) -> Collection:
    from sweeps.results import Collection

    found = Collection(())
    for source in options.sweeps:
        found = found + _read(source, options)
    if options.experiment is not None or options.filter:
        from sweeps.tracking.read import StoreReader

        reader = StoreReader(_tracking_uri(options))
        found = found + reader.experiment(_experiment(options), options.filter)
    elif not options.sweeps:
        raise BadInputError(f"Name a sweep, its folder or its MLflow run id. {_known(options)}")
    return found


def _read(source: str, options: argparse.Namespace) -> Collection:
    """Reads one source: its folder where it is on this disk, else the store."""
    from sweeps.results import read_folder

    folder = _folder(source, options.output_dir)
    if folder is not None:
        return read_folder(folder)
    uri = _tracking_uri(options)
    local = uri.removeprefix("sqlite:///") if uri.startswith("sqlite:///") else None
    looks_like_path = os.sep in source
    if not looks_like_path and (local is None or Path(local).exists()):
        from sweeps.tracking.read import StoreReader

        reader = StoreReader(uri)
        if RUN_ID.fullmatch(source):
            return reader.children(source)
        collection = reader.sweep(source, _experiment(options))
        if collection.runs:
            return collection
    raise BadInputError(
        f"There is no sweep '{source}': no folder of that name, none in"
        f" {options.output_dir / 'sweeps'}, no run in {uri}."
        f"{did_you_mean(source, _names(options.output_dir))} {_known(options)}"
    )


def _folder(source: str, output_dir: Path) -> Path | None:
    places = [Path(source), output_dir / "sweeps" / source, output_dir / "runs" / source]
    for place in places:
        if SweepPaths(place).record.exists() or RunPaths(place).record.exists():
            return place
        if place.is_dir() and SweepPaths(place).cells():
            return place
    if RUN_ID.fullmatch(source):
        for note in sorted(output_dir.glob("sweeps/*/mlflow.json")):
            try:
                known = read_json(note) or {}
            except ValueError:
                continue
            if known.get("run_id") == source:
                return note.parent
    return None


def _tracking_uri(options: argparse.Namespace) -> str:
    given = options.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
    return given or f"sqlite:///{options.output_dir.absolute()}/mlflow.db"


def _experiment(options: argparse.Namespace) -> str:
    return options.experiment or os.environ.get("MLFLOW_EXPERIMENT_NAME") or "sweeps"


def _names(output_dir: Path) -> list[str]:
    return sorted(path.parent.name for path in output_dir.glob("sweeps/*/sweep.json"))


def _known(options: argparse.Namespace) -> str:
    names, folder = _names(options.output_dir), options.output_dir / "sweeps"
    if not names:
        return f"{folder} has none yet; type: python -m sweeps.train -m lr=0.1,0.01"
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return f"{folder} has: {', '.join(names[:20])}{more}."


if __name__ == "__main__":
    main()
