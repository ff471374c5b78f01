"""Hydra's own launchers as a launcher of ours: they run whole batches, and tell nothing before the end."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from sweeps.launchers.launcher import Ended
from sweeps.launchers.slots import Slot, Slots

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hydra.plugins.launcher import Launcher as HydraLauncher

    from sweeps.launchers.launcher import Job, Launcher, OnReport
    from sweeps.launchers.slots import Need


@runtime_checkable
class BringsLauncher(Protocol):
    """A launcher plugin of Hydra that has a launcher of ours behind it."""

    @property
    def engine(self) -> Launcher:
        """What carries out its jobs."""
        ...


def launcher_of(plugin: HydraLauncher) -> Launcher:
    """Returns what runs the jobs of a launcher plugin of Hydra: its own, or the plugin in batches."""
    return plugin.engine if isinstance(plugin, BringsLauncher) else HydraBatches(plugin)


class HydraBatches:
    """Gives Hydra's own launchers what can be run at once.

    Args:
        plugin: The launcher, set up; it composes its jobs from their overrides.
    """

    hears = False

    def __init__(self, plugin: HydraLauncher) -> None:
        self._plugin = plugin

    def slots(self, need: Need) -> Slots:
        """Returns the size of a batch: the plugin's own settings say how many run at once."""
        at_once = 1 if need.workers == "auto" else need.workers
        return Slots(need.threads, {"cpu": [Slot()] * at_once})

    def call(self, function: Callable[[], Any]) -> Any:
        """Returns what a call returns, in this process."""
        return function()

    def run(
        self,
        next_job: Callable[[], Job | None],
        slots: Slots,
        *,
        on_end: Callable[[Ended], bool],
        on_tick: Callable[[Sequence[Job]], None] | None = None,  # noqa: ARG002 - it knows nothing
        on_report: OnReport | None = None,  # noqa: ARG002 - nobody is heard
        ahead: int = 1,
    ) -> list[Ended]:
        """Runs jobs in batches, see `Launcher.run`; those that are not Hydra's run in this process."""
        ended = list[Ended]()
        size = max(ahead, len(slots))
        while batch := list(itertools.islice(iter(next_job, None), size)):
            for one in self._run_batch(batch):
                on_end(one)
                ended.append(one)
        return sorted(ended, key=lambda one: one.job.number)

    def _run_batch(self, batch: Sequence[Job]) -> list[Ended]:
        composed = [job for job in batch if job.overrides is not None]
        returns: Sequence[Any] = ()
        if composed:
            overrides = [list(job.overrides or ()) for job in composed]
            returns = self._plugin.launch(overrides, initial_job_idx=composed[0].number)
        plain = [_called(job) for job in batch if job.overrides is None]
        return [*map(Ended, composed, returns), *plain]


def _called(job: Job) -> Ended:
    try:
        return Ended(job, returned=job.make()(None))
    except Exception as error:
        return Ended(job, raised=error)
