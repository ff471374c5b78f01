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
from omegaconf import DictConfig, open_dict

from sweeps.errors import BadInputError, RunFailedError

if TYPE_CHECKING:
    from hydra.types import HydraContext, TaskFunction

    from sweeps.launchers.launcher import Ended


@dataclass(frozen=True)
class HydraJob:
    """One composed config and what to do with it.

    Attributes:
        config: Of the job.
        program: The task function, Hydra's context and its singletons, pickled.
    """

    config: DictConfig
    program: bytes

    def __call__(self) -> JobReturn:
        """Runs the task as Hydra's own launchers do."""
        task_function, hydra_context, singletons = cloudpickle.loads(self.program)
        setup_globals()
        # Hydra sends no plugins and looks for them again, in every installed package.
        singletons["instances"][Plugins] = Plugins.instance()
        Singleton.set_state(singletons)
        done = run_job(
            hydra_context=hydra_context,
            config=self.config,
            task_function=task_function,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )
        if isinstance(done._return_value, BadInputError):
            raise done._return_value  # said aloud: the same input need not be tried again
        return done


class HydraJobs:
    """Composes the jobs of one sweep; what they share is pickled once.

    Args:
        hydra_context: Hydra's.
        master: The config of the sweep; the folder that it names is made.
        task_function: What is done with each config.
    """

    def __init__(
        self, hydra_context: HydraContext, master: DictConfig, task_function: TaskFunction
    ) -> None:
        self._context, self._task_function = hydra_context, task_function
        self._master = master
        setup_globals()
        configure_log(master.hydra.hydra_logging, master.hydra.verbose)
        Path(str(master.hydra.sweep.dir)).mkdir(parents=True, exist_ok=True)

    @functools.cached_property
    def _program(self) -> bytes:
        pickled: bytes = cloudpickle.dumps(
            (self._task_function, self._context, Singleton.get_state())
        )
        return pickled

    def compose(self, overrides: list[str], number: int) -> HydraJob:
        """Returns the job with these overrides."""
        config = self._context.config_loader.load_sweep_config(self._master, overrides)
        with open_dict(config):
            config.hydra.job.id = str(number)
            config.hydra.job.num = number
        return HydraJob(config, self._program)


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
