"""Where the original comes from: a run folder, a sweep's best cell, or an MLflow run id.

Everything read here may come from a stranger. Sizes are bounded, nothing is unpickled, and no name
or id of a file becomes a path.
"""

from __future__ import annotations

import hashlib
import logging
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeps.analysis.ranking import rank
from sweeps.config.saved import printable, read_saved
from sweeps.errors import BadInputError, did_you_mean
from sweeps.files import read_bounded
from sweeps.reproduction.options import MOST_THREADS
from sweeps.runs.metrics import parse_line
from sweeps.runs.paths import RunPaths, SweepPaths
from sweeps.runs.record import RunRecord
from sweeps.runs.results import Collection, result_of
from sweeps.tracking import RUN_ID, Reader

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


MOST_RECORD_BYTES = 4 * 1024 * 1024
MOST_METRIC_BYTES = 512 * 1024 * 1024
MOST_DIFF_BYTES = 16 * 1024 * 1024
MOST_WEIGHT_BYTES = 16 * 1024 * 1024 * 1024

log = logging.getLogger(__name__)

Points = dict[tuple[str, int], float]


@dataclass(frozen=True)
class Original:
    """A run as it was.

    Attributes:
        label: How messages call it.
        record: Its run.json.
        values: Its config, without what belongs to the person.
        points: Every metric point, by key and step.
        diff: The code's uncommitted changes when it started.
        run_id: Its MLflow run, where it is known.
        experiment: The MLflow experiment of that run.
        best_weights: SHA-256 of its file of best weights, or None.
    """

    label: str
    record: RunRecord
    values: dict[str, Any]
    points: Points
    diff: bytes
    run_id: str | None
    experiment: str | None
    best_weights: str | None

    @property
    def complete(self) -> bool:
        """Whether it ran to its end; else only the recorded part can be compared."""
        return self.record.outcome is not None and self.record.outcome.is_whole


def load_original(word: str, *, best: bool, output_dir: Path, uri: str) -> Original:
    """Finds and reads the run that a person means.

    Args:
        word: A run's folder, a name below the output folder, or an MLflow run id.
        best: Whether `word` names a sweep, and the run that stands for its best setting is meant.
        output_dir: Where names are looked up.
        uri: The MLflow store that has the ids.

    Raises:
        BadInputError: There is no such run, or it is damaged, too large, or of another version.
    """
    folder = _find_folder(word, output_dir)
    if folder is None and RUN_ID.fullmatch(word):
        return _from_store(word, uri)
    if folder is None:
        raise BadInputError(_unknown(word, output_dir))
    cells = SweepPaths(folder).cells()
    if RunPaths(folder).record.is_file():
        return _from_folder(folder)
    if not best:
        shown = ", ".join(printable(cell.folder.name) for cell in cells[:4])
        raise BadInputError(
            f"{word} is a sweep of {len(cells)} runs. Add --best for its winner, or type the folder"
            f" of one run in {folder}: {shown}{', ...' if len(cells) > 4 else ''}."
        )
    return _from_folder(_winner(word, cells))


def _winner(word: str, cells: Sequence[RunPaths]) -> Path:
    """Returns the folder of the run that stands for the best setting, as the ranking says."""
    ranked = rank(Collection(tuple(result_of(_record(cell), cell) for cell in cells)))
    if not ranked.winners:
        raise BadInputError(f"No run of {word} has finished, so it has no best one.")
    part, best, run = ranked.winners[0]
    assert run.folder is not None
    if len(ranked.parts) > 1:
        log.info(
            "%s has %d parts that are not ranked together: the best of the largest is repeated, %s.",
            word,
            len(ranked.parts),
            printable(part.about),
        )
    if len(best.values) > 1:
        log.info(
            "Best: %s. Of its %d seeds the one nearest to their mean is repeated.",
            printable(best.label),
            len(best.values),
        )
    return run.folder


def _find_folder(word: str, output_dir: Path) -> Path | None:
    candidates = [Path(word)]
    if re.fullmatch(r"[\w.=,+-]+", word) and word not in (".", ".."):
        candidates += [output_dir / "sweeps" / word, output_dir / "runs" / word]
    for folder in candidates:
        if folder.name == ".hydra":
            folder = folder.parent  # noqa: PLW2901 - the run around it is meant
        if RunPaths(folder).record.is_file() or SweepPaths(folder).cells():
            return folder
    return None


