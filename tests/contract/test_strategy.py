"""What every strategy keeps to: the grid, each kind of search, and the one of the docs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from harness.examples import load_example
from hydra.types import HydraContext, RunMode

from sweeps.config.parse import growth_settings, search_settings
from sweeps.launchers.channel import Reported
from sweeps.runs.outcome import Outcome
from sweeps.runs.record import RunRecord
from sweeps.search.parse_space import parse_space
from sweeps.sweep.cell import Cell, Composition, compose_cells
from sweeps.sweep.grid import Grid
from sweeps.sweep.growing import Growing
from sweeps.sweep.search import Search
from sweeps.sweep.strategy import Preflight

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from omegaconf import DictConfig

    from sweeps.search.space import Space
    from sweeps.sweep.strategy import Strategy

    Make = Callable[[Space, HydraContext, DictConfig], Strategy]

EPOCHS = 9
TYPED = ["lr=0.1,0.03,0.01", "optimizer=sgd,adam", f"epochs={EPOCHS}"]


def grid(space: Space, context: HydraContext, master: DictConfig) -> Strategy:
    """Returns what runs all."""
    return Grid(compose_cells(space.grid(), context, master))


def growing(space: Space, context: HydraContext, master: DictConfig) -> Strategy:
    """Returns a grid that grows: the larger the rate the better are its runs, see `train`."""
    growth, compose = growth_settings(master), Composition(context, master).cell
    return Growing(Grid(compose_cells(space.grid(), context, master)), growth, compose)


def search(space: Space, context: HydraContext, master: DictConfig) -> Strategy:
    """Returns what searches as is typed."""
    return Search(space, *search_settings(master), compose=Composition(context, master).cell)


def until_good(space: Space, context: HydraContext, master: DictConfig) -> Strategy:
    """Returns the example of the docs."""
    strategy: Strategy = load_example("until_good.py").UntilGood(
        compose_cells(space.grid(), context, master), target=2.0
    )
    return strategy


KINDS: dict[str, tuple[Make, list[str]]] = {
    "grid": (grid, []),
    "extending": (growing, ["extend=auto"]),
    "repeating": (growing, ["seeds=auto", "max_cells=20"]),
    "search grid": (search, ["search.sampler=grid"]),
    "search tpe": (search, ["search=tpe", "trials=5"]),
    "search asha": (search, ["search=asha", "trials=5"]),
    "search halving": (search, ["search=halving"]),
    "docs": (until_good, []),
}


@pytest.fixture(params=KINDS)
def make(
    request: pytest.FixtureRequest, context: HydraContext, tmp_path: Path
) -> Callable[[], Strategy]:
    """Makes each strategy, as often as a command is given."""
    kind, more = KINDS[request.param]
    words = [f"output_dir={tmp_path}", "name=s", "tracking=none", "data=synthetic"]

    def make_one() -> Strategy:
        typed = [*words, *TYPED, *more]
        master = context.config_loader.load_configuration("config", typed, RunMode.MULTIRUN)
        space = parse_space(master.hydra.overrides.task, context, master)
        return kind(space, context, master)

    return make_one


def train(strategy: Strategy, cell: Cell) -> None:
    """Trains a cell as the controller would have it: writes its points and its record."""
    record = RunRecord(
        key=cell.folder.name,
        identity=cell.identity,
        name=cell.name,
        status="FINISHED",
        objective=cell.config.objective,
        started_ms=0,
        epochs=EPOCHS,
        steps=10 * EPOCHS,
        outcome=Outcome.FINISHED,
    )
    cell.folder.mkdir(parents=True, exist_ok=True)
    with cell.paths.metrics.open("w") as file:
        for epoch in range(1, EPOCHS + 1):
            value = record.objective_value = cell.config.lr * epoch
            point = {"key": record.objective, "value": value, "step": 10 * epoch, "time_ms": 0}
            file.write(f"{json.dumps(point)}\n")
            if epoch < EPOCHS:
                decision = strategy.report(cell, Reported(epoch, EPOCHS, value))
                assert decision in ("continue", "stop")
                if decision == "stop":
                    record.outcome = Outcome.PRUNED
                    break
    record.save(cell.paths)
    cell.load()


def drive(strategy: Strategy) -> list[Cell]:
    """Runs all that a strategy gives out, one at a time; returns the cells in their order."""
    order = []
    while (cell := strategy.ask()) is not None:
        order.append(cell)
        train(strategy, cell)
        assert isinstance(strategy.tell(cell), str)
        assert len(order) < 100, "it never ends"
    return order


class TestStrategy:
    """The contract."""

    def test_it_reads_and_writes_nothing_before_it_is_opened(
        self, make: Callable[[], Strategy], tmp_path: Path
    ) -> None:
        outline = make().outline
        assert 0 < len(outline.samples) <= outline.total + 1
        if outline.rows is not None:
            assert len(outline.rows()) == outline.total
        assert list(tmp_path.iterdir()) == []

    def test_it_gives_out_each_run_until_all_have_ended(self, make: Callable[[], Strategy]) -> None:
        strategy = make()
        plan = strategy.open(Preflight({}))
        assert plan.summary
        order = drive(strategy)
        assert len(order) > 0
        assert {cell.folder for cell in plan.cells} == {cell.folder for cell in order}
        assert len({cell.folder for cell in plan.cells}) == len(plan.cells) <= plan.total
        assert strategy.ask() is None

    def test_what_is_done_is_not_given_out_again(self, make: Callable[[], Strategy]) -> None:
        first = make()
        first.open(Preflight({}))
        done = {cell.folder for cell in drive(first)}
        again = make()
        plan = again.open(Preflight({}))
        assert again.ask() is None
        assert {cell.folder for cell in plan.cells} == done

    def test_what_was_given_out_and_never_ended_is_given_out_again(
        self, make: Callable[[], Strategy]
    ) -> None:
        first = make()
        first.open(Preflight({}))
        begun = first.ask()
        assert begun is not None
        again = make()
        again.open(Preflight({}))
        following = again.ask()
        assert following is not None
        assert following.folder == begun.folder

    def test_runs_that_cannot_report_are_trained_whole(self, make: Callable[[], Strategy]) -> None:
        strategy = make()
        strategy.open(Preflight({}, hears=False))
        order = drive_unheard(strategy)
        assert len({cell.folder for cell in order}) == len(order) > 0


def drive_unheard(strategy: Strategy) -> list[Cell]:
    """Runs all whole and without a report, as Hydra's own launchers do."""
    order = []
    while (cell := strategy.ask()) is not None:
        order.append(cell)
        cell.folder.mkdir(parents=True, exist_ok=True)
        RunRecord(
            key=cell.folder.name,
            identity=cell.identity,
            name=cell.name,
            status="FINISHED",
            objective=cell.config.objective,
            started_ms=0,
            epochs=EPOCHS,
            steps=10 * EPOCHS,
            outcome=Outcome.FINISHED,
            objective_value=cell.config.lr,
        ).save(cell.paths)
        cell.load()
        strategy.tell(cell)
        assert len(order) < 100, "it never ends"
    return order
