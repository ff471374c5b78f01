"""Words and numbers of a comparison, on records whose answer is known."""

import dataclasses
import itertools
import json
import math
import random
import re
from collections.abc import Iterator, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweeps.analysis import run_table as table
from sweeps.analysis import tables as listing
from sweeps.analysis.answer import Answer, answers
from sweeps.analysis.axes import find_axes, in_order
from sweeps.analysis.figures import figures
from sweeps.analysis.html import html_report
from sweeps.analysis.measure_figures import pictures
from sweeps.analysis.measures import measure
from sweeps.analysis.ranking import Comparison, compare, rank
from sweeps.analysis.training_time import training_seconds
from sweeps.runs.metrics import Point
from sweeps.runs.outcome import Outcome
from sweeps.runs.paths import RunPaths
from sweeps.runs.record import RunRecord
from sweeps.runs.results import Collection, RunResult, SweepResult, result_of

DIGITS = {"name": "digits", "digest": "abc", "train": "1294", "val": "144"}


class Curves:
    def __init__(self) -> None:
        self.points: dict[tuple[str, str], list[Point]] = {}

    def load(self, keys: Sequence[str], metric: str) -> dict[str, list[Point]]:
        return {key: self.points.get((key, metric), []) for key in keys}


CURVES = Curves()


def run(value: float | None = None, outcome: str = "finished", **given: Any) -> RunResult:
    own = {field.name for field in dataclasses.fields(RunResult)}
    fields = {key: given.pop(key) for key in list(given) if key in own}
    chosen = {key: str(value) for key, value in given.items()}
    typed = tuple(f"{key}={value}" for key, value in chosen.items())
    key = "-".join([*typed, str(fields.get("objective", "")), str(fields.get("data", ""))])
    base = {
        "key": key,
        "identity": key,
        "name": ",".join(sorted(typed)),
        "objective": "val_accuracy",
        "outcome": Outcome(outcome),
        "started_ms": 0,
        "history": CURVES,
        "sweep": "study",
        "settings": {"model": "mlp", **chosen},
        "value": value,
        "best_epoch": 4,
        "epochs_done": 4,
        "metrics": {} if value is None else {"test_accuracy": value - 0.01},
        "seconds": 2.0,
        "data": DIGITS,
        "overrides": typed,
    }
    return RunResult(**(base | fields))  # type: ignore[arg-type]


def comparison(runs: Sequence[RunResult], **kwargs: Any) -> Comparison:
    return compare(Collection(tuple(runs), **kwargs))


def answer(runs: Sequence[RunResult], **kwargs: Any) -> Answer:
    return answers(comparison(runs, **kwargs))[0]


def seeds(values: Sequence[float], **given: Any) -> Iterator[RunResult]:
    for seed, value in enumerate(values):
        yield run(value, seed=seed, **given)


def grid() -> list[RunResult]:
    """sgd is best at 0.1 on the upper edge, adam inside its grid; 1.0 diverges for adam alone."""
    return [
        *seeds([0.50, 0.52, 0.54], optimizer="sgd", lr=0.01),
        *seeds([0.70, 0.71, 0.72], optimizer="sgd", lr=0.1),
        *seeds([0.90, 0.91, 0.92], optimizer="adam", lr=0.001),
        *seeds([0.95, 0.96, 0.97], optimizer="adam", lr=0.01),
        *seeds([0.94, 0.96, 0.95], optimizer="adam", lr=0.1),
        run(0.99, optimizer="adam", lr=1.0, seed=0),
        run(None, "diverged", optimizer="adam", lr=1.0, seed=1),
        run(None, "diverged", optimizer="adam", lr=1.0, seed=2),
    ]


