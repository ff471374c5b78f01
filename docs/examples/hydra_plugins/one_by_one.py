"""A launcher that starts an interpreter for each run, one after another, and hears them."""

import contextlib
import multiprocessing
from dataclasses import replace

import cloudpickle
from hydra.core.config_store import ConfigStore
from hydra.plugins.launcher import Launcher as HydraLauncher

from sweeps.launchers.channel import Reported
from sweeps.launchers.launcher import Ended, Job
from sweeps.launchers.local.pipe import PipeChannel
from sweeps.launchers.slots import Slots


def work(call, link):
    """Runs in the process of a job: its call gets the channel, what it returns goes back."""
    try:
        link.send_bytes(cloudpickle.dumps((cloudpickle.loads(call)(PipeChannel(link)), None)))
    except Exception as error:
        link.send_bytes(cloudpickle.dumps((None, error)))


class OneByOne:
    hears = True

    def slots(self, need):
        return Slots.plan(replace(need, workers=1), gpus=0)

    def call(self, function):
        ended = self._run(Job(0, lambda: lambda channel: function()), None)
        if ended.raised:
            raise ended.raised
        return ended.returned

    def run(self, next_job, slots, *, on_end, on_tick=None, on_report=None, ahead=1):
        ended = []
        while (job := next_job()) is not None:
            ended.append(self._run(job, on_report))
            on_end(ended[-1])
        return ended

    def _run(self, job, on_report):
        ours, theirs = multiprocessing.Pipe()
        spawn = multiprocessing.get_context("spawn")
        process = spawn.Process(target=work, args=(cloudpickle.dumps(job.make()), theirs))
        process.start()
        theirs.close()
        answer = (None, None)
        with contextlib.suppress(EOFError):  # it died
            while isinstance(said := cloudpickle.loads(ours.recv_bytes()), Reported):
                ours.send(on_report(job, said))
            answer = said
        process.join()
        death = f"process ended with exit code {process.exitcode}" if process.exitcode else None
        return Ended(job, *answer, death)


class OneByOneLauncher(HydraLauncher):  # what Hydra finds, by the name of its config
    def setup(self, *, hydra_context, task_function, config):
        self.engine = OneByOne()

    def launch(self, job_overrides, initial_job_idx):
        raise NotImplementedError("sweepers other than grid and search use another launcher")


TARGET = {"_target_": f"{OneByOneLauncher.__module__}.{OneByOneLauncher.__name__}"}
ConfigStore.instance().store(group="hydra/launcher", name="one_by_one", node=TARGET)
