"""One run from config to result: begun, continued, or done already."""

from __future__ import annotations

import dataclasses
import logging
from typing import TYPE_CHECKING

from sweeps.config import identity
from sweeps.config.identity import targets
from sweeps.errors import BadInputError, TryAgainError
from sweeps.files import lock_holder, locked
from sweeps.runs.paths import RunPaths
from sweeps.runs.provenance import code_digest
from sweeps.runs.record import RunRecord
from sweeps.runs.resume import changes, restart, say_changes, standing

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sweeps.config import Config
    from sweeps.data import Dataset
    from sweeps.runs.outcome import Outcome
    from sweeps.training.protocol import Report

    Observer = Callable[[Report], Outcome | None]


log = logging.getLogger(__name__)

LOCK_WAIT_S = 30.0
"""An orphan whose controller was killed needs a moment to write its checkpoint and leave."""


@dataclasses.dataclass(frozen=True)
class RunRequest:
    """What a command asks the runner to do.

    Attributes:
        config: The checked config.
        folder: Where the run lives; it may hold an earlier part of the same run.
        overrides: What was typed, such as 'lr=0.1'.
        choices: The chosen file of each group, such as {'optimizer': 'sgd'}.
        hydra_files: Content of .hydra/, by file name.
        threads: CPU threads of a new run, or None for torch's own number.
        digest: Of the data as it is now, where it was read already.
        command: What continues it after an interruption, as a person types it; None where nobody
            typed one.
    """

    config: Config
    folder: Path
    overrides: list[str]
    choices: dict[str, str]
    hydra_files: dict[str, str]
    threads: int | None = None
    digest: str | None = None
    command: str | None = None


def run(request: RunRequest, observe: Observer | None = None) -> RunRecord:
    """Trains one run to its end, or continues it, or returns the result it already has.

    Args:
        request: What to train and where.
        observe: Called with each report once its points are written; a word ends the run there and
            is its outcome, such as 'pruned'. The same run can be continued later.

    Raises:
        BadInputError: The run cannot start; its folder is left as it was.
        RunFailedError: The training raised; the record says FAILED and the log has the traceback.
        Interrupted: A signal stopped it; the same command continues from the checkpoint.
    """
    paths = RunPaths(request.folder)
    with locked(paths.lock, wait_s=LOCK_WAIT_S) as free:
        if not free:
            raise TryAgainError(f"{paths.folder} is being trained by {lock_holder(paths.lock)}.")
        earlier = _earlier(request, paths)
        if earlier is not None and standing(earlier) == "done":
            log.info("%s is %s already: %s", earlier.name, earlier.outcome, paths.folder)
            return earlier
        from sweeps.runs.begin import begin  # late: --help must not wait for torch

        return begin(request, paths, earlier, observe).train()


def check(config: Config, *, rehearsed: bool = True) -> Dataset:
    """Builds everything a run needs and throws it away, see `build_trainer` for what it raises.

    Args:
        config: Of the run.
        rehearsed: See `build_trainer`; one check of many runs leaves it to each of them.

    Returns:
        The data the run would be trained on.
    """
    from sweeps.runs.build import build_trainer

    return build_trainer(config, rehearsed=rehearsed)[1]


def _earlier(request: RunRequest, paths: RunPaths) -> RunRecord | None:
    earlier = RunRecord.load(paths)
    if earlier is None:
        return None
    asked = identity(request.config)
    if earlier.identity != asked:
        raise BadInputError(
            f"{paths.folder} holds another run (identity {earlier.identity[:8]}, this is"
            f" {asked[:8]}). Choose another name=..., or delete that folder."
        )
    if standing(earlier) != "done":
        return earlier
    changed = changes(earlier, code=code_digest(targets(request.config)), digest=request.digest)
    if changed:
        say_changes([earlier.name], changed, refresh=request.config.refresh)
        if request.config.refresh:
            return restart(paths, earlier)
    return earlier