def test_the_answer_of_a_grid() -> None:
    found = answer(grid())
    assert found.lines == (
        (
            "Best: optimizer=adam lr=0.01, val_accuracy 0.9600 ± 0.0248 (mean and 95 % interval of"
            " 3 seeds), optimistic as the best of 5; to quote: test_accuracy 0.9500 ± 0.0248."
        ),
        (
            "A tie: 1 of the 4 others cannot be told from it (step-down range test of 5 settings"
            " over 3 seeds). The nearest, optimizer=adam lr=0.1, is 0.0100 behind (p = 0.24)."
        ),
        (
            "Unequal budgets: optimizer=adam 4, optimizer=sgd 2 trials. More trials find a better best"
            " by chance alone."
        ),
        (
            "optimizer=adam: best at lr=0.01 (0.9600 ± 0.0248); tied from 0.01 to 0.1, a factor of"
            " 10; lr=1.0 diverged (2 of 3 runs): too large."
        ),
        (
            "optimizer=sgd: best at lr=0.1 (0.7100 ± 0.0248); clearly behind the best (p < 0.001);"
            " every other lr is clearly behind it."
        ),
        "On the edge of the grid: optimizer=sgd lr=0.1 is the largest tried: add 1,10.",
    )
    assert [command.line for command in found.commands] == [
        "python -m sweeps.train -m name=study optimizer=sgd lr=1,10 seed=0,1,2"
    ]


def test_the_luckiest_seed_does_not_win_and_diverged_settings_come_last() -> None:
    part = comparison(grid()).parts[0]
    assert part.axes == ("optimizer", "lr")
    assert [s.label for s in part.settings] == [
        "optimizer=adam lr=0.01",
        "optimizer=adam lr=0.1",
        "optimizer=adam lr=0.001",
        "optimizer=sgd lr=0.1",
        "optimizer=sgd lr=0.01",
        "optimizer=adam lr=1.0",
    ]
    assert listing.places(part) == ["1", "2", "3", "4", "5", "-"]
    assert listing.outcomes(part.settings[-1]) == "2 diverged, 1 finished"


def search() -> list[RunResult]:
    """A search kept three of six to the end; one that it stopped had the best value of all."""
    stopped = {"epochs": 27, "epochs_done": 3}
    return [
        run(0.90, lr=0.1, seed=0, epochs=27),
        run(0.85, lr=0.03, seed=0, epochs=27),
        run(0.80, lr=0.01, seed=0, epochs=27),
        run(0.95, "pruned", lr=1.0, seed=0, **stopped),
        run(0.60, "pruned", lr=0.003, seed=0, **stopped),
        run(0.50, "pruned", lr=0.001, seed=0, **(stopped | {"epochs_done": 1})),
    ]


def test_half_a_run_is_never_ranked_against_a_whole_one() -> None:
    found = comparison(search())
    part = found.parts[0]
    assert [s.label for s in part.settings] == [
        *("lr=0.1", "lr=0.03", "lr=0.01"),
        *("lr=1.0", "lr=0.003", "lr=0.001"),
    ]
    assert listing.places(part) == ["1", "2", "3", "-", "-", "-"]
    assert [listing.outcomes(s) for s in part.settings[2:]] == [
        "finished",
        *["pruned at epoch 3 of 27"] * 2,
        "pruned at epoch 1 of 27",
    ]
    lines = answers(found)[0].lines
    assert lines[0].startswith("Best: lr=0.1, val_accuracy 0.9000 (1 seed)")
    assert lines[2] == "3 of 6 were stopped early by the search and are not ranked."
    assert lines[3:] == ("Best at lr=0.1 (0.9000).",)  # 1.0 was tried: 0.1 is no edge
    row = listing.as_csv(found).splitlines()[4]
    assert row.startswith("1,,1.0,val_accuracy,0.95")
    assert row.endswith(",0,0,1,0,0")


def test_what_was_stopped_early_is_marked_in_the_figures() -> None:
    runs = [
        *search(),
        *(
            dataclasses.replace(
                r,
                key=f"{r.key}-adam",
                identity=f"{r.key}-adam",
                settings={**r.settings, "optimizer": "adam"},
            )
            for r in search()[1:]
        ),
    ]
    objective, heat_map = figures(comparison(runs).parts[0])
    assert "stopped early, its best so far" in objective.svg
    assert heat_map.svg.count(">pruned</text>") == 6
    assert "0.950" not in heat_map.svg
    assert "'pruned' where it was stopped early" in heat_map.caption
    plain = figures(comparison(grid()).parts[0])
    assert "stopped early" not in "".join(f.svg + f.caption for f in plain)


