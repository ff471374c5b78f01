"""One run from config to result: build, train, write everything down in the run's folder."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import logging
import math
import time
import traceback
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeps.config import describe, identity
from sweeps.config.identity import flatten, targets
from sweeps.errors import BadInputError, RunFailedError, TryAgainError
from sweeps.files import lock_holder, locked, replace_bytes, replace_json, replace_text
from sweeps.runs.console import Progress
from sweeps.runs.metrics import PointWriter, read_points
from sweeps.runs.paths import RunPaths
from sweeps.runs.provenance import capture_environment, capture_git, code_digest, own_modules
from sweeps.runs.record import RunRecord, now_ms
from sweeps.runs.resume import changes, restart, say_changes, standing
from sweeps.signals import Interrupted, StopRequest, graceful_stop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

    from sweeps.config import Config
    from sweeps.data import Dataset
    from sweeps.training.trainer import Report, Trainer

    Observer = Callable[[Report], str | None]


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
    """

    config: Config
    folder: Path
    overrides: list[str]
    choices: dict[str, str]
    hydra_files: dict[str, str]
    threads: int | None = None
    digest: str | None = None


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
        trainer, dataset, threads = _prepare(request, earlier)
        record = _begin(request, trainer, dataset, earlier, threads)
        return _train(trainer, request, record, paths, observe)


def check(config: Config) -> Dataset:
    """Builds everything a run needs and throws it away, see `build_trainer` for what it raises.

    Returns:
        The data the run would be trained on.
    """
    from sweeps.runs.build import build_trainer

    return build_trainer(config)[1]


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


def _prepare(request: RunRequest, earlier: RunRecord | None) -> tuple[Trainer, Dataset, int]:
    import torch  # late: --help must not wait for it

    from sweeps.runs.build import build_trainer

    # Bits depend on the number of threads: a continued run keeps the number of its first start.
    threads = earlier.threads if earlier else request.config.threads or request.threads
    if threads is not None:
        torch.set_num_threads(threads)
    trainer, dataset = build_trainer(request.config)
    if earlier and RunPaths(request.folder).checkpoint.exists():
        _say_other_device(earlier, trainer)
    if not request.config.shuffle and dataset.train.class_by_class:
        log.warning(
            "shuffle=false: the training images stand class by class, so nearly every batch is of one"
            " class alone, and little is learned. Type shuffle=true."
        )
    return trainer, dataset, torch.get_num_threads()


def _say_other_device(earlier: RunRecord, trainer: Trainer) -> None:
    from sweeps.training.determinism import describe_numerics

    before, now = earlier.device, str(trainer.device)
    if (model := earlier.numerics.get("device_name")) is not None:
        before = f"{before} ({model})"
        now = f"{now} ({describe_numerics(trainer.device)['device_name']})"
    if before != now:
        log.warning(
            "%s began on %s and continues on %s: its numbers may differ from those of one device.",
            earlier.name,
            before,
            now,
        )


def _begin(
    request: RunRequest,
    trainer: Trainer,
    dataset: Dataset,
    earlier: RunRecord | None,
    threads: int,
) -> RunRecord:
    from sweeps.training.determinism import describe_numerics

    paths, config = RunPaths(request.folder), request.config
    paths.hydra.mkdir(parents=True, exist_ok=True)
    for leftover in paths.folder.glob(".*.tmp"):  # of a killed process; we hold the lock
        if paths.mirror.name not in leftover.name and paths.trial.name not in leftover.name:
            leftover.unlink(missing_ok=True)  # those two are the controller's
    for name, text in request.hydra_files.items():
        replace_text(paths.hydra / name, text)
    environment = capture_environment()
    replace_json(paths.environment, environment)
    if own_modules(targets(config)):  # they are imported now, not with the fork server
        capture_git.cache_clear()
    git, diff = capture_git(Path.cwd())
    if diff:
        replace_bytes(paths.diff, diff)
    if earlier is None:
        for stale in (paths.checkpoint, paths.previous_checkpoint, paths.mirror):
            stale.unlink(missing_ok=True)
    record = RunRecord(
        key=earlier.key if earlier else uuid.uuid4().hex,
        replaces=earlier.replaces if earlier else [],
        identity=identity(config),
        name=describe(request.overrides) if request.overrides else config.name,
        status="RUNNING",
        objective=config.objective,
        started_ms=earlier.started_ms if earlier else now_ms(),
        seconds=earlier.seconds if earlier else 0.0,
        threads=threads,
        device=str(trainer.device),
        epochs=config.epochs,
        steps=trainer.total_steps,
        overrides=request.overrides,
        choices=request.choices,
        params=flatten(config),
        dataset={
            "name": request.choices.get("data", config.data.target),
            "digest": dataset.digest,
            "shape": list(dataset.shape),
            "classes": len(dataset.classes),
            "train": len(dataset.train),
            "val": len(dataset.val) if dataset.val else 0,
            "test": len(dataset.test),
        },
        classes=list(dataset.classes),
        code=code_digest(targets(config)),
        git=git,
        environment=environment,
        numerics=describe_numerics(trainer.device),
    )
    record.save(paths)
    return record


