"""Optimizers as they are typed: their arguments, groups, spaces, and what is refused before a run."""

import json
import re
from pathlib import Path

import pytest
from harness.program import train
from hydra import compose, initialize_config_dir

from sweeps.config import parse
from sweeps.config.locations import conf_dir
from sweeps.config.resolvers import prepare_hydra
from sweeps.errors import BadInputError
from sweeps.runs.build import build_trainer

QUICK = ["data=synthetic", "data.samples=73", "data.test_samples=20", "data.image_size=8"]
QUICK += ["tracking=none", "epochs=1", "threads=1", "model=linear", "batch_size=16", "device=cpu"]

NETS = """
from torch import nn


class Single(nn.Sequential):
    def __init__(self, num_classes):
        super().__init__(nn.Flatten(), nn.LazyLinear(16), nn.BatchNorm1d(16), nn.Linear(16, num_classes))


class Several(nn.Sequential):
    def __init__(self, num_classes):
        super().__init__(nn.Flatten(), nn.LazyLinear(num_classes))

    def forward(self, x):
        y = super().forward(x)
        return (y, y) if self.training else y


class Sized(Several):
    def forward(self, x):
        assert x.shape[-1] == 224, f"Wrong image height! Expected 224 but got {x.shape[-1]}!"
        return super().forward(x)
"""
MINE = ["model=custom", "trusted_targets=[nets]"]

REFUSED = {
    "optimizer=adam optimizer.amsgard=true": "Did you mean 'optimizer.amsgrad'?",
    "optimizer=lion optimizer.momentum=0.9": "Unknown key optimizer.momentum.",
    "optimizer=custom optimizer._target_=torch.optim.SparseAdam": "have dense ones.",
    "optimizer=lbfgs clip_norm=1": "Leave clip_norm out.",
    "optimizer=schedule_free_sgd ema=0.9": "Leave ema out.",
    "optimizer=rprop optimizer.decay=matrices": "has no weight_decay.",
    "optimizer=muon": "Muon finds no hidden matrix",
    "accumulate=100": "is more than the 5 batches of an epoch",
    "optimizer.rules=[{match:hed,lr:2}]": "'hed' matches no parameter. The model has",
    "batch_size=65 model._target_=nets.Single": "Type batch_size=64.",
    "model._target_=nets.Several": "returns a tuple in training and a tensor in evaluation",
    "model._target_=nets.Sized": "Expected 224 but got 8!",
}


@pytest.mark.parametrize("line", REFUSED)
def test_what_cannot_be_trained_is_refused_before_the_first_step(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nets.py").write_text(NETS)
    monkeypatch.syspath_prepend(tmp_path)
    prepare_hydra()
    words = [*QUICK, *(MINE if "nets" in line else []), *line.split(" ")]
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = parse(compose("config", words))
    with pytest.raises(BadInputError, match=re.escape(REFUSED[line])):
        build_trainer(config)


def test_a_rate_is_logged_for_each_rule(tmp_path: Path) -> None:
    rules = "optimizer.rules=[{match: '*.bias', lr: 0.5}]"
    words = ["optimizer=adam", "optimizer.amsgrad=true", rules, "log_every=1", "lr=0.02", "name=x"]
    code, out, err = train(tmp_path, *QUICK, *words)
    assert code == 0, out + err
    lines = (tmp_path / "outputs/runs/x/metrics.jsonl").read_text().splitlines()
    values = {key: value for line in lines for key, value in json.loads(line).items()}
    text = "\n".join(lines)
    assert '"lr"' in text, values
    assert '"lr/bias"' in text, values


def test_each_optimizer_over_its_own_space(tmp_path: Path) -> None:
    code, out, err = train(tmp_path, "-m", *QUICK, "optimizer=sgd,adam", "lr=space", "plan=true")
    assert (code, err) == (0, ""), out
    assert "10 runs: 10 new." in out
    assert "optimizer=sgd lr=1\n" in out
    assert "optimizer=adam lr=0.0032\n" in out