def test_half_runs_alone_have_no_best() -> None:
    found = comparison(search()[3:])
    assert found.parts[0].best is None
    assert answers(found)[0].lines == ("No run that could be ranked came to its end: 3 pruned.",)
    assert answers(comparison([search()[0], search()[3]]))[0].lines[1] == (
        "No other setting was trained to its end, so there is nothing to compare it with."
    )


def test_a_setting_of_which_one_seed_was_stopped_comes_after_all_whole_ones() -> None:
    stopped = run(0.5, "pruned", lr=1.0, seed=1, epochs=27, epochs_done=3)
    part = comparison([run(0.95, lr=1.0, seed=0), stopped, run(0.9, lr=0.1, seed=0)]).parts[0]
    assert [s.label for s in part.settings] == ["lr=0.1", "lr=1.0"]
    assert listing.outcomes(part.settings[1]) == "1 finished, 1 pruned at epoch 3 of 27"


def test_a_rate_that_was_stopped_early_is_not_called_too_small() -> None:
    curves = Curves()
    runs = [
        dataclasses.replace(one, history=curves)
        for one in [
            *seeds([0.5], lr=0.001),
            run(0.4, "pruned", lr=0.001, seed=1),
            *seeds([0.9, 0.9], lr=0.01),
        ]
    ]
    for one in runs:
        curves.points[one.key, "val_loss"] = [Point("val_loss", i, 1 - i / 10, i) for i in range(3)]
    said = " ".join(answer(runs).lines)
    assert "of the best itself val_loss still fell" in said
    assert "too small" not in said


def test_equal_results_say_that_nothing_makes_a_difference() -> None:
    runs = [r for rate in (0.001, 0.01, 0.1) for r in seeds([0.5, 0.5, 0.5], lr=rate)]
    sweeps = (SweepResult("study", "python -m sweeps.train -m lr=0.1,0.01,0.001", 9),)
    found = answer(runs, sweeps=sweeps)
    assert found.lines == (
        (
            "All 3 settings that finished are equal: val_accuracy 0.5000 ± 0 (mean and 95 %"
            " interval of 3 seeds). What was varied makes no difference."
        ),
        "lr makes no difference from 0.001 to 0.1 (0.5000 ± 0).",
    )
    assert found.commands == ()


def test_values_drawn_from_an_interval_have_no_next_step() -> None:
    runs = [run(0.9 - n / 10, optimizer="sgd", lr=rate) for n, rate in enumerate((0.68, 0.054))]
    listed = SweepResult("study", "python -m sweeps.train -m lr=0.68,0.054", 2)
    drawn = SweepResult("study", "python -m sweeps.train -m 'lr=interval(0.01, 1)'", 2)
    assert any("On the edge" in line for line in answer(runs, sweeps=(listed,)).lines)
    assert not any("On the edge" in line for line in answer(runs, sweeps=(drawn,)).lines)


def test_a_command_beyond_the_edge_knows_where_the_configs_are() -> None:
    runs = [run(0.9, lr=0.1), run(0.5, lr=0.01)]
    typed = "python -m sweeps.train -m --config-dir mine name=study lr=0.1,0.01"
    found = answer(runs, sweeps=(SweepResult("study", typed, 2),))
    beyond = next(c.line for c in found.commands if c.purpose.startswith("beyond"))
    assert beyond.startswith("python -m sweeps.train -m --config-dir mine name=study ")


def test_a_rate_that_makes_no_difference_for_one_optimizer_has_no_edge_there() -> None:
    runs = [
        *(run(0.5, optimizer="sgd", lr=rate, seed=0) for rate in (0.01, 0.1)),
        run(None, "diverged", optimizer="sgd", lr=1.0, seed=0),
        run(0.9, optimizer="adam", lr=0.1, seed=0),
        run(0.8, optimizer="adam", lr=0.01, seed=0),
    ]
    assert answer(runs).lines[3:] == (
        "optimizer=adam: best at lr=0.1 (0.9000).",
        (
            "optimizer=sgd: lr is equal in one seed from 0.01 to 0.1 (0.5000);"
            " lr=1.0 diverged (1 of 1 runs): too large."
        ),
        "On the edge of the grid: optimizer=adam lr=0.1 is the largest tried: add 1,10.",
    )


