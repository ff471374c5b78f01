"""A job of Hydra as a call that can be sent to another process."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cloudpickle
from hydra.core.plugins import Plugins
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, configure_log, run_job, setup_globals
from omegaconf import DictConfig, open_dict

from sweeps.errors import BadInputError, RunFailedError

if TYPE_CHECKING:
    from sweeps.launchers.local.pool import Ended


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
    """Composes the jobs of a launcher that has been set up; what they share is pickled once.

    Args:
        launcher: Its master config names the folder, which is made.
    """

    def __init__(self, launcher: Any) -> None:
        self._master: DictConfig = launcher.config
        self._loader = launcher.hydra_context.config_loader
        setup_globals()
        configure_log(self._master.hydra.hydra_logging, self._master.hydra.verbose)
        Path(str(self._master.hydra.sweep.dir)).mkdir(parents=True, exist_ok=True)
        self._program: bytes = cloudpickle.dumps(
            (launcher.task_function, launcher.hydra_context, Singleton.get_state())
        )

    def compose(self, overrides: list[str], number: int) -> HydraJob:
        """Returns the job with these overrides."""
        config = self._loader.load_sweep_config(self._master, overrides)
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
