"""What carries out the runs of a sweep: the interface of a launcher, and what goes through it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sweeps.launchers.channel import Channel, Decision, Reported
    from sweeps.launchers.slots import Kind, Need, Slots

    OnReport = Callable[["Job", Reported], Decision]


@dataclass(frozen=True)
class Job:
    """One call to be made in a process of its own.

    Attributes:
        number: Its place among the jobs.
        make: Returns the call, made where the job runs, with its channel, or None where nobody
            hears; asked when the job starts.
        overrides: What Hydra would compose it of; None where it is no job of Hydra's.
        log: File for what the call prints, or None for the terminal.
        kind: Of the slot it needs.
    """

    number: int
    make: Callable[[], Callable[[Channel | None], Any]]
    overrides: Sequence[str] | None = None
    log: str | None = None
    kind: Kind = "cpu"


@dataclass(frozen=True)
class Ended:
    """How a job ended.

    Attributes:
        returned: What the call returned.
        raised: What it raised.
        death: How its process died, in words, where it neither returned nor raised.
        timed_out: Whether it was stopped because it took too long.
    """

    job: Job
    returned: Any = None
    raised: BaseException | None = None
    death: str | None = None
    timed_out: bool = False


class Launcher(Protocol):
    """Runs jobs somewhere, and says how each ended.

    Attributes:
        hears: Whether jobs can report while they run, and be stopped early.
    """

    hears: bool

    def slots(self, need: Need) -> Slots:
        """Returns where jobs may run, at their settled number of threads.

        Raises:
            BadInputError: What is needed cannot be had here.
        """
        ...

    def call(self, function: Callable[[], Any]) -> Any:
        """Returns what one call returns, or raises what it raises, where jobs run."""
        ...

    def run(
        self,
        next_job: Callable[[], Job | None],
        slots: Slots,
        *,
        on_end: Callable[[Ended], bool],
        on_tick: Callable[[Sequence[Job]], None] | None = None,
        on_report: OnReport | None = None,
        ahead: int = 1,
    ) -> list[Ended]:
        """Runs jobs, as many at once as there are slots.

        Args:
            next_job: Returns what to run next, or None where there is nothing now; it is asked
                again when a job has ended, and all is over when nothing runs either.
            slots: Where.
            on_end: Called after each job; returns whether the job failed.
            on_tick: Called now and then with what is under way.
            on_report: Decides about a job that reports, where the launcher hears.
            ahead: Jobs that may be asked for before they can start.

        Returns:
            How each job that was started ended, in the order of their numbers.
        """
        ...