def test_a_clear_winner() -> None:
    found = answer(
        [
            *seeds([0.90, 0.91, 0.93], optimizer="adam"),
            *seeds([0.80, 0.82, 0.82], optimizer="sgd"),
        ]
    )
    assert found.lines[1] == (
        "Clearly better than optimizer=sgd: p = 0.0036 or less"
        " (step-down range test of 2 settings over 3 seeds)."
    )


def test_one_seed_says_that_nothing_can_be_said() -> None:
    command = "python -m sweeps.train -m lr=0.1,0.01 name=study"
    sweeps = (SweepResult("study", command, 2),)
    found = answer([run(0.9, lr=0.1, seed=0), run(0.8, lr=0.01, seed=0)], sweeps=sweeps)
    assert found.lines[0] == (
        "Best: lr=0.1, val_accuracy 0.9000 (1 seed), optimistic as the best of 2;"
        " to quote: test_accuracy 0.8900."
    )
    assert "cannot be said: with one seed nothing tells a difference of 0.1000" in found.lines[1]
    assert found.commands[-1].line == f"{command} seed=0,1,2,3,4"


def test_the_best_of_a_search_is_repeated_over_seeds_without_the_search() -> None:
    command = "python -m sweeps.train -m hydra/sweeper=search lr=0.1,0.01 name=study"
    runs = [run(0.9, lr=0.1, seed=0), run(0.8, lr=0.01, seed=0)]
    assert runs[0].sweep == "study"
    found = answer(runs, sweeps=(SweepResult("study", command, 2),))
    typed = " ".join(o for o in runs[0].overrides if not o.startswith("seed="))
    expected = f"python -m sweeps.train -m name=study {typed} seed=0,1,2,3,4"
    assert found.commands[-1].line == expected


@pytest.mark.parametrize(
    ("tried", "best", "added"),
    [
        (["0.3", "0.1", "0.03", "0.01"], "0.01", "0.003,0.001"),
        (["0.3", "0.1", "0.03", "0.01"], "0.3", "1,3"),
        (["0.1", "0.01"], "0.01", "0.001,0.0001"),
        (["1e-05", "1e-06"], "1e-06", "1e-07,1e-08"),
    ],
)
def test_what_to_add_beyond_the_edge(tried: list[str], best: str, added: str) -> None:
    runs = [
        run(value + (0.5 if rate == best else 0.0), lr=rate, seed=seed)
        for rate in tried
        for seed, value in enumerate([0.1, 0.11])
    ]
    found = answer(runs)
    assert f"add {added}." in found.lines[-1]
    assert f"lr={added} seed=0,1" in found.commands[0].line


def test_an_edge_of_whole_numbers_and_of_zero() -> None:
    batches = [run(0.9 - n / 1000, batch_size=n, seed=s) for n in (16, 32, 64) for s in (0, 1)]
    assert "batch_size=16 is the smallest tried: add 8,4." in answer(batches).lines[-1]
    momenta = [run(0.9 - m, momentum=m, seed=s) for m in (0.0, 0.5) for s in (0, 1)]
    assert not any("smallest tried" in line for line in answer(momenta).lines)
    assert not any("momentum=" in command.line for command in answer(momenta).commands)


def test_a_rate_that_still_improves_is_too_small() -> None:
    runs = [
        *seeds([0.5, 0.5], lr=0.001),
        *seeds([0.9, 0.91], lr=0.01),
        *seeds([0.8, 0.8], lr=0.1),
    ]
    curves = Curves()
    for one in runs:
        last = 0.5 if one.settings["lr"] == "0.001" else 0.9
        losses = [1.0, 0.8, last]
        curves.points[one.key, "val_loss"] = [
            Point("val_loss", i, v, i) for i, v in enumerate(losses)
        ]
    found = answer([dataclasses.replace(one, history=curves) for one in runs])
    said = "lr=0.001: val_loss still fell by 1 % or more at the end: too small, or train longer"
    assert said in found.lines[2]
    assert "the best itself" not in found.lines[2]