def _train(
    trainer: Trainer,
    request: RunRequest,
    record: RunRecord,
    paths: RunPaths,
    observe: Observer | None,
) -> RunRecord:
    started, seconds_before = time.monotonic(), record.seconds
    with graceful_stop() as stop:  # to the end: a signal must not leave a record that says RUNNING
        outcome, error = _attempt(trainer, request, record, observe=observe, stop=stop)
        record.seconds = seconds_before + time.monotonic() - started
        _finish(record, trainer, outcome, error, paths)
    if stop.signum is not None:
        raise Interrupted(stop.signum)
    if error is not None:
        raise RunFailedError(f"{record.name} failed: {error}. Its log: {paths.log}")
    return record


def _attempt(
    trainer: Trainer,
    request: RunRequest,
    record: RunRecord,
    *,
    observe: Observer | None,
    stop: StopRequest,
) -> tuple[str, str | None]:
    """Trains from the newest checkpoint; returns the outcome, and why it failed."""
    from sweeps.training import checkpoint

    paths = RunPaths(request.folder)
    try:
        state = checkpoint.load_newest(paths, points=len(read_points(paths.metrics)))
        if state is not None:
            trainer.restore(state)
            log.info("Continuing at epoch %d, step %d.", state.epoch, state.step)
        with PointWriter(paths.metrics, keep=trainer.state.points) as points:
            ending = _train_until_asked(
                trainer, request, record, points, observe=observe, stop=stop
            )
        outcome = "diverged" if trainer.diverged else ending or "finished"
        if outcome == "finished" and trainer.state.best_model:
            _save_weights(paths.weights, trainer.state.best_model)
            if trainer.state.predictions is not None:
                _save_predictions(paths, trainer.state.predictions)
    except Interrupted:
        return "interrupted", None
    except Exception as failure:
        error = _explain_failure(failure)
        details = traceback.format_exc()
        log.error("%s failed: %s\n%s", record.name, error, details, extra={"file_only": True})
        return "failed", error
    return outcome, None


def _train_until_asked(
    trainer: Trainer,
    request: RunRequest,
    record: RunRecord,
    points: PointWriter,
    *,
    observe: Observer | None,
    stop: StopRequest,
) -> str | None:
    """Trains to the end, or until asked to stop; returns 'interrupted', or the observer's word."""
    from sweeps.training import checkpoint

    paths = RunPaths(request.folder)
    record.metrics = dict(points.last)
    saved_at = time.monotonic()
    for report in _reports(trainer, request, record, points):
        if report.epoch_done and request.config.keep_every_epoch:
            _save_weights(paths.weights_after(report.epoch), trainer.model.state_dict())
        ending = observe(report) if observe is not None and stop.signum is None else None
        if trainer.done:
            break
        ending = ending or ("interrupted" if stop.signum is not None else None)
        due = time.monotonic() - saved_at >= request.config.checkpoint_every_s
        if report.epoch_done or due or ending:
            points.sync()
            checkpoint.save(paths, trainer.capture())
            saved_at = time.monotonic()
        if ending:
            return ending
    return None


def _reports(
    trainer: Trainer, request: RunRequest, record: RunRecord, points: PointWriter
) -> Iterator[Report]:
    """Yields the loop's reports once their points are written and shown."""
    with (
        _tensorboard(request) as board,
        Progress(
            record.name,
            total_steps=trainer.total_steps,
            done_steps=trainer.state.step,
            epochs=trainer.epochs,
            batch_size=request.config.batch_size,
        ) as progress,
    ):
        for report in trainer.run():
            if report.metrics:
                points.write(report.metrics, report.step)
                record.metrics |= report.metrics
                for key, value in report.metrics.items():
                    board(key, value, report.step)
            progress.show(report)
            yield report


@contextlib.contextmanager
def _tensorboard(request: RunRequest) -> Iterator[Any]:
    if not request.config.tracking.tensorboard:
        yield lambda *_: None
        return
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(RunPaths(request.folder).tensorboard)) as writer:
        yield writer.add_scalar


def _save_weights(path: Path, weights: dict[str, Any]) -> None:
    from safetensors.torch import save

    # Shared or strided tensors are no form safetensors takes.
    content = save({name: tensor.contiguous().clone() for name, tensor in weights.items()})
    path.parent.mkdir(exist_ok=True)
    replace_bytes(path, content)


def _save_predictions(paths: RunPaths, classes: Tensor) -> None:
    from safetensors.torch import save

    predicted, true = classes
    replace_bytes(paths.predictions, save({"predicted": predicted.clone(), "true": true.clone()}))


def _finish(
    record: RunRecord, trainer: Trainer, outcome: str, error: str | None, paths: RunPaths
) -> None:
    from sweeps.training.determinism import weights_digest

    state = trainer.state
    record.outcome = outcome
    record.error = error
    record.status = {"interrupted": "KILLED", "failed": "FAILED"}.get(outcome, "FINISHED")
    record.objective_value = state.best_value
    record.best_epoch = state.best_epoch
    record.epochs_done = state.epoch
    if state.start_loss is not None and math.isfinite(state.start_loss):
        record.start_loss = state.start_loss
    record.metrics |= state.best_metrics
    if outcome in ("finished", "diverged"):
        record.weights_digest = weights_digest(trainer.model.state_dict())
    record.ended_ms = max(now_ms(), record.started_ms)
    record.save(paths)


def _explain_failure(failure: Exception) -> str:
    text = (str(failure).strip() or repr(failure)).splitlines()[0]
    if isinstance(failure, OSError) and failure.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{text}. Free some space and type the same command: it continues"
    if "deterministic" in text and "deterministic=false" not in text:
        text += " (deterministic=false allows it)"
    return f"{type(failure).__name__}: {text}"
