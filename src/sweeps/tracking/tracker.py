"""What a tracker is: five methods, called in this order from one thread, never from a training.

The mirror reads run folders and calls them. What raises is tried again at the mirror's next look, with
the same arguments and for as long as there are looks, so nothing is repeated inside of a tracker; only a
TrackingUnavailableError says that no waiting helps, and, to a person, what does. After a kill nobody
knows what had arrived: every method may be called again with what it was given before.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from sweeps.runs.metrics import Point


@dataclass(frozen=True)
class RunToTrack:
    """What a tracker is told of a run when it is opened.

    Attributes:
        key: Names the run for ever, in every process: 32 hexadecimal digits.
        name: As it is shown, such as 'lr=0.1,optimizer=sgd'.
        kind: 'run'; or 'sweep', whose runs are opened below it; or 'range_test', which is below what
            it was run for, and not to be compared with it.
        folder: Holds its files, which say all there is to know of it.
        started_ms: In milliseconds since 1970.
        under_way: Whether it is training now; one that was sent late is not.
        parent: What `open_run` returned for the sweep or run that it is below; None: nothing is above.
        params: Its settings, flat, such as {'lr': 0.1, 'optimizer': 'sgd'}; they never change.
        numbers: Those settings that runs are sorted by.
        tags: Further words on it, such as {'device': 'cpu'}; a later value replaces the earlier one.
        git: Its code: commit, branch, and whether it was changed since (dirty, None: nobody knows).
        dataset: Its data: name, digest, shape and counts; empty where it never came so far.
        replaces: Keys of earlier runs that it is trained in place of; they go to the trash.
    """

    key: str
    name: str
    kind: Literal["run", "sweep", "range_test"]
    folder: Path
    started_ms: int
    under_way: bool = True
    parent: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    numbers: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    git: Mapping[str, Any] = field(default_factory=dict)
    dataset: Mapping[str, Any] = field(default_factory=dict)
    replaces: Sequence[str] = ()


@dataclass(frozen=True)
class Ending:
    """What a tracker is told of a run when it has ended.

    Attributes:
        status: 'FINISHED', 'FAILED' or 'KILLED'.
        ended_ms: In milliseconds since 1970.
        summary: What runs are compared by, such as best_val_loss: one point a metric. They are
            results, and no points of a curve.
        tags: As those of `RunToTrack`.
        note: What is to be read first, in Markdown; None: nothing.
    """

    status: str
    ended_ms: int
    summary: Sequence[Point] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    note: str | None = None


class Tracker(Protocol):
    """Somewhere that runs are recorded besides their folders.

    A new one is made for each command; making it must take no time.

    Attributes:
        name: In messages, and in the name of the mirror's note in each folder, such as 'MLflow':
            letters and digits.
        where: What it writes to, at the start of a sentence, such as 'The MLflow store URI'.
    """

    name: str
    where: str

    def connect(self) -> str:
        """Makes ready, while the command does something else; called first, and once.

        What takes long, such as an import, belongs here.

        Returns:
            A name of the place that it writes to. A place with another name has nothing yet: what was
            sent to the one before is sent again.

        Raises:
            TrackingUnavailableError: With a message for the person. It, and every other exception, ends
                the command before anything is trained.
        """
        ...

    def open_run(self, run: RunToTrack) -> str:
        """Finds the run with a key, or makes it; called once in a process before all else of a run.

        A run that has ended is opened again where it goes on.

        Returns:
            What the run is called here, for the other methods; the same each time.
        """
        ...

    def log(self, run_id: str, points: Sequence[Point]) -> None:
        """Takes points of an open run.

        Args:
            run_id: What `open_run` returned.
            points: The lines of metrics.jsonl, in order; a value may be no finite number. A point that
                is there already changes nothing: same metric, step and time.
        """
        ...

    def log_files(self, run_id: str, files: Sequence[tuple[Path, str | None]]) -> None:
        """Keeps copies of files of an open run; a later one replaces the earlier one.

        Args:
            run_id: What `open_run` returned.
            files: Each with the folder to keep it in, or None. Those that are not there are left out.
        """
        ...

    def close_run(self, run_id: str, ending: Ending | None) -> None:
        """Ends an open run; called last, after its points and files.

        Args:
            run_id: What `open_run` returned.
            ending: What has become of it; None: the command leaves it as it is, and another one may
                go on with it. What is held open in this process is let go either way.
        """
        ...
