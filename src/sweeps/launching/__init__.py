"""Many runs at once: one process a run, slots by device, and what happens when a process dies."""

from sweeps.launching.pool import Ended, Job, Pool, Running
from sweeps.launching.slots import Slots, cpu_cores

__all__ = ["Ended", "Job", "Pool", "Running", "Slots", "cpu_cores"]
