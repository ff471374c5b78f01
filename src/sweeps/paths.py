"""Every file name of the output folder, and how files are written so that a kill never tears one."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import math
import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeps.errors import BadInputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO, BinaryIO


@dataclass(frozen=True)
class RunPaths:
    """The files of one run's folder."""

    folder: Path

    @property
    def hydra(self) -> Path:
        """Folder of the saved config, overrides and hydra settings."""
        return self.folder / ".hydra"

    @property
    def config(self) -> Path:
        """The task config, enough to repeat the run."""
        return self.hydra / "config.yaml"

    @property
    def record(self) -> Path:
        """Identity, status, outcome and result."""
        return self.folder / "run.json"

    @property
    def metrics(self) -> Path:
        """Every metric point, one JSON object a line."""
        return self.folder / "metrics.jsonl"

    @property
    def metric_times(self) -> Path:
        """When points were first written that a continued run is writing again."""
        return self.folder / "metrics.times.json"

    @property
    def checkpoint(self) -> Path:
        """The last complete training state."""
        return self.folder / "checkpoint.pt"

    @property
    def previous_checkpoint(self) -> Path:
        """The complete training state before the last one, for when the last one is damaged."""
        return self.folder / "checkpoint.previous.pt"

    @property
    def weights(self) -> Path:
        """The weights of the epoch that was picked, the best one or the last."""
        return self.folder / "model.safetensors"

    def weights_after(self, epoch: int | str) -> Path:
        """Returns where the weights after an epoch are, counted from 1; '*' matches all."""
        return self.folder / "epochs" / f"{epoch}.safetensors"

    @property
    def predictions(self) -> Path:
        """The class of each test image as the best epoch predicts it, and as it is."""
        return self.folder / "predictions.safetensors"

    @property
    def log(self) -> Path:
        """What the run said."""
        return self.folder / "train.log"

    @property
    def environment(self) -> Path:
        """Python, platform and package versions."""
        return self.folder / "environment.json"

    @property
    def diff(self) -> Path:
        """Uncommitted changes of the code when the run started."""
        return self.folder / "uncommitted.diff"

    @property
    def mirror(self) -> Path:
        """What the tracking store already has of this run; written by the mirror alone."""
        return self.folder / "mlflow.json"

    @property
    def proof(self) -> Path:
        """Whether this run repeated another one exactly; written by `sweeps.reproduction` alone."""
        return self.folder / "reproduction.json"

    @property
    def trial(self) -> Path:
        """Which trial of a search this run is, and why it ended; written by the search alone."""
        return self.folder / "trial.json"

    @property
    def suggested_lr(self) -> Path:
        """What a range test picked; written by `sweeps.range_test` alone."""
        return self.folder / "suggested_lr.json"

    @property
    def tensorboard(self) -> Path:
        """Event files, where TensorBoard is asked for."""
        return self.folder / "tensorboard"

    @property
    def lock(self) -> Path:
        """Held by the process that trains here."""
        return self.folder / ".lock"


@dataclass(frozen=True)
class SweepPaths:
    """The files of one sweep's folder; its cells are run folders below it."""

    folder: Path

    @property
    def record(self) -> Path:
        """Name, status and commands of the sweep."""
        return self.folder / "sweep.json"

    @property
    def multirun(self) -> Path:
        """The sweep's own config, as Hydra saves it."""
        return self.folder / "multirun.yaml"

    @property
    def results_csv(self) -> Path:
        """The final table for other programs."""
        return self.folder / "results.csv"

    @property
    def results_markdown(self) -> Path:
        """The final table for people."""
        return self.folder / "results.md"

    @property
    def mirror(self) -> Path:
        """What the tracking store already has of the parent run; written by the mirror alone."""
        return self.folder / "mlflow.json"

    @property
    def lock(self) -> Path:
        """Held by the command that runs this sweep."""
        return self.folder / ".lock"

    def trials(self) -> list[RunPaths]:
        """Returns the folders that a search has given to a trial, in the order of their names."""
        return [RunPaths(path.parent) for path in sorted(self.folder.glob("*/trial.json"))]

    def cells(self) -> list[RunPaths]:
        """Returns the folders that hold a run, in the order of their names."""
        return [RunPaths(path.parent) for path in sorted(self.folder.glob("*/run.json"))]

    @property
    def report(self) -> Path:
        """The comparison of the runs, one HTML file for people."""
        return self.folder / "report.html"

    @property
    def figures(self) -> Path:
        """Folder of the report's figures, one SVG file each."""
        return self.folder / "figures"

    @property
    def measures(self) -> Path:
        """The measures of each optimizer, or of another axis, for the tracking store."""
        return self.folder / "measures.json"

    @property
    def note(self) -> Path:
        """The answer and the table in Markdown, the description of the parent run."""
        return self.folder / "note.md"


