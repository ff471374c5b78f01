"""Files: written so that a kill never tears one, read with a bound, locked across processes."""

from __future__ import annotations

import contextlib
import datetime as dt
import errno
import json
import math
import os
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeps.errors import BadInputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO, BinaryIO


def ensure_home() -> None:
    """Gives a user without a home folder the one that containers give: libraries ask, on import."""
    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = os.sep


def find_own_modules() -> None:
    """Lets a person's own modules be imported from where the command is typed, by a script too."""
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))


def expanded(typed: str) -> Path:
    """Returns a path as it was typed, with a ~ at its start replaced.

    Raises:
        BadInputError: There is no such user, or this one has no home folder.
    """
    try:
        return Path(typed).expanduser()
    except RuntimeError:
        raise BadInputError(
            f"{typed} starts in a home folder that there is none of. Type the whole path."
        ) from None


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


def explain_unwritable(error: OSError) -> str:
    """Returns in a sentence what is in the way of a file or folder."""
    if error.filename is None:
        return f"Cannot write: {error.strerror or error}."
    path = Path(os.fsdecode(error.filename))
    place = next(filter(os.path.lexists, (path, *path.parents)), path)
    reason = str(error.strerror)
    if place.is_symlink() and not os.path.exists(place):  # noqa: PTH110 - it may be closed
        reason = f"{place} is a link to {place.readlink()}, which does not exist"
    elif error.errno in (errno.ENOTDIR, errno.EEXIST) and not place.is_dir():
        reason = f"{place} is a file, and should be a folder"
    elif error.errno in (errno.EACCES, errno.EPERM):
        here = place if place.name else place.absolute()
        reason = f"{here} belongs to {_owner(place)} and is closed to you"
    return f"Cannot write {path}: {reason}."


def _owner(path: Path) -> str:
    try:
        return path.owner()
    except (KeyError, NotImplementedError):  # a user without a name, or Windows
        return f"user {path.stat().st_uid}"


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
