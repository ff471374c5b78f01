"""From what is typed to the cells of a sweep: paired, conditional and excluded axes."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING

import pytest
from hydra.types import HydraContext, RunMode
from hypothesis import given, settings
from hypothesis import strategies as st

from sweeps.errors import BadInputError
from sweeps.search.dimensions import Dimension, Interval
from sweeps.search.parse_space import parse_space

if TYPE_CHECKING:
    from pathlib import Path

    from omegaconf import DictConfig

    from sweeps.search.space import Space


def space(context: HydraContext, *typed: str) -> Space:
    composed = master(context, *typed)
    return parse_space(composed.hydra.overrides.task, context, composed)


def master(context: HydraContext, *typed: str) -> DictConfig:
    """The config of a sweep, as Hydra composes it from what was typed."""
    return context.config_loader.load_configuration("config", list(typed), RunMode.MULTIRUN)


def cells(context: HydraContext, *typed: str) -> list[str]:
    return [" ".join(cell) for cell in space(context, *typed).grid()]


GRIDS: dict[str, tuple[list[str], list[str]]] = {
    "nothing": ([], [""]),
    "fixed": (["lr=0.1", "seed=3"], ["lr=0.1 seed=3"]),
    "product": (
        ["optimizer=sgd,adam", "epochs=2", "lr=0.1,0.01"],
        [
            "optimizer=sgd epochs=2 lr=0.1",
            "optimizer=sgd epochs=2 lr=0.01",
            "optimizer=adam epochs=2 lr=0.1",
            "optimizer=adam epochs=2 lr=0.01",
        ],
    ),
    "typed twice": (["lr=0.1,0.1", "seed=1", "lr=0.3,0.3"], ["lr=0.3 seed=1", "lr=0.3 seed=1"]),
    "settings of the sweep": (
        ["lr=0.1,0.2", "exclude=lr above 0.1", "zip=[]", "only=[]"],
        ["lr=0.1"],
    ),
    "range": (["seed=range(1,4)"], ["seed=1", "seed=2", "seed=3"]),
    "range down": (["seed=range(3,0,-1)"], ["seed=3", "seed=2", "seed=1"]),
    "sorted": (["lr=sort(3,1,2)"], ["lr=1", "lr=2", "lr=3"]),
    "cast": (["lr=float(choice(1,2))"], ["lr=1.0", "lr=2.0"]),
    "glob": (["loss=glob(*,exclude=c*)"], ["loss=l1", "loss=mse"]),
    "text": (["data.root='a b',c\\ d"], ["data.root='a b'", "data.root=c\\ d"]),
    "lists": (
        ["model=mlp", "model.hidden=[64],[128,64]"],
        ["model=mlp model.hidden=[64]", "model=mlp model.hidden=[128,64]"],
    ),
    "prefixes": (
        ["+optimizer.dampening=0,0.1", "++epochs=2", "~experiment"],
        [
            "+optimizer.dampening=0 ++epochs=2 ~experiment=null",
            "+optimizer.dampening=0.1 ++epochs=2 ~experiment=null",
        ],
    ),
    "momentum where the optimizer has it": (
        ["optimizer=sgd,adam", "optimizer.momentum=0,0.9", "lr=0.1,0.01"],
        [
            "optimizer=sgd optimizer.momentum=0 lr=0.1",
            "optimizer=sgd optimizer.momentum=0 lr=0.01",
            "optimizer=sgd optimizer.momentum=0.9 lr=0.1",
            "optimizer=sgd optimizer.momentum=0.9 lr=0.01",
            "optimizer=adam lr=0.1",
            "optimizer=adam lr=0.01",
        ],
    ),
    "typed before what it depends on": (
        ["optimizer.momentum=0,0.9", "optimizer=adam,sgd"],
        [
            "optimizer=adam",
            "optimizer.momentum=0 optimizer=sgd",
            "optimizer.momentum=0.9 optimizer=sgd",
        ],
    ),
    "every choice has it": (
        ["optimizer=sgd,adam", "optimizer.weight_decay=0,1"],
        [
            "optimizer=sgd optimizer.weight_decay=0",
            "optimizer=sgd optimizer.weight_decay=1",
            "optimizer=adam optimizer.weight_decay=0",
            "optimizer=adam optimizer.weight_decay=1",
        ],
    ),
    "no choice has it": (
        ["optimizer=sgd,adam", "optimizer.x=0,1"],
        [
            "optimizer=sgd optimizer.x=0",
            "optimizer=sgd optimizer.x=1",
            "optimizer=adam optimizer.x=0",
            "optimizer=adam optimizer.x=1",
        ],
    ),
    "one value where it applies": (
        ["optimizer=adam,sgd", "optimizer.momentum=choice(0.5)"],
        ["optimizer=adam", "optimizer=sgd optimizer.momentum=0.5"],
    ),
    "paired": (
        ["lr=0.1,0.2,0.4", "batch_size=64,128,256", "zip=[lr,batch_size]"],
        ["lr=0.1 batch_size=64", "lr=0.2 batch_size=128", "lr=0.4 batch_size=256"],
    ),
    "paired without brackets, around another axis": (
        ["lr=0.1,0.2", "seed=0,1", "batch_size=64,128", "zip=batch_size,lr"],
        [
            "lr=0.1 seed=0 batch_size=64",
            "lr=0.1 seed=1 batch_size=64",
            "lr=0.2 seed=0 batch_size=128",
            "lr=0.2 seed=1 batch_size=128",
        ],
    ),
    "two pairs": (
        [
            "lr=1,2",
            "seed=3,4",
            "epochs=5,6",
            "batch_size=7,8",
            "zip=[[lr,seed],[epochs,batch_size]]",
        ],
        [
            "lr=1 seed=3 epochs=5 batch_size=7",
            "lr=1 seed=3 epochs=6 batch_size=8",
            "lr=2 seed=4 epochs=5 batch_size=7",
            "lr=2 seed=4 epochs=6 batch_size=8",
        ],
    ),
    "a choice paired with a setting that one of them has": (
        [
            "optimizer=sgd,adam,adam",
            "optimizer.momentum=0.9,0,1",
            "zip=[optimizer,optimizer.momentum]",
        ],
        ["optimizer=sgd optimizer.momentum=0.9", "optimizer=adam"],
    ),
    "excluded": (
        ["optimizer=sgd,adam", "lr=1,0.1,0.01", "exclude=optimizer is adam and lr above 0.1"],
        [
            "optimizer=sgd lr=1",
            "optimizer=sgd lr=0.1",
            "optimizer=sgd lr=0.01",
            "optimizer=adam lr=0.1",
            "optimizer=adam lr=0.01",
        ],
    ),
    "excluded by several sentences": (
        ["lr=1,2,3", "seed=0,1", "exclude=[lr is 1,seed is 1 and lr at most 2]"],
        ["lr=2 seed=0", "lr=3 seed=0", "lr=3 seed=1"],
    ),
    "excluded by a choice's default": (
        [
            "optimizer=sgd,sgd_momentum",
            "lr=0.1,1",
            "exclude=optimizer.momentum above 0.5 and lr is 1",
        ],
        ["optimizer=sgd lr=0.1", "optimizer=sgd lr=1", "optimizer=sgd_momentum lr=0.1"],
    ),
    "excluded by the default choice": (
        ["lr=1,0.1", "exclude=optimizer is sgd_momentum and lr above 0.1"],
        ["lr=0.1"],
    ),
    "a cell without the setting is not excluded": (
        ["optimizer=sgd,adam", "optimizer.momentum=0,0.9", "exclude=optimizer.momentum is not 0.9"],
        ["optimizer=sgd optimizer.momentum=0.9", "optimizer=adam"],
    ),
    "a group that is left empty": (
        ["lr=1,2", "exclude=experiment is notes_cifar10"],
        ["lr=1", "lr=2"],
    ),
    "a number that is not on the axis": (["lr=1,2", "exclude=lr is 5"], ["lr=1", "lr=2"]),
    "excluded by a list, null and true": (
        [
            "model=mlp",
            "model.hidden=[8],[8,8]",
            "threads=null,2",
            "compile=true,false",
            "exclude='model.hidden is [8, 8] or threads is null or compile is true'",
        ],
        ["model=mlp model.hidden=[8] threads=2 compile=False"],
    ),
    "excluded by a fixed value and by another setting": (
        ["epochs=3", "schedule.warmup_epochs=1,3,5", "exclude='schedule.warmup_epochs >= epochs'"],
        ["epochs=3 schedule.warmup_epochs=1"],
    ),
    "only": (
        [
            "schedule=constant,cosine",
            "schedule.warmup_epochs=0,1",
            "only=schedule.warmup_epochs if schedule is cosine",
        ],
        [
            "schedule=constant",
            "schedule=cosine schedule.warmup_epochs=0",
            "schedule=cosine schedule.warmup_epochs=1",
        ],
    ),
    "only by a default": (
        ["seed=0,1", "optimizer=sgd,sgd_momentum", "only=seed if optimizer.momentum is 0"],
        ["seed=0 optimizer=sgd", "seed=1 optimizer=sgd", "optimizer=sgd_momentum"],
    ),
    "only instead of what is implied": (
        [
            "optimizer=sgd,rmsprop,adam",
            "optimizer.momentum=0,0.9",
            "only=optimizer.momentum if optimizer is sgd",
        ],
        [
            "optimizer=sgd optimizer.momentum=0",
            "optimizer=sgd optimizer.momentum=0.9",
            "optimizer=rmsprop",
            "optimizer=adam",
        ],
    ),
    "only for an added key": (
        [
            "optimizer=sgd,adam",
            "+optimizer.amsgrad=true,false",
            "only=optimizer.amsgrad if optimizer is adam",
        ],
        [
            "optimizer=sgd",
            "optimizer=adam +optimizer.amsgrad=True",
            "optimizer=adam +optimizer.amsgrad=False",
        ],
    ),
}


@pytest.mark.parametrize("case", GRIDS)
def test_grid(case: str, context: HydraContext) -> None:
    typed, expected = GRIDS[case]
    assert cells(context, *typed) == expected


REFUSED: dict[str, tuple[list[str], str]] = {
    "interval": (
        ["lr=interval(0.1,1)"],
        "has no end of values; a grid needs a list, such as lr=0.1,0.01, or a range such as",
    ),
    "empty range": (["seed=range(4,1)"], "seed=range(4,1) holds no values; type a list"),
    "no step": (["seed=range(1,4,0)"], "seed=range(1,4,0) has a step of 0; type range(START,STOP"),
    "no match": (["loss=glob(x*)"], "loss=glob(x*) holds no values"),
    "log of zero": (["lr=tag(log,interval(0,1))"], "must start above 0, because a logarithm does."),
    "low above high": (["lr=interval(1,0.1)"], "must go from a finite number to a larger one."),
    "low is high": (["lr=interval(1,1)"], "must go from a finite number to a larger one."),
    "endless": (["lr=interval(1,inf)"], "must go from a finite number to a larger one."),
    "tag": (["lr=tag(lgo,interval(1,2))"], "has the tag lgo. Allowed: log."),
    "different lengths": (
        ["lr=1,2,3", "seed=0,1", "zip=[lr,seed]"],
        "zip=[lr,seed] pairs lists of the same length; lr has 3, seed has 2 values.",
    ),
    "zipped interval": (
        ["lr=interval(1,2)", "seed=0,1", "zip=[lr,seed]"],
        "pairs lists of the same length; lr has no end of, seed has 2 values.",
    ),
    "zipped key is no axis": (
        ["lr=1,2", "seed=0,1", "zip=[lr,sed]"],
        "zip=[lr,sed]: sed is no axis of this sweep. Did you mean 'seed'? Its axes: lr, seed.",
    ),
    "zip of one": (["lr=1,2", "zip=[lr]"], "zip=['lr'] must be a list of two or more keys"),
    "zip of a number": (["lr=1,2", "zip=3"], "zip=3 must be a list of two or more keys"),
    "zipped twice": (["lr=1,2", "seed=0,1", "zip=[[lr,seed],[lr,epochs]]"], "names lr twice"),
    "exclude is a number": (["lr=1,2", "exclude=3"], "exclude=3 must be a sentence or a list of"),
    "everything excluded": (
        ["lr=1,2", "seed=0,1", "exclude=lr above 0"],
        "exclude leaves none of the 4 combinations; exclude less.",
    ),
    "unknown key": (
        ["lr=1,2", "exclude=optimizer.momntum above 0.5"],
        "momntum above 0.5': optimizer.momntum is no setting. Did you mean 'optimizer.momentum'?",
    ),
    "unknown other key": (["lr=1,2", "exclude=lr above epoch"], "Did you mean 'epochs'?"),
    "key below a number": (["lr=1,2", "exclude=lr.x.y is 1"], "lr.x.y is no setting."),
    "unknown choice of an axis": (
        ["optimizer=sgd,adam", "exclude=optimizer is adm"],
        "exclude='optimizer is adm': optimizer is never adm. Did you mean 'adam'? Allowed: sgd,",
    ),
    "unknown choice of the default": (
        ["lr=1,2", "exclude=optimizer is sdg"],
        "optimizer is never sdg. Did you mean 'sgd'?",
    ),
    "unknown word": (
        ["precision=fp32,bf16", "exclude=precision is not bf6"],
        "precision is never bf6. Did you mean 'bf16'? Allowed: fp32, bf16.",
    ),
    "word for numbers": (["lr=1,2", "exclude=lr is small"], "lr is never small. Allowed: 1, 2."),
    "word for an interval": (
        ["lr=interval(1,2)", "exclude=lr is small"],
        "lr is never small. Allowed: numbers.",
    ),
    "order of words": (
        ["precision=fp32,bf16", "exclude=precision above 1"],
        "precision has words, fp32, bf16: compare it with 'is' or 'is not'.",
    ),
    "unreadable exclude": (
        ["lr=1,2", "exclude=lr bove 1"],
        "exclude='lr bove 1' cannot be read: after 'lr' comes 'bove', expected is one of is,",
    ),
    "only without if": (["lr=1,2", "only=lr"], "only='lr' cannot be read. Type a key, 'if' and"),
    "unreadable only": (["lr=1,2", "only=lr if"], "only='lr if' cannot be read. Type a key, 'if'"),
    "only for no axis": (
        ["lr=1,2", "only=seed if lr is 1"],
        "only='seed if lr is 1': seed is no axis of this sweep. Its axes: lr.",
    ),
    "only twice": (
        ["lr=1,2", "seed=0,1", "only=[seed if lr is 1,seed if lr is 2]"],
        "only says twice when seed applies; join the two with 'and'.",
    ),
    "only of itself": (
        ["lr=1,2", "only=lr if lr is 1"],
        "only='lr if lr is 1': lr cannot depend on",
    ),
    "circle": (
        ["lr=1,2", "seed=0,1", "only=[seed if lr is 1,lr if seed is 0]"],
        "only goes in a circle: lr, seed wait for each other.",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str, context: HydraContext) -> None:
    typed, message = REFUSED[case]
    with pytest.raises(BadInputError, match=re.escape(message)):
        space(context, *typed).grid()


def test_settings_of_the_config_hold_where_none_are_typed(
    context: HydraContext, tmp_path: Path
) -> None:
    preset = tmp_path / "experiment" / "rates.yaml"
    preset.parent.mkdir()
    preset.write_text(
        "# @package _global_\nzip: [lr, seed]\nexclude: optimizer is adam and lr > 1\n"
        'only: ["epochs if lr <= 1"]\n'
    )
    typed = ["experiment=rates", "lr=1,2", "seed=0,1", "epochs=3,4", "optimizer=sgd,adam"]
    where = f"hydra.searchpath=[file://{tmp_path}]"
    assert cells(context, where, *typed) == [
        "experiment=rates lr=1 seed=0 epochs=3 optimizer=sgd",
        "experiment=rates lr=1 seed=0 epochs=3 optimizer=adam",
        "experiment=rates lr=1 seed=0 epochs=4 optimizer=sgd",
        "experiment=rates lr=1 seed=0 epochs=4 optimizer=adam",
        "experiment=rates lr=2 seed=1 optimizer=sgd",
    ]
    assert len(cells(context, where, *typed, "zip=[]", "exclude=[]", "only=[]")) == 16
    message = "experiment=rates sets exclude, which belongs to a whole sweep."
    with pytest.raises(BadInputError, match=re.escape(message)):
        space(context, where, "experiment=rates,notes_cifar10", "lr=1,2")
    own = ["zip=[]", "exclude=lr is 2", "only=[]"]
    assert cells(context, where, "experiment=rates,notes_cifar10", "lr=1,2", *own) == [
        "experiment=rates lr=1",
        "experiment=notes_cifar10 lr=1",
    ]


@pytest.mark.parametrize(
    ("typed", "interval"),
    [
        ("interval(0.1,1)", Interval(0.1, 1.0)),
        ("tag(log,interval(1e-4,1))", Interval(1e-4, 1.0, log=True)),
        ("int(interval(8,64))", Interval(8, 64, integer=True)),
        ("tag(log,int(interval(8,64)))", Interval(8, 64, log=True, integer=True)),
        ("int(tag(log,interval(8,64)))", Interval(8, 64, log=True, integer=True)),
        ("float(interval(8,64))", Interval(8.0, 64.0)),
    ],
)
def test_intervals(typed: str, interval: Interval, context: HydraContext) -> None:
    found = space(context, f"batch_size={typed}", "seed=0,1")
    assert not found.finite
    assert found.dimensions == (
        Dimension(("batch_size",), (), interval),
        Dimension(("seed",), (("0",), ("1",))),
    )


def test_a_search_chooses_step_by_step(context: HydraContext) -> None:
    """What a search does with a space: dimension by dimension, each where it applies."""
    found = space(
        context,
        "optimizer.momentum=interval(0,1)",
        "optimizer=sgd,adam",
        "lr=tag(log,interval(1e-4,1))",
        "exclude=optimizer is adam and lr above 0.1",
    )
    optimizer, momentum, lr = found.dimensions
    assert [dimension.keys[0] for dimension in found.dimensions] == [
        "optimizer",
        "optimizer.momentum",
        "lr",
    ]
    assert found.applies(optimizer, {})
    assert found.applies(momentum, {"optimizer": "sgd"})
    assert not found.applies(momentum, {"optimizer": "adam"})
    assert found.applies(lr, {"optimizer": "adam"})
    chosen = {"optimizer": "sgd", "optimizer.momentum": "0.5", "lr": "0.2"}
    assert found.allowed(chosen)
    assert found.overrides(chosen) == ["optimizer.momentum=0.5", "optimizer=sgd", "lr=0.2"]
    assert not found.allowed({"optimizer": "adam", "lr": "0.2"})
    assert found.allowed({"optimizer": "adam", "lr": "0.1"})


def test_a_search_chooses_pairs_whole(context: HydraContext) -> None:
    """A pair holds a value that the chosen optimizer does not have."""
    pair = ["optimizer=sgd,adam", "optimizer.momentum=0.9,0", "zip=[optimizer,optimizer.momentum]"]
    found = space(context, *pair, "exclude=optimizer.momentum is 0")
    (dimension,) = found.dimensions
    assert dimension.options == (("sgd", "0.9"), ("adam", "0"))
    assert found.applies(dimension, {})
    chosen = dict(zip(dimension.keys, dimension.options[1], strict=True))
    assert found.overrides(chosen) == ["optimizer=adam"]
    assert found.allowed(chosen)


def test_what_was_left_out_is_counted(context: HydraContext) -> None:
    typed = ["optimizer=sgd,adam", "optimizer.momentum=0,0.9", "lr=1,0.1"]
    exclude = "exclude=optimizer is adam and lr above 0.1"
    assert space(context, *typed, exclude).left_out() == (
        "3 of 8 combinations left out: 1 excluded, 2 with a setting that does not apply."
    )
    assert space(context, "lr=1,2", "seed=0,1").left_out() == ""


def test_cells_have_no_settings_of_the_sweep(context: HydraContext) -> None:
    typed = ["lr=1,2", "trials=5", "search.pruner=none", "search=tpe", "+zip=[]"]
    found = parse_space(typed, context, master(context))
    assert found.grid() == [["lr=1"], ["lr=2"]]


@pytest.fixture(scope="module")
def defaults(context: HydraContext) -> DictConfig:
    """The config of a sweep over nothing."""
    return master(context)


AXES = {
    "lr": ["0.1", "0.2", "0.3"],
    "seed": ["0", "1"],
    "epochs": ["2", "4", "8"],
    "precision": ["fp32", "bf16"],
}
CONDITION = st.tuples(st.sampled_from(sorted(AXES)), st.integers(0, 2)).map(
    lambda pair: (pair[0], AXES[pair[0]][pair[1] % len(AXES[pair[0]])])
)


@settings(deadline=None, max_examples=25)
@given(
    keys=st.permutations(sorted(AXES)),
    excluded=st.lists(st.lists(CONDITION, min_size=1, max_size=3), max_size=3),
    condition=st.none() | CONDITION,
)
def test_every_allowed_combination_is_there_once(
    context: HydraContext,
    defaults: DictConfig,
    keys: list[str],
    excluded: list[list[tuple[str, str]]],
    condition: tuple[str, str] | None,
) -> None:
    """The same cells as plain Python finds, by dropping and filtering the product."""
    dropped = next(key for key in keys if condition is None or key != condition[0])
    typed = [f"{key}={','.join(AXES[key])}" for key in keys]
    if condition:
        typed.append(f"only={dropped} if {condition[0]} is {condition[1]}")
    sentences = [" and ".join(f"{k} is {v}" for k, v in parts) for parts in excluded]
    typed.append(f"exclude=[{','.join(sentences)}]")
    expected = set()
    for values in itertools.product(*(AXES[key] for key in keys)):
        cell = dict(zip(keys, values, strict=True))
        if condition and cell[condition[0]] != condition[1]:
            del cell[dropped]
        default = {"lr": "0.01", "seed": "0", "epochs": "10", "precision": "fp32"}
        full = default | cell
        if not any(all(full[k] == v for k, v in parts) for parts in excluded):
            expected.add(tuple(f"{k}={cell[k]}" for k in keys if k in cell))
    found = parse_space(typed, context, defaults)
    if not expected:
        with pytest.raises(BadInputError, match="exclude leaves none"):
            found.grid()
        return
    grid = [tuple(cell) for cell in found.grid()]
    assert len(grid) == len(set(grid))
    assert set(grid) == expected
    assert [list(cell) for cell in grid] == found.grid()
