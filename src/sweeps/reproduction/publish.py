"""What stays of a proof: a file beside the repeat, and tags on both runs in MLflow."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from typing import TYPE_CHECKING, Any

from sweeps.config import TrackingConfig
from sweeps.errors import BadInputError
from sweeps.files import read_json, replace_json
from sweeps.runs.paths import RunPaths
from sweeps.tracking import Reader, Store, experiment_name, mirror_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from sweeps.config import Config
    from sweeps.reproduction.differences import Difference
    from sweeps.reproduction.original import Original
    from sweeps.reproduction.proof import Mismatch, Verdict


FORMAT = 1


@dataclasses.dataclass(frozen=True)
class Place:
    """Where the repeat is recorded in MLflow.

    Attributes:
        uri: The tracking URI.
        experiment: The original's experiment, or None: the usual one.
        original_id: The original's run in this store, or None.
    """

    uri: str
    experiment: str | None
    original_id: str | None


def find_place(original: Original, uri: str) -> Place:
    """Returns where to record: beside the original, where the store has it."""
    if original.run_id is not None and original.experiment is not None:
        return Place(uri, original.experiment, original.run_id)
    with contextlib.suppress(BadInputError):  # a new store; a dead one is refused by the mirror
        if found := Reader(uri).find(original.record.key):
            return Place(uri, found[1], found[0])
    return Place(uri, None, None)


@contextlib.contextmanager
def mirrored(place: Place | None, folder: Path, config: Config) -> Iterator[None]:
    """Mirrors the repeat into MLflow within the block, as an ordinary run."""
    if place is None:
        yield
        return
    with mirror_of(dataclasses.replace(config, tracking=_tracking(place))) as mirror:
        mirror.wait_ready(otherwise="name another with --tracking-uri URI, or type --no-tracking")
        mirror.watch_run(RunPaths(folder))
        yield


def write_proof(
    folder: Path,
    original: Original,
    original_id: str | None,
    verdict: Verdict,
    differences: Sequence[Difference],
) -> None:
    """Writes reproduction.json into the repeat's folder; `original_id` is the original's MLflow run."""
    replace_json(
        RunPaths(folder).proof,
        {
            "format": FORMAT,
            "original": {
                "source": original.label,
                "key": original.record.key,
                "identity": original.record.identity,
                "mlflow_run_id": original_id,
            },
            "verdict": verdict.short,
            "points": verdict.compared,
            "weights_equal": verdict.weights,
            "first_difference": _as_json(verdict.first),
            "first_beyond_tolerance": _as_json(verdict.first_beyond),
            "largest_relative_errors": {key: _number(e) for key, e in verdict.largest.items()},
            "differences": [dataclasses.asdict(difference) for difference in differences],
        },
    )


def tag_both(place: Place, folder: Path, original: Original, verdict: Verdict) -> bool:
    """Says in MLflow what was proved, on the repeat and on the original.

    Returns:
        Whether the original was in the store.
    """
    sent = read_json(RunPaths(folder).mirror) or {}
    repeat_id = sent.get("run_id")
    if repeat_id is None:
        return False
    store = Store(place.uri, experiment_name(_tracking(place)), None)
    store.connect()
    named = place.original_id or original.record.key
    store.log(
        repeat_id,
        tags={
            "sweeps.reproduces": named,
            "sweeps.verdict": verdict.short,
            "mlflow.source.name": "sweeps.reproduce",
            "mlflow.note.content": f"Repeats {named}: {verdict.short}.",
        },
    )
    store.log_files(repeat_id, [(RunPaths(folder).proof, None)])
    if place.original_id is None:
        return False
    tags = {"sweeps.reproduced": verdict.short, "sweeps.reproduced_by": repeat_id}
    store.log(place.original_id, tags=tags)
    return True


def _tracking(place: Place) -> TrackingConfig:
    return TrackingConfig(backend="mlflow", uri=place.uri, experiment=place.experiment)


def _as_json(mismatch: Mismatch | None) -> dict[str, Any] | None:
    if mismatch is None:
        return None
    values = {"then": _number(mismatch.then), "now": _number(mismatch.now)}
    return {"key": mismatch.key, "step": mismatch.step, **values}


def _number(value: float | None) -> float | str | None:
    return value if value is None or math.isfinite(value) else str(value)
