"""Hydra's view of our launcher; the work is in `sweeps.launchers`, imported when runs start."""

# No "from __future__ import annotations": Hydra runs this module before it is in sys.modules,
# and a dataclass would look its string annotations up there.
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hydra.core.config_store import ConfigStore
from hydra.plugins.launcher import Launcher

if TYPE_CHECKING:
    from hydra.core.utils import JobReturn
    from hydra.types import HydraContext, TaskFunction
    from omegaconf import DictConfig


@dataclass
class LocalLauncherConfig:
    """Settings of hydra/launcher=local: the values of the same names, where the config has them."""

    _target_: str = "hydra_plugins.sweeps_plugins.local.LocalLauncher"
    workers: Any = "${oc.select:workers,auto}"
    runs_per_gpu: int = "${oc.select:runs_per_gpu,1}"  # type: ignore[assignment]
    timeout_s: float | None = "${oc.select:timeout_s,null}"  # type: ignore[assignment]
    on_error: str = "${oc.select:on_error,continue}"
    retries: int = "${oc.select:retries,0}"  # type: ignore[assignment]
    plan: bool = "${oc.select:plan,false}"  # type: ignore[assignment]


ConfigStore.instance().store(
    group="hydra/launcher", name="local", node=LocalLauncherConfig, provider="sweeps"
)


class LocalLauncher(Launcher):
    """Runs each job in a process of its own, several at once.

    Args:
        workers: Jobs at once, or 'auto' for one a core.
        runs_per_gpu: Jobs that share a GPU.
        timeout_s: Of one job, or None.
        on_error: 'continue', or 'stop' to start no more jobs after one has failed.
        retries: How often a job that fails is started again.
        plan: Whether jobs are shown instead of run, so that no server is needed.
    """

    def __init__(
        self,
        *,
        workers: Any,
        runs_per_gpu: int,
        timeout_s: float | None,
        on_error: str,
        retries: int,
        plan: bool,
    ) -> None:
        super().__init__()
        from sweeps.launchers.local.pool import Pool

        self.workers = workers
        self.runs_per_gpu = runs_per_gpu
        self.plan = plan
        self.engine = Pool(timeout_s=timeout_s, retries=retries, stop_on_error=on_error == "stop")

    def setup(
        self, *, hydra_context: "HydraContext", task_function: "TaskFunction", config: "DictConfig"
    ) -> None:
        """Takes what Hydra hands over, and lets the server import torch in the meantime."""
        self.hydra_context = hydra_context
        self.task_function = task_function
        self.config = config
        if not self.plan:
            self.engine.warm_up("sweeps.sweep.preload")

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> "Sequence[JobReturn]":
        """Runs jobs of any task function; our own sweeps give theirs to the engine themselves."""
        import cloudpickle

        from sweeps.launchers.hydra_job import HydraJobs, PlainTask, as_job_return, failed
        from sweeps.launchers.launcher import Job
        from sweeps.launchers.slots import Need

        loader = self.hydra_context.config_loader
        jobs = HydraJobs(self.hydra_context, self.config)
        task = PlainTask(self.task_function)

        def make(number: int, overrides: list[str]) -> Any:
            composed = loader.load_sweep_config(self.config, overrides)
            return jobs.job(number, cloudpickle.dumps(composed), task)

        numbered = enumerate(map(list, job_overrides), initial_job_idx)
        made = (Job(n, functools.partial(make, n, words)) for n, words in numbered)
        slots = self.engine.slots(
            Need(len(job_overrides), workers=self.workers, runs_per_gpu=self.runs_per_gpu)
        )
        ended = self.engine.run(lambda: next(made, None), slots, on_end=failed)
        return [as_job_return(one) for one in ended]
