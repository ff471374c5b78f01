"""A trial: one run of a search, with what was chosen for it, how it does, and why it ended."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from sweeps.errors import BadInputError
from sweeps.files import read_json, replace_json
from sweeps.runs.metrics import read_points
from sweeps.runs.outcome import Outcome
from sweeps.training.objective import measured_by

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sweeps.runs.paths import RunPaths
    from sweeps.runs.record import RunRecord


FORMAT = 1

State = Literal["waiting", "running", "pruned", "finished", "diverged", "failed"]


@dataclass
class Trial:
    """One run of a search.

    Scores are the objective, turned so that more is better.

    Attributes:
        number: Its place in the search, from 0.
        chosen: The value of each key, as it is typed.
        group: What it is judged among, such as 'optimizer=sgd'.
        state: 'waiting' is to be run or continued; 'pruned' was stopped, and may go on later.
        reports: The score at each report (epoch), from 1.
        of: Reports of a whole run; 0 where it is not known yet.
        warmup: Reports up to which nothing is decided.
        score: At its best epoch, once it is whole.
        rung: How many decisions it has come through.
        reason: Why it was stopped.
        stopped: At which report it was last told to stop.
        marks: What a pruner of Optuna remembers of it.
    """

    number: int
    chosen: dict[str, str]
    group: str = ""
    state: State = "waiting"
    reports: dict[int, float] = field(default_factory=dict)
    of: int = 0
    warmup: int = 0
    score: float | None = None
    rung: int = 0
    reason: str = ""
    stopped: int = 0
    marks: dict[str, float] = field(default_factory=dict)

    @property
    def last(self) -> int:
        """Its last report, 0 where there is none."""
        return max(self.reports, default=0)

    @property
    def over(self) -> bool:
        """Whether it will never report again."""
        return self.state in ("finished", "diverged", "failed")

    def best(self, until: int) -> float:
        """Returns its best score up to a report; one that diverged or failed is worse than any."""
        if self.state in ("diverged", "failed"):
            return -math.inf
        return max((s for n, s in self.reports.items() if n <= until), default=-math.inf)

    def begin_anew(self) -> None:
        """Forgets what its run had come to: it is trained again from its start."""
        self.state, self.reports, self.score = "waiting", {}, None
        self.rung, self.stopped, self.reason, self.marks = 0, 0, "", {}

    def save(self, paths: RunPaths) -> None:
        """Writes down what cannot be read from the run itself."""
        kept = ("number", "chosen", "rung", "reason", "stopped", "marks")
        content = {key: getattr(self, key) for key in kept}
        paths.folder.mkdir(parents=True, exist_ok=True)
        replace_json(paths.trial, {"format": FORMAT, **content})

    @classmethod
    def load(cls, paths: RunPaths) -> Trial | None:
        """Returns the trial that a folder was given to, without what its run has come to.

        Raises:
            BadInputError: The file is damaged or of another version.
        """
        fields = read_trial(paths)
        if not fields:
            return None
        if fields.pop("format", None) != FORMAT:
            raise BadInputError(f"{paths.trial} has another format; this version reads {FORMAT}.")
        return cls(**fields)

    def take(self, record: RunRecord | None, reports: dict[int, float], sign: int) -> None:
        """Takes in what its run has come to."""
        self.reports = {number: sign * value for number, value in reports.items()}
        outcome = record.outcome if record else None
        if record is None or outcome is None or not (outcome.is_well or outcome is Outcome.FAILED):
            self.state = "waiting"
            return
        self.state = outcome.value  # type: ignore[assignment]
        if outcome is Outcome.FINISHED and record.objective_value is not None:
            self.score = sign * record.objective_value


def read_trial(paths: RunPaths) -> dict[str, Any]:
    """Returns what trial.json holds, empty where the run is no trial.

    Raises:
        BadInputError: The file is damaged.
    """
    try:
        return read_json(paths.trial) or {}
    except json.JSONDecodeError as error:
        raise BadInputError(f"{paths.trial} is damaged: {error}. Delete its folder.") from error


def reports_of(paths: RunPaths, record: RunRecord, every: int | None) -> dict[int, float]:
    """Returns the objective at each report of a run, read from its points.

    Args:
        paths: The run.
        record: Of the run.
        every: Optimizer steps between two reports, or None for one after each epoch.
    """
    unit = every or max(1, record.steps // max(1, record.epochs))
    values: dict[int, float] = {}
    last_step = 0
    for point in read_points(paths.metrics):
        last_step = max(last_step, point.step)
        if point.key == measured_by(record.objective) and math.isfinite(point.value):
            values[-(-point.step // unit)] = point.value
    return dict(_filled(values, until=last_step // unit))


def _filled(values: dict[int, float], until: int) -> Iterable[tuple[int, float]]:
    latest = None
    for number in range(1, until + 1):
        latest = values.get(number, latest)
        if latest is not None:
            yield number, latest


def in_group(trials: Sequence[Trial], group: str) -> list[Trial]:
    """Returns the trials that are judged together."""
    return [trial for trial in trials if trial.group == group]
