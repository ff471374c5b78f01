"""What to add beyond the edge of a grid: in its steps, and only what its config allows."""

from typing import Any

import pytest
from hydra import compose, initialize_config_dir

from sweeps.analysis.next_values import next_values
from sweeps.config import parse
from sweeps.config.identity import flatten
from sweeps.config.locations import conf_dir
from sweeps.config.resolvers import prepare_hydra
from sweeps.runs.outcome import Outcome
from sweeps.runs.results import RunResult, as_settings


def run(settings: dict[str, str], **data: str) -> RunResult:
    return RunResult(
        key="a",
        name="a",
        objective="val_accuracy",
        outcome=Outcome.FINISHED,
        started_ms=0,
        history=None,  # type: ignore[arg-type]
        settings=settings,
        data=data,
    )


@pytest.fixture(scope="module")
def configured() -> RunResult:
    """A run as it is kept: every setting of its config by dotted name, and the choices of groups."""
    prepare_hydra()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        overrides = ["name=a", "schedule=step", "data.val_fraction=0.2"]
        config = parse(compose("config", overrides))
    choices: dict[str, Any] = {"optimizer": "sgd_momentum", "search": "tpe", "tracking": "mlflow"}
    return run(as_settings({**flatten(config), **choices}), train="1294")


@pytest.mark.parametrize(
    ("axis", "tried", "larger", "expected"),
    [
        ("lr", ["0.01", "0.03", "0.1", "0.3"], False, ["0.003", "0.001"]),
        ("lr", ["0.01", "0.03", "0.1", "0.3"], True, ["1", "3"]),
        ("lr", ["0.01", "0.1"], False, ["0.001", "0.0001"]),
        ("lr", ["1e-06", "1e-05"], False, ["1e-07", "1e-08"]),
        ("lr", ["1", "10"], False, ["0.1", "0.01"]),
        # 0.001 to 0.03 is a gap in a grid, and 100 more than anybody means by a step
        ("lr", ["0.001", "0.03", "0.1"], True, ["0.33", "1.1"]),
        ("lr", ["0.001", "0.1"], True, ["1", "10"]),
        ("batch_size", ["16", "32", "64"], False, ["8", "4"]),
        ("batch_size", ["1", "2", "4"], False, []),
        ("epochs", ["10", "20", "30"], True, ["40", "50"]),
        ("epochs", ["10", "20", "30"], False, []),
        ("optimizer.momentum", ["0.3", "0.9"], True, ["0.986", "0.998"]),
        ("optimizer.momentum", ["0.9", "0.99"], True, ["0.999", "0.9999"]),
        ("optimizer.momentum", ["0.0", "0.5"], True, ["0.75", "0.88"]),
        ("optimizer.momentum", ["0.0", "0.5"], False, []),
        ("loss.label_smoothing", ["0.1", "0.3", "0.9"], True, ["0.986", "0.998"]),
        ("optimizer.weight_decay", ["0.0", "0.1"], False, []),
        ("x", ["-1.0", "1.0", "3.0"], False, ["-3", "-5"]),
        ("lr", ["1", "10"], True, ["100", "1000"]),
        ("lr", ["0.1", "0.2", "0.3"], False, []),  # 0.1 - 0.1 is 2.8e-17
        ("lr", ["0.1"], True, []),
    ],
)
def test_the_next_values_go_on_as_the_grid_does(
    axis: str, tried: list[str], larger: bool, expected: list[str]
) -> None:
    assert next_values(axis, tried, larger=larger, run=run({})) == expected


@pytest.mark.parametrize(
    ("axis", "tried", "larger", "expected"),
    [
        ("lr", ["0.01", "0.1"], True, ["1", "10"]),
        ("batch_size", ["200", "400", "800"], True, []),  # 1,294 images to train on
        ("batch_size", ["200", "400"], True, ["800"]),
        ("data.val_fraction", ["0.1", "0.5"], True, ["0.72", "0.85"]),
        ("data.val_fraction", ["0.0", "0.5"], False, []),
        ("schedule.warmup_epochs", ["2", "4"], True, ["8"]),  # of 10 epochs
    ],
)
def test_what_the_config_does_not_allow_is_not_advised(
    configured: RunResult, axis: str, tried: list[str], larger: bool, expected: list[str]
) -> None:
    assert next_values(axis, tried, larger=larger, run=configured) == expected