def test_runs_of_other_data_or_objective_are_not_ranked_together() -> None:
    runs = [
        *seeds([0.9, 0.9], lr=0.1),
        run(0.99, lr=0.1, seed=0, data={**DIGITS, "name": "mnist", "digest": "def"}),
        run(0.1, lr=0.1, seed=0, objective="val_loss"),
    ]
    found = comparison(runs)
    assert [len(part.runs) for part in found.parts] == [2, 1, 1]
    assert found.notices[0].startswith("Not ranked together, because they differ in data and obj")
    assert answers(found)[0].about == "name digits, objective val_accuracy"


def test_a_run_that_failed_before_its_data_was_read_stands_with_the_others() -> None:
    runs = [
        *seeds([0.9, 0.9], lr=0.1),
        run(0.99, lr=0.1, seed=0, data={**DIGITS, "name": "mnist"}),
        run(None, "failed", lr=0.2, seed=0, data={}, error="no such file"),
    ]
    found = comparison(runs)
    assert [len(part.runs) for part in found.parts] == [3, 1]
    assert answers(found)[0].lines[-1].startswith("1 of 3 runs failed")


def test_losses_of_two_kinds_are_not_ranked_by_their_value() -> None:
    losses = [run(0.5, loss=kind, objective="val_loss", seed=0) for kind in ("l1", "mse")]
    assert len(comparison(losses).parts) == 2
    accuracies = [run(0.5, loss=kind, seed=0) for kind in ("l1", "mse")]
    assert comparison(accuracies).parts[0].axes == ("loss",)


def test_less_is_better_for_a_loss() -> None:
    best = comparison([run(v, lr=v, objective="val_loss") for v in (0.3, 0.1, 0.2)]).parts[0].best
    assert best is not None
    assert best.label == "lr=0.1"


def test_unfinished_sweeps_say_so() -> None:
    sweeps = (SweepResult("study", "", 4),)
    found = comparison(
        [run(0.9, lr=0.1), run(0.5, "running", lr=0.01), run(0.2, "interrupted", lr=0.001)],
        sweeps=sweeps,
    )
    assert found.notices == (
        "Still running: 1 of 3 runs; this is what there is so far.",
        "Interrupted: 1 run; the same command continues.",
        "study: 1 run of 4 not started yet.",
    )
    assert found.parts[0].settings[0].label == "lr=0.1"


def test_one_cell_no_finished_cell_and_all_diverged() -> None:
    assert "There is one setting only" in answer([run(0.9, lr=0.1)]).lines[1]
    failed = answer([run(None, "failed", lr=0.1, error="RuntimeError: boom")])
    assert failed.lines[0] == "No run has a val_accuracy to rank by yet: 1 failed."
    assert failed.lines[1] == "1 of 1 runs failed, such as lr=0.1: RuntimeError: boom"
    diverged = answer([run(None, "diverged", lr=rate) for rate in (1, 10)])
    assert "Every rate was too large" in diverged.lines[0]
    assert figures(comparison([run(None, "failed", lr=0.1)]).parts[0]) == []
    assert answers(comparison([])) == []


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1.797e308, None])
def test_a_value_that_is_not_finite_never_wins(value: float | None) -> None:
    found = comparison([run(0.5, lr=0.1), run(value, lr=0.01)])
    best = found.parts[0].best
    assert best is not None
    assert best.label == "lr=0.1"
    json.loads(listing.as_json(found))
    assert len(figures(found.parts[0])) == 1


def test_the_same_experiment_counts_once() -> None:
    runs = [run(0.5, lr=0.1, key="a", identity="i"), run(0.5, lr=0.1, key="b", identity="i")]
    found = comparison(runs)
    assert len(found.runs) == 1
    assert found.notices == ("1 run repeat an experiment that is counted already: left out.",)


