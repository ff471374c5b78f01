"""Groups of parameters, what a class takes, Muon's views, and the weights that are judged."""

import re
from typing import Any

import pytest
import torch
from torch import nn

from sweeps.errors import BadInputError
from sweeps.training.muon import Muon
from sweeps.training.optimizers import (
    Rule,
    check_arguments,
    has_modes,
    needs_closure,
    parameter_groups,
    read_rules,
    scale_rates,
)


class Net(nn.Module):
    """An embedding, a convolution, a norm and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(7, 4)
        self.body = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.head(self.norm(self.body(x)).mean((2, 3)))
        return out


def named(model: nn.Module, groups: list[dict[str, Any]]) -> list[set[str]]:
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return [{names[id(parameter)] for parameter in group["params"]} for group in groups]


def test_without_rules_there_is_one_group_in_the_models_order() -> None:
    model = Net()
    (group,) = parameter_groups(model, decay="all", rules=[])
    assert list(group) == ["params"]
    assert list(map(id, group["params"])) == list(map(id, model.parameters()))


def test_matrices_alone_decay() -> None:
    model = Net()
    decayed, others = parameter_groups(model, decay="matrices", rules=[])
    assert named(model, [decayed]) == [{"body.weight", "head.weight"}]
    assert "weight_decay" not in decayed
    assert others["weight_decay"] == 0


@pytest.mark.parametrize("decay", ["all", "matrices"])
def test_rules_leave_no_parameter_out_and_have_none_twice(decay: str) -> None:
    model, rules = Net(), [Rule("head.*", 0.1), Rule("body.weight", 2)]
    groups = parameter_groups(model, decay=decay, rules=rules)
    everyone = [name for names in named(model, groups) for name in names]
    assert sorted(everyone) == sorted(name for name, _ in model.named_parameters())
    optimizer = torch.optim.AdamW(groups, lr=0.5)
    scale_rates(optimizer, rules)
    rates = {
        name: group["lr"]
        for group, names in zip(
            optimizer.param_groups, named(model, optimizer.param_groups), strict=True
        )
        for name in names
    }
    assert rates["head.weight"] == rates["head.bias"] == pytest.approx(0.05)
    assert rates["body.weight"] == 1
    assert rates["body.bias"] == rates["tokens.weight"] == 0.5


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ([Rule("hed.*", 0.1)], "'hed.*' matches no parameter. The model has tokens.weight, body"),
        ([Rule("head.*", 0.1), Rule("*.bias", 1)], "head.bias matches both 'head.*' and '*.bias'"),
    ],
)
def test_rules_that_do_not_fit_the_model(rules: list[Rule], message: str) -> None:
    with pytest.raises(BadInputError, match=re.escape(message)):
        parameter_groups(Net(), decay="all", rules=rules)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([{"match": "head.*"}], "a rule has match and lr"),
        ([{"match": "head.*", "lr": "small"}], "lr must be a number"),
        ([{"match": "head.*", "lr": 0}], "lr must be a finite factor above 0"),
        ([{"match": "head.*", "lr": 1}, {"match": "*head*", "lr": 2}], "two rates as lr/head"),
    ],
)
def test_rules_that_cannot_be_read(values: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(BadInputError, match=re.escape(message)):
        read_rules(values)


def test_arguments_are_those_of_the_class() -> None:
    check_arguments("torch.optim.Adam", torch.optim.Adam, {"amsgrad": True}, ours=True)
    message = "Unknown key optimizer.amsgard. Did you mean 'optimizer.amsgrad'? torch.optim.Adam"
    with pytest.raises(BadInputError, match=re.escape(message)):
        check_arguments("torch.optim.Adam", torch.optim.Adam, {"amsgard": True}, ours=True)


def test_what_an_optimizer_asks_of_the_loop() -> None:
    schedulefree = pytest.importorskip("schedulefree")
    parameters = [nn.Parameter(torch.ones(2))]
    assert needs_closure(torch.optim.LBFGS)
    assert not needs_closure(torch.optim.SGD)
    assert has_modes(schedulefree.SGDScheduleFree(parameters))
    assert not has_modes(torch.optim.SGD(parameters))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_muon_trains_a_convolution_as_a_matrix(layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    model = Net().to(memory_format=layout)
    groups = parameter_groups(model, decay="all", rules=[], hidden=True)
    hidden = [names for g, names in zip(groups, named(model, groups), strict=True) if g["hidden"]]
    assert hidden == [{"body.weight"}]
    optimizer = Muon(groups, lr=0.1, weight_decay=0.0, nesterov=False)
    before = model.body.weight.detach().clone()
    head = model.head.weight.detach().clone()
    model(torch.randn(4, 3, 5, 5)).square().sum().backward()
    optimizer.step()
    update = (model.body.weight.detach() - before).flatten(1)
    values = torch.linalg.svdvals(update)
    assert values.max() < 2 * values.min()  # of one size in all directions
    assert not torch.equal(model.head.weight, head)


def test_muon_needs_a_hidden_matrix() -> None:
    model = nn.Linear(3, 2)
    with pytest.raises(BadInputError, match="Muon finds no hidden matrix"):
        Muon(parameter_groups(model, decay="all", rules=[], hidden=True))
