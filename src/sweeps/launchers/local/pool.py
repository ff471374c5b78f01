"""Runs jobs in processes of their own: a crash, a hang or a kill of one is nobody else's."""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import os
import signal
import sys
import time
import types
from collections import deque
from dataclasses import dataclass, field
from multiprocessing import connection
from typing import TYPE_CHECKING, Any

from sweeps.errors import BadInputError, TryAgainError
from sweeps.launchers.channel import Reported
from sweeps.launchers.launcher import Ended, Job
from sweeps.launchers.local.worker import work
from sweeps.launchers.slots import Slot, Slots, count_gpus
from sweeps.launchers.sockets import settle_sockets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess

    from sweeps.launchers.channel import Channel
    from sweeps.launchers.launcher import OnReport
    from sweeps.launchers.slots import Need


LEAVING = "sweeps.launchers.local.server"

TICK_S = 0.25
GRACE_S = 10.0
"""How long a process that was asked to stop may take for its checkpoint."""


@dataclass
class Running:
    """A job under way."""

    job: Job
    slot: Slot
    process: BaseProcess
    link: Connection
    answer: tuple[Any, BaseException | None] | None = None
    started: float = field(default_factory=time.monotonic)
    stopping: str | None = None
    stop_asked: float = 0.0


class Pool:
    """Runs jobs as processes of this machine, from a server that has imported torch once.

    Args:
        timeout_s: Of one job, or None.
        retries: How often a job that failed is started again.
        stop_on_error: Whether no more jobs start after one has failed.
        start_method: Of multiprocessing; None: the fastest one that is safe here.
    """

    hears = True

    def __init__(
        self,
        *,
        timeout_s: float | None = None,
        retries: int = 0,
        stop_on_error: bool = False,
        start_method: str | None = None,
    ) -> None:
        self._timeout_s, self._retries, self._stop_on_error = timeout_s, retries, stop_on_error
        self._context: Any = multiprocessing.get_context(start_method or best_start_method())
        if self._context.get_start_method() == "forkserver":
            settle_sockets()

    def warm_up(self, preload: str) -> None:
        """Starts the server.

        Args:
            preload: A module that it imports in the background: what every job needs.
        """
        if self._context.get_start_method() != "forkserver":
            return
        from multiprocessing import forkserver

        self._context.set_forkserver_preload([preload, LEAVING])
        forkserver.ensure_running()

    def slots(self, need: Need) -> Slots:
        """Divides this machine; a process of its own counts its GPUs where they are needed.

        Raises:
            BadInputError: A run asks for a numbered GPU: each sees its own alone, which is called
                cuda there.
        """
        for device in sorted(need.devices):
            number = device.removeprefix("cuda:")
            if number != device:
                raise BadInputError(
                    f"device={device} cannot be shared out among the runs of a sweep. Type"
                    f" device=cuda, and CUDA_VISIBLE_DEVICES={number} before the command to use this"
                    " GPU alone."
                )
        gpus = need.gpus
        if gpus is None:
            gpus = self.call(count_gpus) if need.may_use_gpus else 0
        return Slots.plan(need, gpus)

    def call(self, function: Callable[[], Any]) -> Any:
        """Returns what one call returns, or raises what it raises, in a process of its own."""
        running = self._start(Job(0, lambda: functools.partial(_unheard, function)), Slot())
        try:
            connection.wait([running.process.sentinel, running.link])
            ended = self._collect(running)
        except BaseException:
            self._kill([running])
            raise
        if ended.raised is not None:
            raise ended.raised
        if ended.death is not None:
            raise BadInputError(f"The check of the runs did not end: its {ended.death}.")
        return ended.returned

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
        """Runs jobs, as many at once as there are slots, see `Launcher.run`.

        `on_tick` is called a few times a second. Of the jobs that are asked for ahead, those whose
        kind of slot is free pass the others.
        """
        waiting, running = deque[Job](), list[Running]()
        ended: dict[int, Ended] = {}
        tries: dict[int, int] = {}
        more = next_job
        try:
            while True:
                self._fill(waiting, running, slots, more, ahead)
                if not running:
                    break
                if on_tick is not None:
                    on_tick([item.job for item in running])
                self._wait(running)
                for item in [item for item in running if self._over(item, on_report)]:
                    running.remove(item)
                    slots.give_back(item.job.kind, item.slot)
                    number = item.job.number
                    ended[number] = self._collect(item)
                    if not on_end(ended[number]):
                        continue
                    tries[number] = tries.get(number, 0) + 1
                    if tries[number] <= self._retries and _may_retry(ended[number]):
                        waiting.appendleft(item.job)
                    elif self._stop_on_error:
                        waiting.clear()
                        more = _no_job
        except KeyboardInterrupt as interrupt:
            self._stop(running, getattr(interrupt, "signum", signal.SIGINT))
            raise
        except BaseException:
            self._stop(running, signal.SIGTERM)  # their work until now is not lost
            raise
        return [ended[number] for number in sorted(ended)]

    def _fill(
        self,
        waiting: deque[Job],
        running: list[Running],
        slots: Slots,
        next_job: Callable[[], Job | None],
        ahead: int,
    ) -> None:
        """Starts what fits; a job whose kind of slot is taken waits and lets the next one pass."""
        for job in list(waiting):
            slot = slots.take(job.kind)
            if slot is not None:
                waiting.remove(job)
                running.append(self._start(job, slot))
        while slots and len(waiting) < ahead and (asked := next_job()) is not None:
            slot = slots.take(asked.kind)
            if slot is None:
                waiting.append(asked)
            else:
                running.append(self._start(asked, slot))

    def _start(self, job: Job, slot: Slot) -> Running:
        import cloudpickle

        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=work, args=(cloudpickle.dumps(job.make()), job.log, slot.env, theirs)
        )
        with _no_main():
            process.start()
        theirs.close()  # the child has its own; ours would hide that the child is gone
        return Running(job, slot, process, ours)

    def _wait(self, running: list[Running]) -> None:
        handles = [handle for item in running for handle in (item.process.sentinel, item.link)]
        connection.wait(handles, timeout=TICK_S)
        now = time.monotonic()
        for item in running:
            if item.stopping is not None:
                if now - item.stop_asked > GRACE_S:
                    item.process.kill()
            elif self._timeout_s is not None and now - item.started > self._timeout_s:
                item.stopping = f"took longer than timeout_s={self._timeout_s:g}"
                item.stop_asked = now
                item.process.terminate()

    @staticmethod
    def _over(item: Running, on_report: OnReport | None = None) -> bool:
        """Returns whether a job has ended, after answering what it reports."""
        import cloudpickle

        while item.answer is None:
            try:
                message = cloudpickle.loads(item.link.recv_bytes()) if item.link.poll() else None
            except (EOFError, OSError):  # it died without an answer
                break
            if message is None:
                break
            if isinstance(message, Reported):
                decision = on_report(item.job, message) if on_report else "continue"
                with contextlib.suppress(OSError):
                    item.link.send(decision)
            else:
                item.answer = message
        return item.answer is not None or not item.process.is_alive()

    def _collect(self, item: Running) -> Ended:
        self._over(item)  # the answer may have come between the last look and the end
        returned, raised = item.answer or (None, None)
        death = item.stopping
        item.link.close()
        item.process.join(GRACE_S)
        if item.process.is_alive():  # it has answered, and hangs on its way out
            item.process.kill()
            item.process.join()
        if item.answer is None and death is None:
            death = f"process ended with {_exit_in_words(item.process.exitcode)}"
        return Ended(item.job, returned, raised, death, timed_out=item.stopping is not None)

    def _stop(self, running: list[Running], signum: int) -> None:
        """Asks all to stop and waits for their checkpoints; asked again, kills them."""
        try:
            for item in running:
                if item.process.pid is not None:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(item.process.pid, signum)
                item.link.close()  # nobody answers any more: who waits goes on, and sees the signal
            deadline = time.monotonic() + GRACE_S
            for item in running:
                item.process.join(max(0.0, deadline - time.monotonic()))
        finally:
            self._kill(running)

    @staticmethod
    def _kill(running: list[Running]) -> None:
        for item in running:
            if item.process.is_alive():
                item.process.kill()
                item.process.join()


def best_start_method() -> str:
    """Returns how to start processes: forked from a server where that is safe, else anew.

    A fork server is still a fork: on macOS the frameworks below torch's MPS refuse to work in one.
    """
    forks = "forkserver" in multiprocessing.get_all_start_methods() and sys.platform != "darwin"
    return "forkserver" if forks else "spawn"


@contextlib.contextmanager
def _no_main() -> Iterator[None]:
    """Keeps a new process from running the program's main module again: nothing there is needed."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _unheard(function: Callable[[], Any], channel: Channel) -> Any:  # noqa: ARG001
    return function()


def _no_job() -> None:
    return None


def _may_retry(ended: Ended) -> bool:
    return isinstance(ended.raised, TryAgainError) or not isinstance(ended.raised, BadInputError)


def _exit_in_words(code: int | None) -> str:
    if code is not None and code < 0:
        try:
            return f"{signal.Signals(-code).name} (signal {-code})"
        except ValueError:
            return f"signal {-code}"
    return f"exit code {code}"
