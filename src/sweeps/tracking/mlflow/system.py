"""MLflow's measurements of the machine, for runs that train long enough to be worth it."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sweeps.runs.record import RunRecord


ENDS_WITHIN_S = 2.0


class SystemMetrics:
    """Measures CPU, memory and GPU beside runs that are under way.

    Args:
        uri: The tracking URI.
        after_s: Age of a run from which it is measured, or None for never.
    """

    def __init__(self, uri: str, after_s: float | None) -> None:
        self._uri, self._after_s = uri, after_s
        self._monitors: dict[str, Any] = {}

    def measure(self, run_id: str, record: RunRecord) -> None:
        """Begins to measure a run that is old enough."""
        young = self._after_s is None or time.time() - record.started_ms / 1000 < self._after_s
        if young or run_id in self._monitors:
            return
        self._monitors[run_id] = None  # one try: no measurement is worth a run's points
        with contextlib.suppress(Exception):
            from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

            monitor: Any = SystemMetricsMonitor(  # type: ignore[no-untyped-call]
                run_id, tracking_uri=self._uri, resume_logging=True
            )
            monitor.start()
            self._monitors[run_id] = monitor

    def stop(self, run_id: str) -> None:
        """Ends the measuring of a run, if there is any."""
        monitor = self._monitors.pop(run_id, None)
        if monitor is not None:
            # It waits for the store, for as long as a silent server keeps it waiting.
            ending = threading.Thread(target=_finish, args=(monitor,), daemon=True)
            ending.start()
            ending.join(ENDS_WITHIN_S)

    def close(self) -> None:
        """Ends all measuring."""
        for run_id in list(self._monitors):
            self.stop(run_id)


def _finish(monitor: Any) -> None:
    with contextlib.suppress(Exception):  # no measurement is worth a message
        monitor.finish()
