"""Mirrors run folders into trackers, each from a background thread of its own.

The folders are the truth. The mirror reads what is new in them and sends it in batches; when a tracker
is locked, slow or gone neither the training nor another tracker notices, and what is missing is sent
later.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import shlex
import threading
import time
from typing import TYPE_CHECKING

from sweeps.errors import TrackingUnavailableError
from sweeps.tracking.mlflow.client import explain
from sweeps.tracking.push import Pusher
from sweeps.tracking.settings import trackers_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sweeps.config import Config
    from sweeps.runs.paths import RunPaths, SweepPaths
    from sweeps.tracking.tracker import Tracker


log = logging.getLogger(__name__)

PUSH_EVERY_S = 2.0
CONNECT_TIMEOUT_S = 120.0
"""A busy machine takes its time for an import and to make a database; a server answers, or its client
gives up, see `sweeps.tracking.mlflow.client`."""
TRY_AGAIN_FOR_S = 15.0
QUIET_S = 4.0
OTHERWISE = "name another with tracking.uri=..., or type tracking=none"
LEAVE_WITHIN_S = 6.0
"""On Ctrl-C: what a tracker does not take in this time is sent by the next command."""


@contextlib.contextmanager
def mirror_of(config: Config) -> Iterator[Mirror]:
    """Gives the mirror that a config asks for; it begins to connect at once.

    Raises:
        BadInputError: See `trackers_of`.
    """
    mirror = Mirror(trackers_of(config))
    mirror.start()
    try:
        yield mirror
    except KeyboardInterrupt:
        mirror.close(timeout_s=LEAVE_WITHIN_S)
        raise
    except BaseException:
        mirror.close()
        raise
    mirror.close()


class Mirror:
    """Keeps trackers up to date with run folders while they grow.

    Args:
        trackers: Where to send to; none: nowhere.
    """

    def __init__(self, trackers: Sequence[Tracker]) -> None:
        self._runs: list[RunPaths] = []
        self._sweeps: list[SweepPaths] = []
        self._feeds = [_Feed(tracker, self._runs, self._sweeps) for tracker in trackers]

    def start(self) -> None:
        """Begins to connect, while the caller does something else."""
        for feed in self._feeds:
            feed.start()

    def wait_ready(
        self, timeout_s: float = CONNECT_TIMEOUT_S, *, otherwise: str = OTHERWISE
    ) -> None:
        """Waits until every tracker answers.

        Args:
            timeout_s: How long for each.
            otherwise: What to type where one does not answer.

        Raises:
            TrackingUnavailableError: One did not answer in time, or refused.
        """
        for feed in self._feeds:
            feed.wait_ready(timeout_s, otherwise)

    def watch_run(self, paths: RunPaths) -> None:
        """Mirrors one run from now on."""
        self._runs.append(paths)

    def watch_sweep(self, paths: SweepPaths) -> None:
        """Mirrors a sweep and all runs below it from now on."""
        self._sweeps.append(paths)

    @property
    def complete(self) -> bool:
        """Whether every tracker has everything that was in the folders at the last look."""
        return all(feed.complete for feed in self._feeds)

    def close(self, timeout_s: float = 60.0) -> None:
        """Sends what is left and ends the threads."""
        for feed in self._feeds:
            feed.begin_to_close()
        deadline = time.monotonic() + timeout_s
        for feed in self._feeds:
            feed.close(deadline)


class _Feed:
    """One tracker and the thread that brings it up to date."""

    def __init__(
        self, tracker: Tracker, runs: Sequence[RunPaths], sweeps: Sequence[SweepPaths]
    ) -> None:
        self._tracker, self._runs, self._sweeps = tracker, runs, sweeps
        self._error: Exception | None = None
        self._connected, self._closing = threading.Event(), threading.Event()
        self._away = False
        self._failures: list[Exception] = []
        name = f"{tracker.name}-mirror"
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wait_ready(self, timeout_s: float, otherwise: str) -> None:
        answered = self._connected.wait(timeout_s)
        if answered and self._error is None:
            return
        self._closing.set()
        if isinstance(self._error, TrackingUnavailableError):
            raise self._error
        reason = f"did not answer within {timeout_s:.0f} s"
        if self._error is not None:
            reason = f"cannot be used: {explain(self._error)}"
        raise TrackingUnavailableError(f"{self._tracker.where} {reason}. Start it, {otherwise}.")

    @property
    def complete(self) -> bool:
        return self._connected.is_set() and not self._failures and not self._thread.is_alive()

    def begin_to_close(self) -> None:
        self._closing.set()

    def close(self, deadline: float) -> None:
        if not self._connected.is_set():
            return  # it never answered: nothing was promised to it, and the thread is a daemon
        self._thread.join(min(max(0.0, deadline - time.monotonic()), QUIET_S))
        if self._thread.is_alive() and time.monotonic() < deadline:
            log.info("Sending the rest to %s ...", self._tracker.name)
            self._thread.join(None if deadline == math.inf else deadline - time.monotonic())
        if not self.complete:
            log.warning(
                "%s does not have everything yet. Send it later with: %s",
                self._tracker.name,
                shlex.join(["python", "-m", "sweeps.sync", *self._what_is_missing()]),
            )

    def _what_is_missing(self) -> list[str]:
        """Returns what `sweeps.sync` is given; it takes a person's own code from them alone."""
        kind = type(self._tracker)
        ours = kind.__module__.startswith("sweeps.")
        named = [] if ours else ["--tracker", f"{kind.__module__}.{kind.__qualname__}"]
        folders = [paths.folder for paths in self._sweeps] + [p.folder for p in self._runs]
        return [*named, *map(os.path.relpath, folders)]

    def _work(self) -> None:
        try:
            pusher = Pusher(self._tracker, self._tracker.connect())
        except Exception as error:
            self._error = error
            return
        finally:
            self._connected.set()
        last = False
        while not last:
            last = self._closing.wait(PUSH_EVERY_S)
            self._push(pusher)
        # One that is busy, such as a locked database, gets some more time at the end.
        deadline = time.monotonic() + TRY_AGAIN_FOR_S
        while self._failures and not self._is_refused() and time.monotonic() < deadline:
            time.sleep(1)
            self._push(pusher)
        pusher.leave()

    def _push(self, pusher: Pusher) -> None:
        self._failures = pusher.push(self._runs, self._sweeps)
        if self._failures and not self._away:
            log.warning(
                "%s does not take the points (%s). The run goes on; they are kept in"
                " metrics.jsonl and sent as soon as the store takes them.",
                self._tracker.name,
                self._failures[0] if self._is_refused() else explain(self._failures[0]),
            )
        self._away = bool(self._failures)

    def _is_refused(self) -> bool:
        """Whether the tracker has said that no waiting helps."""
        first = self._failures[0] if self._failures else None
        return isinstance(first, TrackingUnavailableError)