def range_test_paths(folder: Path, name: str) -> RunPaths:
    """Returns where a range test lives: in the folder of its run or sweep, out of sight of `cells`."""
    return RunPaths(folder / "range_tests" / name)


def range_tests(folder: Path) -> list[RunPaths]:
    """Returns the range tests of a run or a sweep, in the order of their names."""
    return [
        RunPaths(path.parent)
        for path in sorted(range_test_paths(folder, "*").folder.parent.glob("*/run.json"))
    ]


def conf_dir() -> Path:
    """Returns the folder of the shipped configuration: inside a wheel, or at a checkout's top."""
    package = Path(__file__).resolve().parent
    packaged = package / "conf"
    return packaged if packaged.is_dir() else package.parents[1] / "conf"


def cache_dir() -> Path:
    """Returns the folder of decoded and downloaded data sets: SWEEPS_CACHE, or the user's cache."""
    if configured := os.environ.get("SWEEPS_CACHE"):
        return Path(configured).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "sweeps"


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Gives a file to write that takes the place of `path` when the block ends well.

    Readers see the old content or the new, never a part, even after a kill or a power cut.

    Raises:
        OSError: The disk is full or the folder cannot be written; `path` is then unchanged.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def replace_bytes(path: Path, content: bytes) -> None:
    """Writes a file atomically, see `replacing`."""
    with replacing(path) as file:
        file.write(content)


def replace_text(path: Path, text: str) -> None:
    """Writes a text file atomically, see `replacing`."""
    replace_bytes(path, text.encode())


def replace_json(path: Path, value: Any) -> None:
    """Writes a JSON file atomically, see `replacing`."""
    replace_text(path, json.dumps(value, indent=2) + "\n")


def read_json(path: Path) -> dict[str, Any] | None:
    """Returns the object in a JSON file, or None where there is no file."""
    try:
        content: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    return content


def read_bounded(path: Path, most_bytes: int, what: str) -> bytes:
    """Returns the content of a file that may come from anybody.

    Args:
        path: The file.
        most_bytes: A larger file is refused before it is in memory.
        what: Names the file's kind in messages, such as 'A saved config'.

    Raises:
        BadInputError: There is no such file, it is too large, or it cannot be read.
    """
    if not path.is_file():
        kind = "is not a file" if path.exists() else "does not exist"
        raise BadInputError(f"{path} {kind}. {what} is expected there.")
    try:
        with path.open("rb") as file:
            content = file.read(most_bytes + 1)
    except OSError as error:
        raise BadInputError(f"{path} cannot be read: {error.strerror}.") from None
    if len(content) > most_bytes:
        raise BadInputError(f"{path} is too large. {what} has at most {most_bytes} bytes.")
    return content


@contextlib.contextmanager
def locked(path: Path, *, wait_s: float = math.inf) -> Iterator[bool]:
    """Holds an exclusive lock on `path` for the time of the block, across processes.

    The lock is the operating system's, so it ends with its holder however that ends.

    Args:
        path: The lock file; it is created and stays, and says who holds it.
        wait_s: How long to wait for the present holder.

    Yields:
        Whether the lock was taken; always true where the wait is endless.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        taken = _take(file, wait_s)
        if taken:
            now = dt.datetime.now().astimezone()
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()} since {now:%H:%M:%S}")
            file.flush()
        yield taken


def lock_holder(path: Path) -> str | None:
    """Returns who holds the lock, such as 'process 12 on host since 10:00:00', or None."""
    try:
        with path.open("r+") as file:
            return None if _take(file, 0) else file.read().strip() or "another process"
    except OSError:  # never locked, or not ours to lock
        return None


def _take(file: IO[str], wait_s: float) -> bool:
    try:
        import fcntl
    except ImportError:  # Windows has no flock: runs there are not guarded against each other
        return True
    if wait_s == math.inf:
        fcntl.flock(file, fcntl.LOCK_EX)
        return True
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.05)
        else:
            return True


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
