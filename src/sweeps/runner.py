"""One run from config to result: build, train, write everything down in the run's folder."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import time
import traceback
import uuid
from typing import TYPE_CHECKING, Any

from sweeps import checkpoint
from sweeps.config import describe, identity
from sweeps.config.identity import flatten
from sweeps.errors import BadInputError, CheckpointError, RunFailedError
from sweeps.interrupts import Interrupted, graceful_stop
from sweeps.paths import RunPaths, locked, replace_file, replace_json, replace_text
from sweeps.progress import Progress
from sweeps.records import RunRecord
from sweeps.tracking.environment import capture_environment, capture_git

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sweeps.config import Config
    from sweeps.data import Dataset
    from sweeps.loop import Report, Trainer

    Observer = Callable[[Report], bool]

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class RunRequest:
    """What a command asks the runner to do.

    Attributes:
        config: The checked config.
        folder: Where the run lives; it may hold an earlier part of the same run.
        overrides: What was typed, such as 'lr=0.1'.
        choices: The chosen file of each group, such as {'optimizer': 'sgd'}.
        hydra_files: Content of .hydra/, by file name.
        threads: CPU threads, whatever the config says: those of the run that this one repeats.
    """

    config: Config
    folder: Path
    overrides: list[str]
    choices: dict[str, str]
    hydra_files: dict[str, str]
    threads: int | None = None


def run(request: RunRequest, observe: Observer | None = None) -> RunRecord:
    """Trains one run to its end, or continues it, or returns the result it already has.

    Args:
        request: What to train and where.
        observe: Called with each report once its points are written; true ends the run there, with
            outcome 'stopped'.

    Raises:
        BadInputError: The run cannot start; its folder is left as it was.
        RunFailedError: The training raised; the record says FAILED and the log has the traceback.
        Interrupted: A signal stopped it; the same command continues from the checkpoint.
    """
    paths = RunPaths(request.folder)
    earlier = RunRecord.load(paths)
    run_identity = identity(request.config)
    if earlier is not None and earlier.identity != run_identity:
        raise BadInputError(
            f"{paths.folder} holds another run (identity {earlier.identity[:8]}, this is"
            f" {run_identity[:8]}). Choose another name=..., or delete that folder."
        )
    if earlier is not None and earlier.outcome in ("finished", "diverged"):
        log.info("%s is %s already: %s", earlier.name, earlier.outcome, paths.folder)
        return earlier
    trainer, dataset, threads = _prepare(
        request.config, earlier.threads if earlier else request.threads
    )
    with locked(request.folder / ".lock", wait=False) as free:
        if not free:
            raise BadInputError(f"{paths.folder} is being trained by another process.")
        record = _begin(request, trainer, dataset, earlier, threads)
        _resume(trainer, paths, earlier)
        return _train(trainer, request, record, paths, observe)


def check(config: Config) -> None:
    """Builds everything a run needs and throws it away, see `build_trainer` for what it raises."""
    _prepare(config, None)


def _prepare(config: Config, threads: int | None) -> tuple[Trainer, Dataset, int]:
    import torch  # late: --help must not wait for it

    from sweeps.build import build_trainer

    # Bits depend on the number of threads: a continued run keeps the number of its first start.
    threads = threads or config.threads
    if threads is not None:
        torch.set_num_threads(threads)
    trainer, dataset = build_trainer(config)
    return trainer, dataset, torch.get_num_threads()


def _begin(
    request: RunRequest,
    trainer: Trainer,
    dataset: Dataset,
    earlier: RunRecord | None,
    threads: int,
) -> RunRecord:
    from sweeps.numerics import describe_numerics

    paths, config = RunPaths(request.folder), request.config
    paths.hydra.mkdir(parents=True, exist_ok=True)
    for name, text in request.hydra_files.items():
        replace_text(paths.hydra / name, text)
    environment = capture_environment()
    replace_json(paths.environment, environment)
    git, diff = capture_git(paths.folder.parent)
    if diff:
        replace_file(paths.diff, lambda file: file.write(diff))
    record = RunRecord(
        key=earlier.key if earlier else uuid.uuid4().hex,
        identity=identity(config),
        name=describe(request.overrides) if request.overrides else config.name,
        status="RUNNING",
        objective=config.objective,
        started_ms=earlier.started_ms if earlier else _now_ms(),
        seconds=earlier.seconds if earlier else 0.0,
        threads=threads,
        device=str(trainer.device),
        overrides=request.overrides,
        choices=request.choices,
        params={key: value for key, value in flatten(config).items() if key != "name"},
        dataset={
            "name": request.choices.get("data", config.data["_target_"]),
            "digest": dataset.digest,
            "shape": list(dataset.shape),
            "classes": len(dataset.classes),
            "train": len(dataset.train),
            "val": len(dataset.val) if dataset.val else 0,
            "test": len(dataset.test),
        },
        git=git,
        environment=environment,
        numerics=describe_numerics(trainer.device),
    )
    record.save(paths)
    return record


def _resume(trainer: Trainer, paths: RunPaths, earlier: RunRecord | None) -> None:
    step = 0
    if earlier is not None and paths.checkpoint.exists():
        try:
            trainer.restore(checkpoint.load(paths.checkpoint))
            step = trainer.state.step
            log.info("Continuing at epoch %d, step %d.", trainer.state.epoch, step)
        except CheckpointError as error:
            log.warning("%s Starting again.", error)
    _drop_points_after(paths, step)


def _drop_points_after(paths: RunPaths, step: int) -> None:
    """Forgets the points that the checkpoint does not know, and a line torn by a kill."""
    if not paths.metrics.exists():
        return
    kept = []
    for line in paths.metrics.read_text().splitlines():
        with contextlib.suppress(json.JSONDecodeError):
            if json.loads(line)["step"] <= step:
                kept.append(line)
    replace_text(paths.metrics, "".join(f"{line}\n" for line in kept))


def _train(
    trainer: Trainer,
    request: RunRequest,
    record: RunRecord,
    paths: RunPaths,
    observe: Observer | None,
) -> RunRecord:
    started, seconds_before = time.monotonic(), record.seconds
    outcome, error = "failed", None
    stop_signal: int | None = None
    stopped = False
    try:
        with graceful_stop() as stop:
            for report in _reports(trainer, request, record, paths):
                record.metrics |= report.metrics
                if report.epoch_done:
                    checkpoint.save(paths.checkpoint, trainer.capture())
                if stop.signum is not None:
                    checkpoint.save(paths.checkpoint, trainer.capture())
                    stop_signal = stop.signum
                    break
                if observe is not None and observe(report):
                    stopped = True
                    break
        outcome = "diverged" if trainer.diverged else "stopped" if stopped else "finished"
        outcome = "interrupted" if stop_signal else outcome
        if outcome == "finished" and trainer.state.best_model:
            _save_weights(paths, trainer.state.best_model)
    except Interrupted as interrupted:
        outcome, stop_signal = "interrupted", interrupted.signum
    except Exception as failure:
        error = _explain_failure(failure)
        log.error(
            "%s failed: %s\n%s",
            record.name,
            error,
            traceback.format_exc(),
            extra={"file_only": True},
        )
    record.seconds = seconds_before + time.monotonic() - started
    _finish(record, trainer, outcome, error, paths)
    if stop_signal is not None:
        raise Interrupted(stop_signal)
    if error is not None:
        raise RunFailedError(f"{record.name} failed: {error}. Its log: {paths.log}")
    return record


def _reports(
    trainer: Trainer, request: RunRequest, record: RunRecord, paths: RunPaths
) -> Iterator[Report]:
    """Yields the loop's reports once their points are written and shown."""
    with (
        paths.metrics.open("a") as metrics,
        _tensorboard(request.config, paths) as board,
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
                _write_points(metrics, report)
                for key, value in report.metrics.items():
                    board(key, value, report.step)
            progress.show(report)
            yield report


def _write_points(file: Any, report: Report) -> None:
    now = _now_ms()
    lines = [
        json.dumps({"key": key, "value": value, "step": report.step, "time_ms": now})
        for key, value in report.metrics.items()
    ]
    file.write("".join(f"{line}\n" for line in lines))
    file.flush()


@contextlib.contextmanager
def _tensorboard(config: Config, paths: RunPaths) -> Iterator[Any]:
    if not config.tracking["tensorboard"]:
        yield lambda *_: None
        return
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(paths.tensorboard)) as writer:
        yield writer.add_scalar


def _save_weights(paths: RunPaths, weights: dict[str, Any]) -> None:
    from safetensors.torch import save

    # Shared or strided tensors are no form safetensors takes.
    content = save({name: tensor.contiguous().clone() for name, tensor in weights.items()})
    replace_file(paths.weights, lambda file: file.write(content))


def _finish(
    record: RunRecord, trainer: Trainer, outcome: str, error: str | None, paths: RunPaths
) -> None:
    from sweeps.numerics import weights_digest

    state = trainer.state
    record.outcome = outcome
    record.error = error
    record.status = {"interrupted": "KILLED", "failed": "FAILED"}.get(outcome, "FINISHED")
    record.objective_value = state.best_value
    record.best_epoch = state.best_epoch
    record.epochs_done = state.epoch
    record.metrics |= state.best_metrics
    if outcome in ("finished", "diverged"):
        record.weights_digest = weights_digest(trainer.model.state_dict())
    record.ended_ms = _now_ms()
    record.save(paths)


def _explain_failure(failure: Exception) -> str:
    text = (str(failure).strip() or repr(failure)).splitlines()[0]
    if "deterministic" in text and "deterministic=false" not in text:
        text += " (deterministic=false allows it)"
    return f"{type(failure).__name__}: {text}"


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