def _unknown(word: str, output_dir: Path) -> str:
    names = [
        path.name for kind in ("sweeps", "runs") for path in sorted((output_dir / kind).glob("*"))
    ]
    return (
        f"{printable(word)} is no run: there is no such folder with a run.json, no such name in"
        f" {output_dir}, and an MLflow run id has 32 hexadecimal digits."
        f"{did_you_mean(word, names)} Type a run's folder, a sweep's name with --best, or a run id."
    )


def _from_store(run_id: str, uri: str) -> Original:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "run"
        stored = Reader(uri).fetch(run_id, folder)
        label = f"MLflow run {run_id}"
        return _read(
            RunPaths(folder), label, stored.points, run_id=run_id, experiment=stored.experiment
        )


def _from_folder(folder: Path) -> Original:
    paths = RunPaths(folder)
    return _read(paths, str(folder), _points(paths.metrics))


def _read(
    paths: RunPaths,
    label: str,
    points: Points,
    *,
    run_id: str | None = None,
    experiment: str | None = None,
) -> Original:
    record = _record(paths)
    if not points:
        raise BadInputError(f"{label} has no metric points, so there is nothing to compare with.")
    diff = read_bounded(paths.diff, MOST_DIFF_BYTES, "A diff") if paths.diff.exists() else b""
    return Original(
        label=label,
        record=record,
        values=read_saved(paths.config),
        points=points,
        diff=diff,
        run_id=run_id,
        experiment=experiment,
        best_weights=file_digest(paths.weights),
    )


def file_digest(path: Path) -> str | None:
    """Returns the SHA-256 of a file, in hex, or None where there is none."""
    if not path.is_file() or path.stat().st_size > MOST_WEIGHT_BYTES:
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _record(paths: RunPaths) -> RunRecord:
    read_bounded(paths.record, MOST_RECORD_BYTES, "A run's record")
    try:
        record = RunRecord.load(paths)
        if record is not None and not _wrong_fields(record):
            return record
        reason = ", ".join(_wrong_fields(record)) if record else "it is missing"
    except (TypeError, ValueError, AttributeError, RecursionError) as error:
        reason = printable(error)
    raise BadInputError(
        f"{paths.record} is not a record this version can read: {reason}."
        " Upgrade sweeps, or train the run again."
    )


def _wrong_fields(record: RunRecord) -> list[str]:
    """Returns the names of the fields used here whose values no run of ours writes."""
    checks: dict[str, Callable[[Any], bool]] = {
        "key": lambda value: isinstance(value, str) and bool(RUN_ID.fullmatch(value)),
        "identity": _is_text,
        "name": _is_text,
        "objective": _is_text,
        "objective_value": lambda value: value is None or _is_number(value),
        "started_ms": _is_number,
        "seconds": _is_number,
        "metrics": lambda value: isinstance(value, dict),
        "params": lambda value: isinstance(value, dict),
        "device": _is_text,
        "outcome": lambda value: value is None or _is_text(value),
        "threads": lambda value: type(value) is int and 1 <= value <= MOST_THREADS,
        "overrides": lambda value: isinstance(value, list) and all(map(_is_text, value)),
        "choices": lambda value: isinstance(value, dict) and all(map(_is_text, value.values())),
        "dataset": lambda value: isinstance(value, dict) and _is_text(value.get("digest")),
        "git": lambda value: isinstance(value, dict),
        "environment": lambda value: (
            isinstance(value, dict) and isinstance(value.get("packages", {}), dict)
        ),
        "numerics": lambda value: isinstance(value, dict),
        "code": _is_text,
        "weights_digest": lambda value: value is None or _is_text(value),
    }
    return [name for name, fits in checks.items() if not fits(getattr(record, name))]


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) < 10_000


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float))


def _points(path: Path) -> Points:
    text = read_bounded(path, MOST_METRIC_BYTES, "A list of metric points")
    points: Points = {}
    lines = text.splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            point = parse_line(line)
            if point.step < 0:
                raise ValueError("step")
        except ValueError:
            if number == len(lines):  # a line torn by a kill
                break
            raise BadInputError(f"{path}, line {number}, is not a metric point.") from None
        if not point.key.startswith("system/"):
            points[point.key, point.step] = point.value
    return points
