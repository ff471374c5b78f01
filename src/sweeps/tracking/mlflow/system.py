"""MLflow's measurements of the machine, for runs that train long enough to be worth it."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import Any

ENDS_WITHIN_S = 2.0


class SystemMetrics:
    """Measures CPU, memory and GPU beside runs that are under way.

    Args:
        uri: The tracking URI.
        after_s: Age of a run from which it is measured, or None for never.
    """

    def __init__(self, uri: str, after_s: float | None) -> None:
        self._uri, self._after_s = uri, after_s
        self._timers: dict[str, threading.Timer] = {}
        self._monitors: dict[str, Any] = {}

    def measure(self, run_id: str, started_ms: int) -> None:
        """Begins to measure a run as soon as it is old enough.

        Args:
            run_id: The run in MLflow.
            started_ms: When it started, in milliseconds since 1970.
        """
        if self._after_s is None or run_id in self._timers:
            return
        wait_s = max(0.0, started_ms / 1000 + self._after_s - time.time())
        timer = threading.Timer(wait_s, self._begin, [run_id])
        timer.daemon = True
        self._timers[run_id] = timer
        timer.start()

    def stop(self, run_id: str) -> None:
        """Ends the measuring of a run, if there is any."""
        timer = self._timers.pop(run_id, None)
        if timer is not None:
            timer.cancel()
        self._end(run_id)

    def _begin(self, run_id: str) -> None:
        with contextlib.suppress(Exception):  # one try: no measurement is worth a run's points
            from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

            monitor: Any = SystemMetricsMonitor(  # type: ignore[no-untyped-call]
                run_id, tracking_uri=self._uri, resume_logging=True
            )
            monitor.start()
            self._monitors[run_id] = monitor
        if run_id not in self._timers:  # it was stopped meanwhile
            self._end(run_id)

    def _end(self, run_id: str) -> None:
        monitor = self._monitors.pop(run_id, None)
        if monitor is not None:
            # It waits for the store, for as long as a silent server keeps it waiting.
            ending = threading.Thread(target=_finish, args=(monitor,), daemon=True)
            ending.start()
            ending.join(ENDS_WITHIN_S)


def _finish(monitor: Any) -> None:
    with contextlib.suppress(Exception):  # no measurement is worth a message
        monitor.finish()
