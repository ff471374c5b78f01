"""What every launcher keeps to: ours however its processes start, Hydra's own, and the one of the docs."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest
from harness.examples import EXAMPLES
from hydra._internal.callbacks import Callbacks
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra._internal.utils import create_config_search_path
from hydra.core.utils import JobReturn
from hydra.types import HydraContext, RunMode

from sweeps.errors import BadInputError
from sweeps.launchers.channel import Reported
from sweeps.launchers.hydra_batches import launcher_of
from sweeps.launchers.launcher import Ended, Job
from sweeps.launchers.local.pool import Pool
from sweeps.launchers.slots import Need

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from omegaconf import DictConfig

    from sweeps.launchers.channel import Channel
    from sweeps.launchers.launcher import Launcher

    Call = Callable[[Channel | None], Any]

NEED = Need(runs=3, workers=2, threads=1)


@dataclass
class Case:
    """A launcher, and how a function becomes a job of it."""

    launcher: Launcher
    job: Callable[[int, Call], Job]

    def run(self, calls: Iterable[Call], **how: Any) -> list[Ended]:
        """Runs calls to their ends."""
        jobs = iter([self.job(number, call) for number, call in enumerate(calls)])
        told: list[Ended] = []

        def on_end(ended: Ended) -> bool:
            told.append(ended)
            return value_of(ended) is None

        ended = self.launcher.run(
            lambda: next(jobs, None), self.launcher.slots(NEED), on_end=on_end, **how
        )
        assert sorted(told, key=lambda one: one.job.number) == ended
        return ended


def value_of(ended: Ended) -> Any:
    """Returns what the function of a job returned, None where it raised."""
    if isinstance(ended.returned, JobReturn):
        return ended.returned._return_value if ended.returned.status.name == "COMPLETED" else None
    return ended.returned


def plain(number: int, call: Call) -> Job:
    """Returns a job of a launcher of ours."""
    return Job(number, lambda: call)


def hydra_basic(folder: Path) -> Case:
    """Returns Hydra's launcher, whose jobs are known to it by their overrides alone."""
    conf = folder / "conf"
    conf.mkdir()
    (conf / "config.yaml").write_text("number: 0\n")
    loader = ConfigLoaderImpl(create_config_search_path(str(conf)))
    quiet = ["hydra/job_logging=none", "hydra/hydra_logging=none", "hydra.job.chdir=false"]
    quiet.append(f"hydra.sweep.dir={folder}/out")
    master = loader.load_configuration("config", quiet, RunMode.MULTIRUN)
    master.hydra.job.name = "app"
    calls: dict[int, Call] = {}

    def task(cfg: DictConfig) -> Any:
        return calls[cfg.number](None)

    def job(number: int, call: Call) -> Job:
        calls[number] = call
        return Job(number, lambda: call, overrides=[f"number={number}"])

    plugin = BasicLauncher()
    context = HydraContext(loader, Callbacks())
    plugin.setup(hydra_context=context, task_function=task, config=master)
    return Case(launcher_of(plugin), job)


CASES: dict[str, Callable[[Path], Case]] = {
    "forkserver": lambda _: Case(Pool(start_method="forkserver"), plain),
    "spawn": lambda _: Case(Pool(start_method="spawn"), plain),
    "hydra basic": hydra_basic,
    "docs": lambda _: Case(import_module("hydra_plugins.one_by_one").OneByOne(), plain),
}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    """Each launcher once."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return CASES[request.param](tmp_path)


class TestLauncher:
    """The contract."""

    def test_it_has_a_place_and_keeps_what_is_settled(self, case: Case) -> None:
        slots = case.launcher.slots(NEED)
        assert len(slots) > 0
        assert slots.threads == 1

    def test_a_call_returns_or_raises(self, case: Case) -> None:
        def bad() -> None:
            raise BadInputError("no such thing")

        assert case.launcher.call(functools.partial(divmod, 7, 2)) == (3, 1)
        with pytest.raises(BadInputError, match="no such thing"):
            case.launcher.call(bad)

    def test_each_job_ends_once_in_the_order_of_the_numbers(self, case: Case) -> None:
        def call(number: int) -> Call:
            return lambda _: 10 * number

        ended = case.run([call(1), call(2), call(3)], ahead=3)
        assert [one.job.number for one in ended] == [0, 1, 2]
        assert [value_of(one) for one in ended] == [10, 20, 30]

    def test_a_job_that_raises_leaves_the_others_alone(self, case: Case) -> None:
        def bad(_: Channel | None) -> None:
            raise ValueError("not today")

        ended = case.run([bad, lambda _: "well"])
        assert [value_of(one) for one in ended] == [None, "well"]

    def test_it_asks_again_after_an_end(self, case: Case) -> None:
        waiting = [case.job(number, lambda _: "well") for number in range(3)]
        over: list[int] = []

        def next_job() -> Job | None:
            # What comes next is known when the one before has ended, as in a search.
            return waiting.pop(0) if len(over) == 3 - len(waiting) and waiting else None

        def on_end(ended: Ended) -> bool:
            over.append(ended.job.number)
            return False

        case.launcher.run(next_job, case.launcher.slots(NEED), on_end=on_end)
        assert over == [0, 1, 2]

    def test_who_is_heard_may_ask_and_be_stopped(self, case: Case) -> None:
        def call(channel: Channel | None) -> list[str] | str:
            if channel is None:
                return "nobody"
            return [channel.ask(Reported(number, 3, 0.5)) for number in (1, 2)]

        heard: list[tuple[int, Reported]] = []

        def on_report(job: Job, report: Reported) -> str:
            heard.append((job.number, report))
            return "stop" if report.report == 2 else "continue"

        (ended,) = case.run([call], on_report=on_report)
        if case.launcher.hears:
            assert value_of(ended) == ["continue", "stop"]
            assert heard == [(0, Reported(1, 3, 0.5)), (0, Reported(2, 3, 0.5))]
        else:
            assert value_of(ended) == "nobody"
            assert not heard
