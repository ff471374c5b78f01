"""Every shipped choice composes and is accepted; bad values are refused in one sentence."""

import re
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import OverrideParseException
from omegaconf import DictConfig, OmegaConf

from sweeps.config import cell_name, describe, identity, parse
from sweeps.config.hydra_errors import explain
from sweeps.config.locations import conf_dir
from sweeps.config.resolvers import prepare_hydra
from sweeps.errors import BadInputError

GROUPS = ("model", "data", "loss", "optimizer", "schedule", "tracking", "experiment")
CHOICES = [
    f"{group}={path.stem}"
    for group in GROUPS
    for path in sorted((conf_dir() / group).glob("*.yaml"))
    if path.stem not in ("custom", "image_folder")
]


def composed(*overrides: str) -> DictConfig:
    prepare_hydra()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return compose("config", list(overrides))


def test_there_are_choices() -> None:
    assert len(CHOICES) > 25


@pytest.mark.parametrize("choice", CHOICES)
def test_every_choice_composes(choice: str) -> None:
    config = parse(composed(choice))
    assert config.lr == 0.01


def test_a_saved_config_gives_the_same_identity() -> None:
    cfg = composed("optimizer=adam", "lr=0.3")
    again = OmegaConf.create(OmegaConf.to_yaml(cfg))
    assert isinstance(again, DictConfig)
    assert identity(parse(again)) == identity(parse(cfg))


def test_bonds_between_axes_are_no_part_of_a_run() -> None:
    bonds = ["zip=[lr,seed]", "exclude=lr above 1", "only=[seed if lr is 1]"]
    assert identity(parse(composed(*bonds))) == identity(parse(composed()))
    assert describe([*bonds, "lr=1"]) == "lr=1"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("lr=-1", "lr=-1.0 must be a finite number above 0"),
        ("lr=nan", "lr=nan must be a finite number above 0"),
        ("lr=inf", "lr=inf must be a finite number above 0"),
        ("batch_size=0", "batch_size=0 must be 1 or more"),
        ("epochs=0", "epochs=0 must be 1 or more"),
        ("seed=-1", "seed=-1 must be between 0"),
        ("threads=0", "threads=0 must be 1 or more"),
        ("device=gpu", "device=gpu is unknown"),
        ("precision=bf6", "Did you mean 'bf16'?"),
        ("objective=val_acuracy", "Did you mean 'val_accuracy'?"),
        ("objective=test_loss", "measured each epoch only where"),
        ("data.val_fraction=0", "needs validation images"),
        ("data.val_fraction=1", "must be at least 0 and below 1"),
        ("pick=first", "pick=first is unknown. Allowed: best, last"),
        ("data.val_split=fair", "data.val_split=fair is unknown. Allowed: stratified, random"),
        ("data.limit=0", "data.limit=0 must be 1 or more"),
        ("data.crop=-1", "data.crop=-1"),
        ("schedule.warmup_epochs=10", "leaves nothing of epochs=10"),
        ("schedule.warmup_epochs=-1", "must be 0 or more"),
        ("name=../../etc", "becomes a folder"),
        ("optimizer.momentum=fast", "optimizer.momentum"),
        ("optimizer.decay=matrixes", "Did you mean 'matrices'?"),
        ("clip_norm=0", "clip_norm=0.0 must be a finite number above 0"),
        ("accumulate=0", "accumulate=0 must be 1 batch or more"),
        ("ema=1", "ema=1.0 must be above 0 and below 1"),
        ("exclude=3", "exclude=3 must be a sentence or a list of sentences"),
        ("exclude=lr bove 1", "exclude='lr bove 1' cannot be read"),
        ("only=[lr]", "only='lr' cannot be read. Type a key, 'if' and a sentence"),
        ("zip=[lr]", "zip=['lr'] must be a list of two or more keys"),
        ("model=custom", "model._target_ has no value"),
        ("data=image_folder", "data.root has no value"),
        ("model._target_=os.system", "not in a trusted package"),
        ("model._target_=torch.load", "not in a trusted package"),
        ("+optimizer.x._target_=builtins.eval", "not in a trusted package"),
    ],
)
def test_bad_values(override: str, message: str) -> None:
    cfg = composed(override)
    with pytest.raises(BadInputError, match=re.escape(message)):
        parse(cfg)


