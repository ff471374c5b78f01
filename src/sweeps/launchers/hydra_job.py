"""A job of Hydra as a call that can be sent to another process."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cloudpickle
from hydra.core.plugins import Plugins
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, configure_log, run_job, setup_globals
from omegaconf import open_dict, read_write

from sweeps.errors import BadInputError, RunFailedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from hydra.types import HydraContext, TaskFunction
    from omegaconf import DictConfig

    from sweeps.launchers.channel import Channel
    from sweeps.launchers.launcher import Ended

    Task = Callable[[Channel | None], TaskFunction]
    """Makes the task function of a job that has this channel to its controller."""


@dataclass(frozen=True)
class HydraJob:
    """One composed config and what to do with it; all is pickled, for it goes to another process.

    Attributes:
        number: Of the job.
        config: The `DictConfig`.
        task: A `Task`.
        shared: Hydra's context and its singletons.
    """

    number: int
    config: bytes
    task: bytes
    shared: bytes

    def __call__(self, channel: Channel | None) -> JobReturn:
        """Runs the task as Hydra's own launchers do."""
        hydra_context, singletons = cloudpickle.loads(self.shared)
        setup_globals()
        # Hydra sends no plugins and looks for them again, in every installed package.
        singletons["instances"][Plugins] = Plugins.instance()
        Singleton.set_state(singletons)
        config = cloudpickle.loads(self.config)
        with read_write(config), open_dict(config):
            config.hydra.job.num, config.hydra.job.id = self.number, str(self.number)
        done = run_job(
            hydra_context=hydra_context,
            config=config,
            task_function=cloudpickle.loads(self.task)(channel),
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )
        if isinstance(done._return_value, BadInputError):
            raise done._return_value  # said aloud: the same input need not be tried again
        return done


class HydraJobs:
    """Makes the jobs of one sweep; what they share is pickled once.

    Args:
        hydra_context: Hydra's.
        master: The config of the sweep; the folder that it names is made.
    """

    def __init__(self, hydra_context: HydraContext, master: DictConfig) -> None:
        self._context = hydra_context
        setup_globals()
        configure_log(master.hydra.hydra_logging, master.hydra.verbose)
        Path(str(master.hydra.sweep.dir)).mkdir(parents=True, exist_ok=True)

    def job(self, number: int, composed: bytes, task: Task) -> HydraJob:
        """Returns what runs a task with a composed and pickled config."""
        return HydraJob(number, composed, cloudpickle.dumps(task), self._shared)

    @functools.cached_property
    def _shared(self) -> bytes:
        return bytes(cloudpickle.dumps((self._context, Singleton.get_state())))


@dataclass(frozen=True)
class PlainTask:
    """A task function of any Hydra program, which knows nothing of channels."""

    task_function: TaskFunction

    def __call__(self, channel: Channel | None) -> TaskFunction:  # noqa: ARG002
        """Returns the task function as it is."""
        return self.task_function


def as_job_return(ended: Ended) -> JobReturn:
    """Returns what Hydra expects of a job, whatever became of its process."""
    if isinstance(ended.returned, JobReturn):
        return ended.returned
    lost = JobReturn(status=JobStatus.FAILED)
    lost.return_value = ended.raised or RunFailedError(f"The job's {ended.death}.")
    return lost


def failed(ended: Ended) -> bool:
    """Returns whether a job did not complete."""
    return as_job_return(ended).status != JobStatus.COMPLETED


def cause(ended: Ended) -> str | None:
    """Returns in words why a job did not complete."""
    if ended.death is not None:
        return ended.death
    answer = as_job_return(ended)
    return str(answer._return_value) if answer.status == JobStatus.FAILED else None
