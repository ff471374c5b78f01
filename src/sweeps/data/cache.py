"""Decoded once, then read by every process through the same memory-mapped pages."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from sweeps.data.dataset import Source, Split
from sweeps.errors import BadInputError
from sweeps.files import expanded, locked

if TYPE_CHECKING:
    from collections.abc import Callable


log = logging.getLogger(__name__)

FORMAT = 1
ARRAYS = ("train_images", "train_labels", "test_images", "test_labels", "val_images", "val_labels")
"""The last two only of a source with validation images of its own."""


def cached(key: dict[str, Any], make: Callable[[], Source]) -> Source:
    """Returns the source stored under a key, making and storing it the first time.

    Args:
        key: Everything that the content depends on.
        make: Decodes the data set.

    Raises:
        BadInputError: The cache folder cannot be written.
    """
    text = json.dumps({"format": FORMAT, **key}, sort_keys=True)
    name = hashlib.sha256(text.encode()).hexdigest()[:16]
    folder = cache_dir() / name
    try:
        with locked(cache_dir() / f"{name}.lock"):  # the second of two first starts waits
            source = _read(folder)
            if source is None:
                _write(folder, make())
                source = _read(folder)
    except OSError as error:
        raise BadInputError(
            f"The cache of decoded images, {cache_dir()}, cannot be used: {error.strerror or error}."
            " Name another folder with the environment variable SWEEPS_CACHE."
        ) from error
    assert source is not None
    return source


def _read(folder: Path) -> Source | None:
    if not folder.is_dir():
        return None
    try:
        meta = json.loads((folder / "meta.json").read_text())
        # Mode "c" shares pages between processes; nobody writes to them.
        arrays = [
            torch.from_numpy(np.load(folder / f"{name}.npy", mmap_mode="c"))
            for name in ARRAYS[: len(meta["shapes"])]
        ]
        if [list(array.shape) for array in arrays] != meta["shapes"]:
            raise ValueError("shapes differ")
        train, test, *val = map(Split, arrays[::2], arrays[1::2])
        return Source(train, test, tuple(meta["classes"]), meta["digest"], *val)
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        log.warning("The cache folder %s is damaged (%s); making it again.", folder, error)
        shutil.rmtree(folder)
        return None


def _write(folder: Path, source: Source) -> None:
    temporary = folder.with_name(f"{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        splits = [source.train, source.test, *([] if source.val is None else [source.val])]
        whole = [split.contiguous() for split in splits]
        tensors = [tensor for split in whole for tensor in (split.images, split.labels)]
        for name, tensor in zip(ARRAYS, tensors, strict=False):
            np.save(temporary / f"{name}.npy", tensor.numpy())
        meta = {
            "classes": source.classes,
            "digest": source.digest,
            "shapes": [list(tensor.shape) for tensor in tensors],
        }
        (temporary / "meta.json").write_text(json.dumps(meta))
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def cache_dir() -> Path:
    """Returns the folder of decoded and downloaded data sets: SWEEPS_CACHE, or the user's cache."""
    if configured := os.environ.get("SWEEPS_CACHE"):
        return expanded(configured).absolute()
    if base := os.environ.get("XDG_CACHE_HOME"):
        return expanded(base) / "sweeps"
    try:
        return Path.home() / ".cache" / "sweeps"
    except RuntimeError:
        raise BadInputError(
            "This user has no home folder for the cache of decoded images. Name a folder for it with the"
            " environment variable SWEEPS_CACHE, such as SWEEPS_CACHE=/tmp/cache."
        ) from None