MINE = ["data._target_=mine.source", "schedule._target_=mine.schedule", "trusted_targets=[mine]"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["schedule.warmup_epochs=nan"], "schedule.warmup_epochs=nan must be a finite number"),
        (["schedule=cosine", "schedule.final=inf"], "schedule.final=inf must be a finite number"),
        (["schedule=plateau", "schedule.patience_epochs=-1"], "must be 0 or more"),
        (
            ["schedule=one_cycle", "schedule.warmup_epochs=1"],
            "schedule.warmup_epochs=1.0 before schedule=one_cycle: the rate would go up, down and up",
        ),
        (["schedule=range_test", "schedule.warmup_epochs=0.5"], "before schedule=range_test"),
        (["schedule=range_test", "schedule.start=1"], "schedule.start=1.0 must be below 1"),
        (["schedule=range_test", "schedule.start=0"], "must be a finite number above 0"),
        (["schedule=range_test", "schedule.steps=-1"], "must be 1 or more, or null"),
        ([*MINE, "schedule.warmup_epochs=soon"], "schedule.warmup_epochs=soon must be a number"),
        (["data=synthetic", "data.noise=nan"], "data.noise=nan must be a finite number"),
        (["data=image_folder", "data.root=''"], "data.root is empty"),
        (["optimizer.lr=-1"], "optimizer.lr=-1.0 must be a finite number above 0"),
        (["optimizer.momentum=nan"], "optimizer.momentum=nan must be a finite number"),
        (["optimizer.weight_decay=-1"], "optimizer.weight_decay=-1.0 must be 0 or more"),
        (["optimizer.momentum=fast"], "optimizer.momentum=fast must be a number."),
        (["loss.label_smoothing=2"], "loss.label_smoothing=2.0 must be between 0 and 1"),
        (["model=mlp", "model.hidden=[0]"], "every layer needs a width"),
        (["model=mlp", "model.hidden=64"], "model.hidden must be a list"),
        (["output_dir=''"], "output_dir is empty"),
        (["threads=100000"], "threads=100000 must be 1 or more, at most 1024"),
        (["tracking.system_metrics_after_s=-1"], "must be 0 or more seconds"),
        (["trusted_targets=['']", "model._target_=os.system"], "torchvision.ops). If you trust"),
    ],
)
def test_bad_settings(overrides: list[str], message: str) -> None:
    cfg = composed(*overrides)
    with pytest.raises(BadInputError, match=re.escape(message)):
        parse(cfg)


def test_own_sources_and_schedules_name_their_arguments_freely() -> None:
    config = parse(
        composed(*MINE, "+data.classes=[cat,dog]", "+data.samples=all", "+schedule.gamma=[1,2]")
    )
    assert config.data.arguments["classes"] == ["cat", "dog"]
    assert config.schedule.arguments["gamma"] == [1, 2]


@pytest.mark.parametrize(
    ("typed", "ready"),
    [
        ("lr=0.1}", "'lr=\"0.1}\"'"),
        ("exclude=lr > 1", "'exclude=\"lr > 1\"'"),
        ("only=seed if not (lr is 1)", "'only=\"seed if not (lr is 1)\"'"),
    ],
)
def test_what_hydra_cannot_read_is_shown_in_quotes(typed: str, ready: str) -> None:
    with pytest.raises(OverrideParseException) as caught:
        composed(typed)
    assert str(explain(caught.value)).endswith(f"Type {ready}.")


def test_a_group_is_not_null() -> None:
    with pytest.raises(ValueError, match="Config group override") as caught:
        composed("model=null")
    assert explain(caught.value) == (
        "A group needs the name of a choice, such as model=linear, not null."
    )


def test_nesterov_needs_momentum() -> None:
    cfg = composed("optimizer.nesterov=true", "optimizer.momentum=0")
    with pytest.raises(BadInputError, match="needs a momentum"):
        parse(cfg)


@pytest.mark.parametrize("override", ["lr=0.010", "name=x", "output_dir=/y", "tracking=none"])
def test_identity_ignores_spelling_and_storage(override: str) -> None:
    assert identity(parse(composed(override))) == identity(parse(composed()))


@pytest.mark.parametrize("override", ["lr=0.02", "seed=1", "optimizer=adam", "data.flip=true"])
def test_identity_sees_what_determines_the_result(override: str) -> None:
    assert identity(parse(composed(override))) != identity(parse(composed()))


def test_names_do_not_depend_on_order() -> None:
    overrides = ["optimizer=sgd", "lr=0.1", "name=study", "tracking.uri=x", "output_dir=y"]
    assert describe(overrides) == "lr=0.1,optimizer=sgd"
    assert cell_name(overrides, "a" * 64) == cell_name(overrides[::-1], "a" * 64)


def test_cell_names_stay_inside_the_folder() -> None:
    name: Any = cell_name(["data.root=../../etc/passwd"], "b" * 64)
    assert "/" not in name
