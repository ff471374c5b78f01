"""One comparison from what is asked to what is shown: collected, ranked, measured, written."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sweeps.analysis import tables
from sweeps.analysis.algoperf import export
from sweeps.analysis.measures import Measures, Wanted, measure
from sweeps.analysis.ranking import Comparison, compare
from sweeps.analysis.sources import Sources
from sweeps.analysis.time_to_target import read_target
from sweeps.errors import BadInputError
from sweeps.files import replace_text

if TYPE_CHECKING:
    from pathlib import Path

    from sweeps.analysis.compare_options import CompareOptions
    from sweeps.runs.results import Collection


@dataclass(frozen=True)
class Compared:
    """Runs that were ranked and measured.

    Attributes:
        about: What was compared, in words.
        sources: Where the runs were read.
        comparison: Their ranking.
        measures: What was measured on it.
    """

    about: str
    sources: Sources
    comparison: Comparison
    measures: Measures

    def text(self, form: str) -> str:
        """Returns all of it as 'text' or as 'json', or the ranking as 'csv'."""
        if form == "json":
            return tables.as_json(self.comparison, self.measures)
        if form == "csv":
            return tables.as_csv(self.comparison)
        return f"{tables.terminal(self.comparison, self.measures)}\n"

    def write_html(self, path: Path) -> None:
        """Writes the report, one file that works offline.

        Raises:
            BadInputError: The file cannot be written.
        """
        from sweeps.analysis.html import html_report
        from sweeps.analysis.measure_figures import pictures  # late: matplotlib takes seconds

        report = html_report(
            self.comparison,
            pictures(self.comparison, self.measures),
            measures=self.measures,
            title=", ".join(sweep.name for sweep in self.comparison.sweeps) or self.about,
            beside=path.absolute().parent,
            tracking_uri=self.sources.tracking_uri,
        )
        try:
            replace_text(path, report)
        except OSError as error:
            raise BadInputError(
                f"Cannot write {path}: {error.strerror}. Name another file with --html."
            ) from error

    def write_algoperf(self, folder: Path) -> int:
        """Writes logs for AlgoPerf's scoring; returns of how many trials.

        Raises:
            BadInputError: What was measured is no suite of workloads.
        """
        if self.measures.suite is None:
            raise BadInputError("--export-algoperf needs another --axis than data.")
        return export(self.measures.suite, folder)


def compare_runs(options: CompareOptions) -> Compared:
    """Ranks and measures the runs that a person asks for.

    Raises:
        BadInputError: There is no such sweep or no run in it, or what is asked cannot be measured.
    """
    sources = Sources.choose(options.output_dir, options.tracking_uri, options.experiment)
    about = " ".join(options.sweeps) or _asked(sources, options.filter)
    collection = _collect(sources, options)
    if not collection.runs:
        said = " ".join(collection.notices)
        raise BadInputError(
            f"There are no runs to compare in {about}."
            f"{f' {said}' if said else ''} Train some: python -m sweeps.train -m lr=0.1,0.01"
        )
    comparison = compare(collection)
    return Compared(about, sources, comparison, measure(comparison, _wanted(options)))


def _collect(sources: Sources, options: CompareOptions) -> Collection:
    found = sources.read(options.sweeps)
    if options.experiment is not None or options.filter:
        return found + sources.read_experiment(options.filter)
    if not options.sweeps:
        raise BadInputError(f"Name a sweep, its folder or its MLflow run id. {sources.known()}")
    return found


def _asked(sources: Sources, filter_words: str) -> str:
    filtered = f' with the filter "{filter_words}"' if filter_words else ""
    experiment = sources.experiment or os.environ["MLFLOW_EXPERIMENT_ID"]
    return f"the experiment {experiment}{filtered}"


def _wanted(options: CompareOptions) -> Wanted:
    metric, target = ("", None) if options.target is None else read_target(options.target)
    keys = tuple(key for key in (options.workloads or "").split(",") if key)
    export = options.export_algoperf is not None
    return Wanted(options.axis, metric, target, workloads=keys, export=export)
