"""A search in one process: its runs are written here, as a worker would have left them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hydra.types import HydraContext, RunMode

from sweeps.config import identity
from sweeps.config.parse import search_settings
from sweeps.errors import BadInputError
from sweeps.launchers.channel import Reported
from sweeps.runs.outcome import Outcome
from sweeps.runs.record import RunRecord
from sweeps.search.parse_space import parse_space
from sweeps.sweep.cell import Composition
from sweeps.sweep.search import Search
from sweeps.sweep.strategy import Preflight

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sweeps.sweep.cell import Cell

READY = Preflight({})
RATES = "lr=tag(log, interval(1e-4, 1))"
LISTED = "lr=1,0.1,0.01"


def search_of(context: HydraContext, folder: Path, *typed: str) -> Search:
    """Returns the search that a command line asks for."""
    words = [f"output_dir={folder}", "name=s", "tracking=none", "data=synthetic", *typed]
    master = context.config_loader.load_configuration("config", words, RunMode.MULTIRUN)
    space = parse_space(master.hydra.overrides.task, context, master)
    return Search(space, *search_settings(master), compose=Composition(context, master).cell)


def leave(
    cell: Cell, values: Sequence[float], outcome: str | None, *, steps: int = 90, every: int = 10
) -> None:
    """Writes what a worker leaves of a run, with an evaluation each `every` steps."""
    record = RunRecord(
        key=cell.folder.name,
        identity=identity(cell.config),
        name=cell.name,
        status={None: "RUNNING", "failed": "FAILED"}.get(outcome, "FINISHED"),
        objective=cell.config.objective,
        started_ms=0,
        epochs=cell.config.epochs,
        steps=steps,
        outcome=Outcome(outcome) if outcome else None,
        objective_value=max(values, default=None),
        best_epoch=1,
        epochs_done=len(values),
    )
    cell.folder.mkdir(parents=True, exist_ok=True)
    points = [
        {"key": cell.config.objective, "value": value, "step": every * n, "time_ms": n}
        for n, value in enumerate(values, 1)
    ]
    cell.paths.metrics.write_text("".join(f"{json.dumps(point)}\n" for point in points))
    record.save(cell.paths)


def play(search: Search, qualities: dict[str, float] | None = None) -> list[str]:
    """Runs a search to its end as one worker would; returns the labels in the order of the starts."""
    order = []
    while (cell := search.ask()) is not None:
        order.append(cell.label)
        quality = (qualities or {}).get(str(cell.config.lr), cell.config.lr % 0.7)
        values: list[float] = []
        outcome = Outcome.FINISHED
        for epoch in range(1, 10):
            values.append(quality * epoch / 9)
            if epoch < 9 and search.report(cell, Reported(epoch, 9, values[-1])) == "stop":
                outcome = Outcome.PRUNED
                break
        leave(cell, values, outcome)
        end(search, cell)
    return order


def rows(search: Search) -> list[tuple[str, str]]:
    """Returns what plan=true lists."""
    assert search.outline.rows is not None
    return search.outline.rows()


def end(search: Search, cell: Cell) -> str:
    """Tells a search that a run has ended, as the controller does."""
    cell.load()
    return search.tell(cell)


SEARCH = [RATES, "optimizer=sgd,adam", "epochs=9", "search=asha", "trials=9"]


def test_a_search_read_from_its_folders_goes_on_as_if_it_had_not_ended(
    context: HydraContext, tmp_path: Path
) -> None:
    whole = search_of(context, tmp_path / "whole", *SEARCH)
    assert whole.open(READY).summary == "9 trials"
    order = play(whole)
    assert len(set(order)) == 9

    again = search_of(context, tmp_path / "whole", *SEARCH)
    assert again.open(READY).summary == "9 trials (9 known)"
    assert again.ask() is None

    few = search_of(context, tmp_path / "parts", *SEARCH[:-1], "trials=4")
    few.open(READY)
    first = few.ask()
    assert first is not None  # chosen, and killed before it began
    parts = search_of(context, tmp_path / "parts", *SEARCH)
    assert parts.open(READY).summary == "9 trials (1 known)"
    assert play(parts) == order


@pytest.mark.parametrize(
    ("typed", "named"),
    [
        (
            ["search=asha", "schedule=cosine"],
            "search.pruner=asha judges runs early, and under schedule=c",
        ),
        (
            ["search=halving", "schedule=constant,one_cycle,linear"],
            "schedule=one_cycle,linear they",
        ),
        (["search=asha", "schedule=constant,plateau"], None),
        (["search=random", "schedule=cosine"], None),
    ],
)
def test_early_stopping_under_a_rate_that_falls_is_warned_of(
    context: HydraContext,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    typed: list[str],
    named: str | None,
) -> None:
    search_of(context, tmp_path, LISTED, "epochs=9", *typed).open(READY)
    assert (named in caplog.text) if named else not caplog.text


def test_a_fixed_setting_that_is_typed_anew_starts_another_search(
    context: HydraContext, tmp_path: Path
) -> None:
    first = search_of(context, tmp_path, *SEARCH)
    first.open(READY)
    play(first)
    assert (
        search_of(context, tmp_path, *SEARCH, "workers=2").open(READY).summary
        == "9 trials (9 known)"
    )
    other = search_of(context, tmp_path, *SEARCH, "data.limit=100")
    assert other.open(READY).summary == "9 trials"
    assert len(set(play(other))) == 9


def test_a_run_killed_at_a_rung_is_judged_before_it_goes_on(
    context: HydraContext, tmp_path: Path
) -> None:
    typed = [LISTED, "epochs=9", "search=halving"]
    search = search_of(context, tmp_path, *typed)
    search.open(READY)
    cells = [cell for _ in range(3) if (cell := search.ask())]
    leave(cells[0], [0.5], "pruned")
    leave(cells[1], [0.9], None)  # killed after its first epoch
    leave(cells[2], [0.1], "pruned")
    again = search_of(context, tmp_path, *typed)
    again.open(READY)
    judged = RunRecord.load(cells[1].paths)
    assert judged is not None
    assert (judged.status, judged.outcome, judged.objective_value) == (
        "KILLED",
        "interrupted",
        0.9,
    )
    following = again.ask()
    assert following is not None
    assert following.folder == cells[1].folder

    leave(cells[1], [0.2], None)
    again = search_of(context, tmp_path, *typed)
    again.open(READY)
    judged = RunRecord.load(cells[1].paths)
    assert judged is not None
    assert (judged.status, judged.outcome, judged.objective_value) == ("FINISHED", "pruned", 0.2)
    following = again.ask()
    assert following is not None
    assert following.folder == cells[0].folder


def test_runs_of_a_grid_are_taken_as_they_are(context: HydraContext, tmp_path: Path) -> None:
    typed = [LISTED, "epochs=9", "search=halving"]
    search = search_of(context, tmp_path, *typed)
    search.open(READY)
    trained = search.outline.samples[-1]
    leave(trained, [0.01] * 9, "finished")
    order = play(search)
    assert order[:2] == ["0 lr=1", "1 lr=0.1"]
    # The grid's run is judged with them, and the best of the rung goes on.
    assert order[2:] == ["0 lr=1"]


def test_a_search_that_finds_nothing_more_still_trains_its_best_whole(
    context: HydraContext, tmp_path: Path
) -> None:
    widths = "batch_size=int(interval(8,10))"
    search = search_of(context, tmp_path, widths, "epochs=9", "search=asha", "trials=20")
    plan = search.open(READY)
    order = play(search)
    assert len(set(order)) == 3
    outcomes = [record.outcome for c in plan.cells if (record := c.load())]
    assert outcomes.count(Outcome.FINISHED) >= 1


def test_a_trial_that_is_tried_again_counts_as_running(
    context: HydraContext, tmp_path: Path
) -> None:
    search = search_of(context, tmp_path, LISTED, "epochs=9", "search=halving")
    search.open(READY)
    cell = search.ask()
    assert cell is not None
    leave(cell, [0.5, 0.6], "failed")
    end(search, cell)  # the pool starts it again, from the checkpoint of its first epoch
    assert search.report(cell, Reported(1, 9, 0.5)) == "stop"
    leave(cell, [0.5], "pruned")
    end(search, cell)
    assert json.loads(cell.paths.trial.read_text())["stopped"] == 1


def test_what_is_excluded_is_neither_checked_nor_proposed(
    context: HydraContext, tmp_path: Path
) -> None:
    typed = ["epochs=3,10", "schedule.warmup_epochs=0,5", "search.sampler=random"]
    excluded = "exclude=schedule.warmup_epochs at least epochs"
    search = search_of(context, tmp_path, *typed, excluded)
    assert len(search.outline.samples) == 3
    assert search.outline.total == 3
    search.open(READY)
    assert len(play(search)) == 3


def test_paired_axes_of_which_one_does_not_apply(context: HydraContext, tmp_path: Path) -> None:
    typed = ["optimizer=sgd,adam", "lr=0.1,0.01", "optimizer.momentum=0,0.9"]
    for sampler in ("grid", "tpe"):
        pairs = ["zip=[lr,optimizer.momentum]", f"search.sampler={sampler}", "epochs=2"]
        search = search_of(context, tmp_path, f"name={sampler}", *typed, *pairs)
        search.open(READY)
        assert len(set(play(search))) == 4
        again = search_of(context, tmp_path, f"name={sampler}", *typed, *pairs)
        assert again.open(READY).summary == "4 trials (4 known)"


def test_the_same_number_in_other_words_is_no_other_trial(
    context: HydraContext, tmp_path: Path
) -> None:
    search = search_of(context, tmp_path, "lr=0.1,1e-1,0.10", "epochs=2")
    search.open(READY)
    assert len(play(search)) == 1


def test_each_optimizer_has_a_whole_run_within_its_kind(
    context: HydraContext, tmp_path: Path
) -> None:
    typed = [LISTED, "optimizer=sgd,adam,adamw", "epochs=9", "search=halving"]
    search = search_of(context, tmp_path, *typed, "search.within=[optimizer]")
    plan = search.open(READY)
    play(search)
    whole = [c for c in plan.cells if (r := c.load()) and r.outcome == "finished"]
    assert sorted(c.overrides[-1] if "optimizer" in c.overrides[-1] else c.name for c in whole)
    kinds = {c.config.optimizer.target for c in whole}
    assert kinds == {"torch.optim.SGD", "torch.optim.Adam", "torch.optim.AdamW"}


def test_reports_between_epochs_are_counted_in_steps(context: HydraContext, tmp_path: Path) -> None:
    typed = [LISTED, "epochs=1", "report_every=10", "search=halving"]
    search = search_of(context, tmp_path, *typed)
    search.open(READY)
    cell = search.ask()
    assert cell is not None
    assert search.report(cell, Reported(1, 9, 0.5)) == "stop"
    leave(cell, [0.5], "pruned")
    assert end(search, cell) == "rung 1, report 1 of 9: number 1 of 1 so far"
    again = search_of(context, tmp_path, *typed)
    assert again.open(READY).summary == "3 trials (1 known)"


def test_it_learns_from_an_earlier_sweep(context: HydraContext, tmp_path: Path) -> None:
    first = search_of(context, tmp_path, *SEARCH[:-2], "trials=4")
    first.open(READY)
    play(first)
    learned = search_of(context, tmp_path, *SEARCH, "name=t", "search.learn_from=[s]")
    assert learned.open(READY).summary == "9 trials, learning from 4 earlier runs,"


def test_without_answers_nothing_is_stopped(context: HydraContext, tmp_path: Path) -> None:
    search = search_of(context, tmp_path, *SEARCH, "workers=3")
    plan = search.open(Preflight({}, hears=False))
    assert len(play(search)) == 9
    assert {record.outcome for c in plan.cells if (record := c.load())} == {"finished"}


def test_its_plan_lists_what_there_is_and_what_is_to_come(
    context: HydraContext, tmp_path: Path
) -> None:
    search = search_of(context, tmp_path, *SEARCH)
    assert rows(search) == [("new", "lr=0.0001 to 1 optimizer=sgd|adam, chosen by tpe")] * 9
    listed = search_of(context, tmp_path, LISTED, "epochs=9", "search=halving", "trials=2")
    assert [label for _, label in rows(listed)] == ["lr=1", "lr=0.1"]
    listed.open(READY)
    play(listed)
    states = [
        s for s, _ in rows(search_of(context, tmp_path, LISTED, "epochs=9", "search=halving"))
    ]
    assert sorted(states) == ["done", "new", "stopped early"]


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["seed=0,1", LISTED], "A search over seed would pick the luckiest seed"),
        (
            ["objective=val_loss", "loss=mse,cross_entropy", LISTED],
            "objective=val_loss cannot choose between 2 losses",
        ),
        (["objective=val_loss,val_accuracy", LISTED], "A search has one objective; type one"),
        (
            [RATES, "search=halving"],
            "lr has no end of values, and search.sampler=grid tries a list",
        ),
        ([LISTED, "trials=10,20"], "trials=10,20 has several values, and a sweep has one trials"),
        ([LISTED, "search=asha,tpe"], "search=asha,tpe has several values"),
        ([LISTED, "search.points=[{lr: 2}]"], "search.points has a point with lr=2"),
        ([LISTED, "search.within=[optimzer]"], "search.within=optimzer is no axis of this search"),
        ([LISTED, "search.learn_from=[none]"], "There is no sweep 'none'"),
        ([LISTED, "search.sampler=tp"], "search.sampler=tp is unknown. Did you mean 'tpe'?"),
        ([LISTED, "search.factor=1"], "search.factor=1 must be 2 or more"),
        ([LISTED, "search.first=0"], "search.first=0 must be 1 or more"),
        ([LISTED, "trials=0"], "trials=0 must be auto, or 1 or more runs"),
        ([LISTED, "trials=many"], "trials=many must be auto, or 1 or more runs"),
        ([LISTED, "report_every=0"], "report_every=0 must be 1 or more"),
    ],
)
def test_bad_input_is_refused(
    context: HydraContext, tmp_path: Path, typed: list[str], message: str
) -> None:
    with pytest.raises(BadInputError, match=message):
        search_of(context, tmp_path, *typed)
    assert not list(tmp_path.glob("sweeps"))


def test_a_damaged_trial_is_named(context: HydraContext, tmp_path: Path) -> None:
    search = search_of(context, tmp_path, *SEARCH)
    search.open(READY)
    cell = search.ask()
    assert cell is not None
    cell.paths.trial.write_text("{")
    with pytest.raises(BadInputError, match="is damaged"):
        search_of(context, tmp_path, *SEARCH).open(READY)
    cell.paths.trial.write_text('{"format": 99}')
    with pytest.raises(BadInputError, match="has another format; this version reads 1"):
        search_of(context, tmp_path, *SEARCH).open(READY)
