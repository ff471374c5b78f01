"""A job of Hydra as a call that can be sent to another process."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, configure_log, run_job, setup_globals
from omegaconf import DictConfig, open_dict

from sweeps.errors import RunFailedError

if TYPE_CHECKING:
    from hydra.types import HydraContext, TaskFunction

    from sweeps.launching.pool import Ended


@dataclass(frozen=True)
class HydraJob:
    """One composed config and what to do with it."""

    config: DictConfig
    task_function: TaskFunction
    hydra_context: HydraContext
    singletons: Any

    def __call__(self) -> JobReturn:
        """Runs the task as Hydra's own launchers do."""
        setup_globals()
        Singleton.set_state(self.singletons)
        HydraConfig.instance().set_config(self.config)
        return run_job(
            hydra_context=self.hydra_context,
            config=self.config,
            task_function=self.task_function,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )


def hydra_job(launcher: Any, overrides: list[str], number: int) -> HydraJob:
    """Composes one job of a launcher that has been set up."""
    setup_globals()
    configure_log(launcher.config.hydra.hydra_logging, launcher.config.hydra.verbose)
    Path(str(launcher.config.hydra.sweep.dir)).mkdir(parents=True, exist_ok=True)
    config = launcher.hydra_context.config_loader.load_sweep_config(launcher.config, overrides)
    with open_dict(config):
        config.hydra.job.id = str(number)
        config.hydra.job.num = number
    return HydraJob(config, launcher.task_function, launcher.hydra_context, Singleton.get_state())


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
