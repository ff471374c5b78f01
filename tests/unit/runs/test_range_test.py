"""lr=auto: the words for rates, the range test as a run, its pick in a file, and what is refused."""

import dataclasses
import json
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from sweeps.config import parse
from sweeps.config.locations import conf_dir
from sweeps.config.lr_values import OpenRate, parse_rate, quote_rates
from sweeps.config.resolvers import prepare_hydra
from sweeps.errors import BadInputError
from sweeps.files import replace_json
from sweeps.runs import range_test
from sweeps.runs.outcome import Outcome
from sweeps.runs.paths import RunPaths, SweepPaths, range_tests
from sweeps.runs.record import RunRecord
from sweeps.runs.runner import RunRequest, run
from sweeps.sweep import auto_lr
from sweeps.training.protocol import Report

QUICK = ["data=synthetic", "model=linear", "threads=1", "name=x", "lr=auto"]


def composed(*overrides: str) -> DictConfig:
    prepare_hydra()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return compose("config", list(overrides), return_hydra_config=True)


def request(folder: Path, *overrides: str) -> RunRequest:
    cfg = composed(*QUICK, *overrides)
    return range_test.range_test_of(cfg, cfg.hydra, folder)


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("auto", OpenRate("auto")),
        ("around(auto, 5)", OpenRate("auto", 5)),
        ("'around(auto,5,2)'", OpenRate("auto", 5, 2.0)),
        ("around(1e-2, 1)", OpenRate(0.01, 1)),
        (0.01, None),
        ("fast", None),
        (None, None),
    ],
)
def test_words_for_rates(typed: object, expected: OpenRate | None) -> None:
    assert parse_rate(typed) == expected


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("around(auto)", "needs a rate (or auto), how many rates"),
        ("around(auto, 5, 2, 1)", "needs a rate (or auto), how many rates"),
        ("around(auto, 0)", "the count is '0'; it must be odd, such as 3, 5 or 7"),
        ("around(auto, 4)", "the count is '4'; it must be odd"),
        ("around(auto, -3)", "the count is '-3'; it must be odd"),
        ("around(auto, many)", "the count is 'many'; it must be odd"),
        ("around(fast, 3)", "the rate is 'fast'; it must be a number above 0"),
        ("around(0, 3)", "the rate is '0'; it must be a number above 0"),
        ("around(inf, 3)", "the rate is 'inf'; it must be a number above 0"),
        ("around(auto, 3, 1)", "the factor is '1'; it must be a number above 1"),
    ],
)
def test_words_that_are_none(typed: str, message: str) -> None:
    with pytest.raises(BadInputError) as refused:
        parse_rate(typed)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("rate", "pick", "expected"),
    [
        (OpenRate("auto"), 0.0123, [0.012]),
        (OpenRate("auto", 5), 0.0032, [0.00032, 0.001, 0.0032, 0.01, 0.032]),
        (OpenRate(0.01, 3, 2.0), None, [0.005, 0.01, 0.02]),
    ],
)
def test_rates_around_one(rate: OpenRate, pick: float | None, expected: list[float]) -> None:
    assert rate.rates(pick) == expected


@pytest.mark.parametrize(
    ("typed", "given"),
    [
        ("lr=around(auto, 5)", "lr='around(auto, 5)'"),
        ("lr=0.1,around(0.01, 3),auto", "lr=0.1,'around(0.01, 3)',auto"),
        ("lr='around(auto, 5)'", "lr='around(auto, 5)'"),
        ('lr="around(auto, 5)"', 'lr="around(auto, 5)"'),
        ("lr=0.1,0.01", "lr=0.1,0.01"),
        ("name=around(1)", "name=around(1)"),
    ],
)
def test_hydra_gets_a_quoted_text(typed: str, given: str) -> None:
    assert quote_rates(["-m", typed]) == ["-m", given]


@pytest.mark.parametrize(
    ("overrides", "rate", "expected"),
    [
        (["optimizer=sgd", "lr=auto", "seed=1"], 0.0032, ["optimizer=sgd", "lr=0.0032", "seed=1"]),
        (["lr='around(auto, 5)'"], 3.2e-5, ["lr=3.2e-05"]),
        (["experiment=mine"], 10.0, ["experiment=mine", "lr=10"]),
    ],
)
def test_overrides_get_the_number(overrides: list[str], rate: float, expected: list[str]) -> None:
    assert auto_lr.with_rate(overrides, rate) == expected


def test_the_range_test_of_a_run_is_what_the_run_is_but_for_its_schedule(tmp_path: Path) -> None:
    mine = ["optimizer=adam", "batch_size=32", "seed=3"]
    test = request(tmp_path, *mine, "schedule=step", "epochs=4", "schedule.gamma=0.5")
    plain = parse(composed(*QUICK[:-1], *mine, "lr=10", "log_every=1", "epochs=4"))
    assert test.config.optimizer.arguments["lr"] == 10
    own = test.config.schedule
    assert own.target == "sweeps.schedules.range_test"
    assert (own.arguments["start"] * test.config.lr, own.arguments["steps"]) == (
        pytest.approx(1e-3),
        12,
    )
    assert dataclasses.replace(test.config, schedule=plain.schedule) == plain
    assert test.choices["schedule"] == "range_test"
    assert parse(DictConfig(yaml.safe_load(test.hydra_files["config.yaml"]))) == test.config


