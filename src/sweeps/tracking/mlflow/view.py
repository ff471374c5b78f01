"""How MLflow's pages show a sweep: its runs as a table with the columns that were typed.

MLflow keeps a shared view as a tag of the experiment: the state of the page in JSON, see the
"Share" button of its runs page. A link with the tag's key opens the page in that state.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from sweeps.config.identity import key_of
from sweeps.tracking.mlflow.store import SETTING
from sweeps.training.objective import maximised

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sweeps.runs.record import RunRecord


VIEW_TAG = "mlflow.sharedViewState."
MOST_COLUMNS = 12


def runs_view(parent_id: str, objective: str, cells: Sequence[RunRecord]) -> str:
    """Returns the state of the runs page that shows the runs of a sweep, sorted by their own values.

    MLflow sorts runs and knows no settings: the ranking stands in the parent's description.

    Args:
        parent_id: The sweep's run.
        objective: The metric that sorts its cells.
        cells: The runs; what varies in what was typed for them are the columns.
    """
    split, _, kind = objective.partition("_")
    metrics = [f"best_{objective}", *([f"test_{kind}"] if split != "test" else [])]
    columns = [
        *(_column(key, cells) for key in _varying(cells)[:MOST_COLUMNS]),
        *(f"metrics.`{key}`" for key in metrics),
        "tags.`sweeps.outcome`",
        "attributes.`Duration`",
    ]
    state = {
        # Range tests are below the sweep too, without its tag.
        "searchFilter": f"tags.`mlflow.parentRunId` = '{parent_id}' and tags.`sweeps.sweep` LIKE '%'",
        "orderByKey": f"metrics.`best_{objective}`",
        "orderByAsc": not maximised(objective),
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": columns,
        "columnOrder": [],
        "columnWidths": {},
        "runsExpanded": {},
        "runsPinned": [],
        "runsHidden": [],
        "runsVisibilityMap": {},
        "runsHiddenMode": "SHOWALL",
        "viewMaximized": False,
        "runListHidden": False,
        # The settings are there for the table: as charts they stand last, and folded.
        "compareRunCharts": [],
        "compareRunSections": [
            {"uuid": "metrics", "name": "Model metrics", "display": True, "isReordered": False},
            {"uuid": "settings", "name": SETTING[:-1], "display": False, "isReordered": False},
        ],
        "isAccordionReordered": True,
        "useGroupedValuesInCharts": True,
        "hideEmptyCharts": True,
        "groupBy": None,
        "groupsExpanded": {},
        "autoRefreshEnabled": True,
    }
    return json.dumps(state)


def links(experiment_id: str, parent_id: str, view_key: str) -> str:
    """Returns a line of Markdown for the parent's description; its links work on any host."""
    runs = f"#/experiments/{experiment_id}/runs"
    view = f"{runs}?viewStateShareKey={view_key}"
    return (
        f"[The runs as a table]({view}) · [as charts]({view}&compareRunsMode=CHART)"
        f" · [the report]({runs}/{parent_id}/artifacts/report.html)"
    )


def _column(key: str, cells: Sequence[RunRecord]) -> str:
    """Returns the column of a setting: the metric where it is a number, because that one sorts."""
    numeric = all(key in cell.numbers for cell in cells if key in cell.params)
    if numeric and any(key in cell.params for cell in cells):
        return f"metrics.`{SETTING}{key}`"
    return f"params.`{key}`"


def _varying(cells: Sequence[RunRecord]) -> list[str]:
    values: dict[str, set[str]] = {}
    for cell in cells:
        for override in cell.overrides:
            values.setdefault(key_of(override), set()).add(override.partition("=")[2])
    return [key for key, seen in values.items() if len(seen) > 1]