def test_axes_are_what_varies_by_itself() -> None:
    runs = [
        run(
            0.5,
            settings={
                "optimizer": optimizer,
                "optimizer.lr": lr,
                "lr": lr,
                "seed": seed,
                "epochs": "3",
                **({"optimizer.momentum": momentum} if optimizer == "sgd" else {}),
            },
            overrides=(),
            identity=f"{optimizer}{lr}{seed}{momentum}",
        )
        for optimizer, lr, seed, momentum in itertools.product(
            ("sgd", "adam"), ("0.1", "0.01"), "01", ("0.0", "0.9")
        )
    ]
    assert find_axes(runs) == ("lr", "optimizer", "optimizer.momentum")
    assert in_order(["10", "9", "b", "a", "1e-3"]) == ["1e-3", "9", "10", "a", "b"]


@settings(max_examples=5, deadline=None)
@given(st.randoms(use_true_random=False))
def test_the_order_of_the_runs_changes_nothing(chance: random.Random) -> None:
    runs = grid()
    expected = listing.as_json(comparison(runs))
    chance.shuffle(runs)
    assert listing.as_json(comparison(runs)) == expected


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["0.1", "0.01", "x"]),
            st.sampled_from("012"),
            st.one_of(st.none(), st.floats()),
            st.sampled_from(["finished", "diverged", "pruned", "failed", "running", "interrupted"]),
        ),
        max_size=12,
    ),
    st.randoms(use_true_random=False),
)
def test_any_runs_can_be_compared(rows: list[Any], chance: random.Random) -> None:
    runs = [
        run(value, outcome, lr=rate, seed=seed, key=str(i), identity="")
        for i, (rate, seed, value, outcome) in enumerate(rows)
    ]
    first = listing.terminal(comparison(runs))
    chance.shuffle(runs)
    assert listing.terminal(comparison(runs)) == first
    json.loads(listing.as_json(comparison(runs)))


class Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs


def report(found: Comparison) -> str:
    measured = measure(found)
    drawn = pictures(found, measured)
    return html_report(found, drawn, measures=measured, title="study", beside=Path.cwd())


def test_the_report_needs_nothing_else() -> None:
    content = report(comparison(grid()))
    assert content.index("Best: optimizer=adam lr=0.01") < content.index("<svg")
    parsed = Text()
    parsed.feed(content)
    assert parsed.tags.count("svg") == 3
    assert not {"link", "img", "iframe"} & set(parsed.tags)
    loaded = [v for k, v in parsed.attributes if k in ("src", "xlink:href", "href") and v]
    assert [value for value in loaded if not value.startswith(("#", "data:"))] == []
    assert not re.search(r"url\((?!#)", content)


def test_hostile_names_stay_text() -> None:
    evil = "</title></svg><script>alert(1)</script>$\\frac{\x1b[31m"
    runs = [*seeds([0.5, 0.6], optimizer=evil, lr=0.1), *seeds([0.5, 0.7], optimizer="b", lr=0.01)]
    runs.append(run(None, "failed", optimizer="b", lr=1, error=evil, name=evil))
    found = comparison(runs, sweeps=(SweepResult(evil, evil, 5),), notices=(evil,))
    plain = Text()
    plain.feed(report(comparison(grid())))
    parsed = Text()
    content = report(found)
    parsed.feed(content)
    assert parsed.tags.count("script") == plain.tags.count("script") == 1
    assert "<script>alert" not in content
    assert "\x1b" not in listing.terminal(found)
    assert "<script>" not in re.sub(r"```.*?```", "", listing.markdown(found), flags=re.DOTALL)


def test_more_axes_bring_parallel_coordinates_and_importance() -> None:
    runs = [
        run(0.5 + lr + batch / 1000, optimizer=optimizer, lr=lr, batch_size=batch, seed=0)
        for optimizer in ("sgd", "adam")
        for lr in (0.1, 0.01, 0.001)
        for batch in (32, 64)
    ]
    names = [figure.name for figure in figures(comparison(runs).parts[0])]
    assert names == ["objective", "heat_map", "parallel", "importance"]


