"""What a run and a sweep know of themselves: run.json and sweep.json, the truth MLflow mirrors."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sweeps.config.identity import key_of
from sweeps.config.schema import BEFORE
from sweeps.errors import BadInputError
from sweeps.files import read_json, replace_json
from sweeps.runs.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from sweeps.runs.paths import RunPaths, SweepPaths


FORMAT = 1
ALWAYS_SORTED = ("lr", "batch_size")


@dataclass
class RunRecord:
    """One run.

    Attributes:
        key: Names the run in MLflow, so that a lost answer never makes a second one.
        identity: Hash of everything that determines the result.
        name: The overrides, as shown.
        status: MLflow's RUNNING, FINISHED, FAILED or KILLED.
        objective: Metric that picks the best epoch.
        best_epoch: The epoch that is its result: the best, or the last where that is picked.
        outcome: finished, diverged, pruned, failed, interrupted, or None while it trains.
        seconds: Time spent training, over all its parts.
        threads: CPU threads; a continued run keeps them, because bits depend on them.
        choices: The chosen file of each config group.
        params: The flattened config.
        error: Why it failed, in a line.
        epochs: Epochs of the whole run; a pruned one has done fewer.
        steps: Optimizer steps of the whole run.
        code: Hash of the source that trained it.
        replaces: Keys of earlier runs that this one was trained in place of.
        numerics: The machine and torch's switches that decide bits.
        weights_digest: SHA-256 over the weights after the last step, not those of the best epoch.
        start_loss: Loss of the first batch before the first step; None in older records.
        classes: Names of the classes, by index.
    """

    key: str
    identity: str
    name: str
    status: str
    objective: str
    started_ms: int
    outcome: Outcome | None = None
    objective_value: float | None = None
    best_epoch: int | None = None
    epochs_done: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    ended_ms: int | None = None
    seconds: float = 0.0
    error: str | None = None
    threads: int = 1
    device: str = "cpu"
    overrides: list[str] = field(default_factory=list)
    choices: dict[str, str] = field(default_factory=dict)
    params: dict[str, Any] = field(default_factory=dict)
    dataset: dict[str, Any] = field(default_factory=dict)
    git: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    epochs: int = 0
    steps: int = 0
    code: str = ""
    replaces: list[str] = field(default_factory=list)
    format: int = FORMAT
    numerics: dict[str, Any] = field(default_factory=dict)
    weights_digest: str | None = None
    start_loss: float | None = None
    classes: list[str] = field(default_factory=list)

    @property
    def numbers(self) -> dict[str, float]:
        """The numeric settings that a table of runs sorts by: those typed, lr and the batch size."""
        keys = dict.fromkeys([*ALWAYS_SORTED, *map(key_of, self.overrides)])
        found = {key: self.params.get(key) for key in keys}
        return {
            key: float(value)
            for key, value in found.items()
            if isinstance(value, (int, float)) and not isinstance(value, bool)
        }

    def save(self, paths: RunPaths) -> None:
        """Writes run.json atomically."""
        replace_json(paths.record, _to_json(self))

    @classmethod
    def kept_defaults(cls, paths: RunPaths) -> Mapping[str, Any]:
        """Returns what stood for the keys that are newer than the run of a folder, if it has one."""
        record = cls.load(paths)
        known = BEFORE if record is None else record.params
        return {key: value for key, value in BEFORE.items() if key not in known}

    @classmethod
    def load(cls, paths: RunPaths) -> RunRecord | None:
        """Returns the record of a run folder, or None where no run has started."""
        fields = _from_json(paths.record)
        return None if fields is None else cls(**fields)


def ending(outcome: Outcome | None, epochs_done: int, epochs: int) -> str:
    """Returns how a run ended in words; of a pruned one also how far it had come."""
    if outcome == Outcome.PRUNED and epochs_done and epochs:
        return f"pruned at epoch {epochs_done} of {epochs}"
    return outcome or "unfinished"


@dataclass
class SweepRecord:
    """One sweep: the parent of its runs.

    Attributes:
        threads: CPU threads of each cell, settled at the first start: bits depend on them.
        gpus: GPUs that its cells are shared out among; 0 where they train on the CPU.
        best_value: Objective of the best setting, the mean of its seeds, as the ranking said when
            the sweep ended; None where no run has finished.
        defaults: What newer keys of a config stood at when it first started, for its later cells;
            None where it is older than all of them.
    """

    key: str
    name: str
    status: str
    objective: str
    started_ms: int
    ended_ms: int | None = None
    command: str = ""
    overrides: list[str] = field(default_factory=list)
    cells: int = 0
    threads: int | None = None
    gpus: int = 0
    best_value: float | None = None
    defaults: dict[str, Any] | None = None
    format: int = FORMAT

    def save(self, paths: SweepPaths) -> None:
        """Writes sweep.json atomically."""
        replace_json(paths.record, _to_json(self))

    @classmethod
    def load(cls, paths: SweepPaths) -> SweepRecord | None:
        """Returns the record of a sweep folder, or None where there is none."""
        fields = _from_json(paths.record)
        return None if fields is None else cls(**fields)

    @classmethod
    def kept_defaults(cls, paths: SweepPaths) -> Mapping[str, Any]:
        """Returns what the cells of a sweep folder keep; nothing where there is no sweep yet."""
        record = cls.load(paths)
        if record is None:
            return {}
        return BEFORE if record.defaults is None else {**BEFORE, **record.defaults}


def now_ms() -> int:
    """Returns the time as records and points give it: milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def dirty_word(git: dict[str, Any]) -> str:
    """Returns whether there were changes besides a commit: 'true', 'false', or 'unknown'."""
    return "unknown" if git.get("dirty", False) is None else str(git.get("dirty", False)).lower()


def _to_json(record: RunRecord | SweepRecord) -> Any:
    # JSON has no infinity: Python's words for it stand as strings.
    def plain(value: Any) -> Any:
        if isinstance(value, float) and not math.isfinite(value):
            return str(value)
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(item) for item in value]
        return value

    return plain(dataclasses.asdict(record))


def _from_json(path: Path) -> dict[str, Any] | None:
    try:
        fields = read_json(path)
    except json.JSONDecodeError as error:
        raise BadInputError(
            f"{path} is damaged: {error}. Delete its folder to train again."
        ) from error
    if fields is None:
        return None
    if fields.get("format") != FORMAT:
        raise BadInputError(
            f"{path} has format {fields.get('format')}; this version reads {FORMAT}."
        )
    if "metrics" in fields:
        fields["metrics"] = {key: float(value) for key, value in fields["metrics"].items()}
    if isinstance(fields.get("objective_value"), str):
        fields["objective_value"] = float(fields["objective_value"])
    if fields.get("outcome") is not None:
        fields["outcome"] = _outcome(fields["outcome"], path)
    return fields


def _outcome(word: object, path: Path) -> Outcome:
    if word not in set(Outcome):
        raise BadInputError(f"{path} has the outcome {word!r}; it is none of {', '.join(Outcome)}.")
    return Outcome(str(word))