def test_a_range_test_trains_once_and_its_pick_is_read_after(tmp_path: Path) -> None:
    test = request(tmp_path, "optimizer=sgd")
    found = range_test.run_range_test(test)
    paths = RunPaths(test.folder)
    assert range_test.Suggestion.load(paths) == found
    assert 0.01 < found.lr <= 10
    assert found.lr == float(f"{found.lr:.2g}")
    record = RunRecord.load(paths)
    assert record is not None
    assert record.outcome in ("stopped", "diverged")
    assert [item.folder for item in range_tests(tmp_path)] == [test.folder]
    assert SweepPaths(tmp_path).cells() == []

    before = paths.record.read_bytes()
    paths.suggested_lr.unlink()  # as after a kill just before it was written
    assert range_test.run_range_test(test).lr == found.lr
    assert paths.record.read_bytes() == before


def test_a_range_test_that_was_cut_goes_on_to_the_same_pick(tmp_path: Path) -> None:
    whole = range_test.run_range_test(request(tmp_path / "whole", "checkpoint_every_s=0.001"))
    cut = request(tmp_path / "cut", "checkpoint_every_s=0.001")
    run(cut, observe=lambda report: Outcome.STOPPED if report.step >= 7 else None)
    record = RunRecord.load(RunPaths(cut.folder))
    assert record is not None
    record.outcome = Outcome.INTERRUPTED
    record.save(RunPaths(cut.folder))
    found = range_test.run_range_test(cut)
    assert (found.lr, found.steps, found.tried) == (whole.lr, whole.steps, whole.tried)
    assert whole.of == 80
    assert whole.steps < 80


def test_what_is_written_after_the_checkpoint_ends_no_test(tmp_path: Path) -> None:
    paths = RunPaths(tmp_path)
    point = {"key": "train_loss", "time_ms": 0}
    losses = [2.0] * 8 + [2000.0] * 3
    paths.metrics.write_text(
        "".join(
            json.dumps(point | {"step": step, "value": loss}) + "\n"
            for step, loss in enumerate(losses, start=1)
        )
    )
    observe = range_test._until_it_explodes(paths)
    assert not observe(Report(step=5, epoch=0, metrics={"train_loss": 2.0}))
    assert observe(Report(step=11, epoch=0, metrics={"train_loss": 2000.0}))
    assert observe(Report(step=12, epoch=0, metrics={"train_loss": 2.0}))


def test_a_loss_that_never_falls_says_what_to_do(tmp_path: Path) -> None:
    test = request(tmp_path, "optimizer=sgd")
    paths = RunPaths(test.folder)
    paths.folder.mkdir(parents=True)
    record = RunRecord("k", "i", "n", "FINISHED", "val_accuracy", 0, outcome=Outcome.DIVERGED)
    record.save(paths)
    paths.metrics.write_text(
        "".join(
            json.dumps({"key": key, "value": value, "step": step, "time_ms": 0}) + "\n"
            for step in (1, 2, 3)
            for key, value in (("train_loss", -1.0 * step), ("lr", 0.1 * step))
        )
    )
    with pytest.raises(BadInputError, match=r"brought the loss below its first value, -1") as no:
        range_test.run_range_test(test)
    assert "type a number, such as lr=0.01" in str(no.value)
    assert not paths.suggested_lr.exists()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["schedule=range_test"], "schedule=range_test grows the rate up to lr, so lr must be a n"),
        (["lr='around(auto, 3)'"], "around(auto, 3) is several rates: add -m"),
        (["plan=true", "optimizer=adam"], "lr=auto is not known yet for data=synthetic model=lin"),
    ],
)
def test_what_a_single_run_refuses(overrides: list[str], message: str, tmp_path: Path) -> None:
    cfg = composed(*QUICK, *overrides)
    with pytest.raises(BadInputError) as refused:
        auto_lr.pick_for_run(cfg, cfg.hydra, tmp_path)
    assert message in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_a_plan_uses_the_pick_that_exists(tmp_path: Path) -> None:
    test = request(tmp_path)
    RunPaths(test.folder).folder.mkdir(parents=True)
    found = range_test.Suggestion(0.02, 200, 1.0, 0)
    replace_json(RunPaths(test.folder).suggested_lr, dataclasses.asdict(found))
    cfg = composed(*QUICK, "plan=true")
    assert auto_lr.pick_for_run(cfg, cfg.hydra, tmp_path) == 0.02


@pytest.mark.parametrize("typed", ["auto", "'around(auto, 3)'"])
def test_a_cell_knows_numbers_alone(typed: str) -> None:
    with pytest.raises(BadInputError, match=r"is worked out by a single run, or a sweep"):
        parse(composed(f"lr={typed}"))