def test_a_pause_is_not_training() -> None:
    def at(*seconds: float) -> list[Point]:
        return [Point("val_loss", step, 0.5, round(s * 1000)) for step, s in enumerate(seconds)]

    def clock(points: list[Point], **given: Any) -> list[float]:
        return training_seconds(run(0.5, **given), points)

    assert clock(at(10, 20, 30, 40), seconds=41.0) == [10, 20, 30, 40]
    paused_for_an_hour = at(10, 20, 3635, 3645)  # an epoch was half done when it stopped
    assert clock(paused_for_an_hour, seconds=45.0) == [10, 20, 35, 45]
    paused_twice = at(10, 1020, 1030, 3040)
    assert clock(paused_twice, seconds=40.0) == [10, 20, 30, 40]
    lost_its_count = at(10, 20, 3630, 3640)  # killed: the first part was never counted
    assert clock(lost_its_count, seconds=20.0) == [10, 20, 30, 40]
    slow_to_start = at(60, 70, 80)  # compiling is training time
    assert clock(slow_to_start, seconds=80.5) == [60, 70, 80]
    assert clock(at(10, 3610), outcome=Outcome.RUNNING, seconds=10.0) == [10, 3610]


def test_csv_has_full_precision() -> None:
    lines = listing.as_csv(comparison(grid())).splitlines()
    assert len(lines) == 7
    assert lines[0].startswith("part,rank,optimizer,lr,objective,mean,low,high,n,test_mean,p")
    assert lines[1].startswith("1,1,adam,0.01,val_accuracy,0.96,0.93515")


def lucky() -> list[RunResult]:
    """The luckiest run of all has a setting of which another seed diverged."""
    return [
        *seeds([0.99, 0.97, 0.95], lr=0.1),
        *seeds([0.90, 0.92, 0.94], lr=0.01),
        *seeds([0.999, 0.60], lr=1.0),
        run(0.98, "diverged", lr=1.0, seed=2),
    ]


def ranked(runs: Sequence[RunResult]) -> Comparison:
    return rank(Collection(tuple(runs)))


def places(found: Comparison) -> list[tuple[str, str]]:
    return [(row.place, row.label) for block in table.blocks(found) for row in block.rows]


def test_the_table_of_runs_is_in_the_order_of_the_ranking_of_settings() -> None:
    assert places(ranked(lucky())) == [
        *(("1", f"seed={seed} lr=0.1") for seed in range(3)),
        *(("2", f"seed={seed} lr=0.01") for seed in range(3)),
        *(("-", f"seed={seed} lr=1.0") for seed in range(2)),
        ("-", "lr=1.0 seed=2"),  # as it was typed
    ]
    part = ranked(lucky()).parts[0]
    assert [s.label for s in part.settings] == ["lr=0.1", "lr=0.01", "lr=1.0"]


def test_the_run_that_stands_for_a_setting_is_the_nearest_to_its_mean() -> None:
    ((part, best, chosen),) = ranked(lucky()).winners
    assert (part.objective, best.label, chosen.name) == ("val_accuracy", "lr=0.1", "lr=0.1,seed=1")
    assert ranked(lucky()).best_value("val_accuracy") == pytest.approx(0.97)
    assert ranked(lucky()).best_value("val_loss") is None


@pytest.mark.parametrize(
    ("values", "seed"),
    [
        ([0.96, 0.98], "0"),  # equally near, but for the last bit of a sum
        ([0.5, 0.5, 0.5], "0"),
        ([0.1, 0.9, 0.6], "2"),
        ([math.nan, 0.9, 0.7], "1"),
    ],
)
def test_of_equally_near_runs_the_lowest_seed_stands(values: list[float], seed: str) -> None:
    runs = list(seeds(values, lr=0.1))
    for in_some_order in (runs, runs[::-1]):
        ((_, _, chosen),) = ranked(in_some_order).winners
        assert chosen.settings["seed"] == seed


def test_a_seed_that_failed_does_not_take_the_place_of_its_setting() -> None:
    runs = [*seeds([0.9, 0.9], lr=0.1), run(None, "failed", lr=0.1, seed=2), run(0.8, lr=1, seed=0)]
    assert [place for place, _ in places(ranked(runs))] == ["1", "1", "1", "2"]


