"""lr=space: five rates over the optimizer's own space."""

import re

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from sweeps.config import identity, parse
from sweeps.config.identity import flatten
from sweeps.config.locations import conf_dir
from sweeps.config.lr_values import open_rate
from sweeps.config.resolvers import prepare_hydra
from sweeps.errors import BadInputError

OPTIMIZERS = sorted(path.stem for path in (conf_dir() / "optimizer").glob("*.yaml"))
OPTIMIZERS.remove("custom")
CUSTOM = ["optimizer=custom", "optimizer._target_=torch.optim.Adam"]


def composed(*overrides: str) -> DictConfig:
    prepare_hydra()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return compose("config", list(overrides))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_has_a_space(optimizer: str) -> None:
    cfg = composed(f"optimizer={optimizer}", "lr=space")
    rate = open_rate(cfg)
    assert rate is not None
    rates = rate.rates()
    low, high = cfg.optimizer.space.lr
    assert len(set(rates)) == 5
    assert rates == sorted(rates)
    assert (rates[0], rates[-1]) == (low, high)


def test_a_space_that_is_typed() -> None:
    rate = open_rate(composed(*CUSTOM, "lr=space", "optimizer.space={lr: [0.001, 10]}"))
    assert rate is not None
    assert rate.rates() == [0.001, 0.01, 0.1, 1, 10]


@pytest.mark.parametrize("typed", ["", "optimizer.space={lr: [1, 0.1]}", "optimizer.space=[1]"])
def test_no_space(typed: str) -> None:
    cfg = composed(*CUSTOM, "lr=space", *filter(None, [typed]))
    with pytest.raises(BadInputError, match=r"lr=space: torch.optim.Adam has .* Type"):
        open_rate(cfg)


def test_a_space_is_no_part_of_a_run() -> None:
    one, other = (
        composed("optimizer=adam", f"optimizer.space.lr=[{low}, 1]") for low in (0.1, 0.2)
    )
    assert identity(parse(one)) == identity(parse(other))


def test_a_rate_reads_the_same_wherever_it_stands() -> None:
    flat = flatten(parse(composed("optimizer=nadam", "lr=1")))
    assert repr(flat["optimizer.lr"]) == repr(flat["lr"]) == "1.0"


def test_a_run_has_one_rate() -> None:
    message = "lr=space is worked out by a sweep with hydra/sweeper=grid"
    with pytest.raises(BadInputError, match=re.escape(message)):
        parse(composed("lr=space"))
