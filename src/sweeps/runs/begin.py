"""How a run begins or is continued: built, and its folder prepared."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import torch

from sweeps.config.identity import targets
from sweeps.files import replace_bytes, replace_json, replace_text
from sweeps.runs.bookkeeping import begin_record
from sweeps.runs.build import build_trainer
from sweeps.runs.provenance import capture_provenance
from sweeps.runs.under_way import RunUnderWay
from sweeps.training.determinism import describe_numerics, find_device

if TYPE_CHECKING:
    from sweeps.data import Dataset
    from sweeps.runs.paths import RunPaths
    from sweeps.runs.provenance import Provenance
    from sweeps.runs.record import RunRecord
    from sweeps.runs.runner import Observer, RunRequest


log = logging.getLogger(__name__)


def begin(
    request: RunRequest, paths: RunPaths, earlier: RunRecord | None, observe: Observer | None
) -> RunUnderWay:
    """Builds a run, and writes into its folder all that is known before its first step.

    Args:
        request: What to train.
        paths: Where; its lock is held.
        earlier: What an earlier part of the run has written down.
        observe: See `sweeps.runs.runner.run`.

    Raises:
        BadInputError: The run cannot be built; nothing was written.
    """
    # Bits depend on the number of threads: a continued run keeps the number of its first start.
    threads = earlier.threads if earlier else request.config.threads or request.threads
    if threads is not None:
        torch.set_num_threads(threads)
    training, dataset = build_trainer(request.config)
    device = find_device(request.config.device)
    if earlier and paths.checkpoint.exists():
        _say_other_device(earlier, device)
    _say_stored_order(request, dataset)
    provenance = capture_provenance(targets(request.config), device)
    _prepare_folder(request, paths, provenance, fresh=earlier is None)
    record = begin_record(request, training, dataset, provenance, earlier)
    record.save(paths)
    return RunUnderWay(request, paths, record, training, observe)


def _say_other_device(earlier: RunRecord, device: torch.device) -> None:
    before, now = earlier.device, str(device)
    if (model := earlier.numerics.get("device_name")) is not None:
        before = f"{before} ({model})"
        now = f"{now} ({describe_numerics(device)['device_name']})"
    if before != now:
        log.warning(
            "%s began on %s and continues on %s: its numbers may differ from those of one device.",
            earlier.name,
            before,
            now,
        )


def _say_stored_order(request: RunRequest, dataset: Dataset) -> None:
    if not request.config.shuffle and dataset.train.class_by_class:
        log.warning(
            "shuffle=false: the training images stand class by class, so nearly every batch is of one"
            " class alone, and little is learned. Type shuffle=true."
        )


def _prepare_folder(
    request: RunRequest, paths: RunPaths, provenance: Provenance, *, fresh: bool
) -> None:
    """Takes away what a killed process left half written, and writes config, code and machine."""
    paths.hydra.mkdir(parents=True, exist_ok=True)
    for leftover in paths.leftovers():  # we hold the lock
        leftover.unlink(missing_ok=True)
    for name, text in request.hydra_files.items():
        replace_text(paths.hydra / name, text)
    replace_json(paths.environment, provenance.environment)
    if provenance.diff:
        replace_bytes(paths.diff, provenance.diff)
    if fresh:
        for stale in (paths.checkpoint, paths.previous_checkpoint, *paths.mirrors()):
            stale.unlink(missing_ok=True)