def test_what_has_not_finished_has_no_winner() -> None:
    runs = [run(0.9, "interrupted", lr=0.1), run(0.8, "pruned", lr=1), run(None, "failed", lr=2)]
    assert ranked(runs).winners == []
    assert ranked([]).winners == []


def test_tables_of_runs_keep_losses_of_two_kinds_apart() -> None:
    runs = [
        *(run(v, loss="l1", lr=v, objective="val_loss", seed=0) for v in (0.5, 0.4, 0.3)),
        *(run(v, loss="mse", lr=v, objective="val_loss", seed=0) for v in (0.1, 0.2)),
    ]
    found = ranked(runs)
    assert [block.about for block in table.blocks(found)] == ["loss l1", "loss mse"]
    assert places(found) == [
        *(("1", "loss=l1 lr=0.3"), ("2", "loss=l1 lr=0.4"), ("3", "loss=l1 lr=0.5")),
        *(("1", "loss=mse lr=0.1"), ("2", "loss=mse lr=0.2")),
    ]
    lines = table.terminal_table(found).splitlines()
    assert (lines[0], lines[5:7]) == ("loss l1:", ["", "loss mse:"])
    assert "**loss l1**" in table.markdown_table(found)
    assert [line.split(",")[0] for line in table.csv_table(found).splitlines()] == [
        *("rank", "1", "2", "3", "1", "2")
    ]
    # The largest part's, not the smallest number of all.
    assert found.best_value("val_loss") == 0.3


def test_some_runs_of_a_sweep_keep_their_places_among_all() -> None:
    runs = [dataclasses.replace(one, folder=Path(one.name)) for one in lucky()]
    shown = table.terminal_table(ranked(runs), {Path("lr=1.0,seed=0"), Path("lr=0.01,seed=1")})
    assert [line.split()[:3] for line in shown.splitlines()[1:]] == [
        ["2", "seed=1", "lr=0.01"],
        ["-", "seed=0", "lr=1.0"],
    ]


def test_a_run_that_repeats_another_is_shown_without_a_place() -> None:
    twin = run(0.97, lr="1e-1", seed=0, identity=lucky()[0].identity, key="z")
    found = places(ranked([*lucky(), twin]))
    assert len(found) == 10
    assert found[-1] == ("-", "seed=0 lr=0.1")  # the later of the two is the one that counts
    assert sum("lr=1e-1" in label for _, label in found) == 1


def test_the_table_of_a_sweep_shows_whole_runs_only() -> None:
    def record(lr: float, outcome: str, value: float, epochs_done: int) -> RunRecord:
        found = RunRecord(f"{lr}", f"{lr}", f"lr={lr}", "FINISHED", "val_accuracy", 0)
        found.outcome, found.objective_value, found.best_epoch = (
            Outcome(outcome),
            value,
            epochs_done,
        )
        found.epochs_done, found.epochs, found.overrides = epochs_done, 9, [f"lr={lr}"]
        found.params = {"lr": lr}
        return found

    rows = [(0.1, "diverged", 0.9, 2), (0.2, "pruned", 0.8, 3), (0.3, "finished", 0.5, 9)]
    found = ranked([result_of(record(*row), RunPaths(Path(f"lr={row[0]}"))) for row in rows])
    (block,) = table.blocks(found)
    assert block.texts == [
        ["1", "lr=0.3", "0.5000", "9", "-", "0.0", "finished"],
        ["-", "lr=0.2", "-", "3", "-", "0.0", "pruned at epoch 3 of 9"],
        ["-", "lr=0.1", "-", "2", "-", "0.0", "diverged"],
    ]
    lines = table.csv_table(found).splitlines()
    assert lines[0] == "rank,cell,objective,epoch,test_accuracy,seconds,outcome,error,folder"
    assert lines[2] == "-,lr=0.2,0.8,3,,0.0,pruned,,lr=0.2"
    assert table.csv_table(ranked([])).splitlines() == lines[:1]
