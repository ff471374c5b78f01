"""A saved config is plain data from a stranger: what it may hold, and what it may never reach."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf

from sweeps.config import identity
from sweeps.config.parse import from_mapping
from sweeps.config.saved import read_saved, resolve_references, to_saved_yaml, with_defaults
from sweeps.errors import BadInputError
from sweeps.runs.paths import RunPaths
from sweeps.runs.record import RunRecord
from sweeps.runs.results import as_settings

GOLDEN = Path(__file__).parents[2] / "golden" / "v1"
BOMB = "a: &a [x, x]\n" + "".join(
    f"{name}: &{name} [*{before}, *{before}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


def saved(folder: Path, text: str) -> Path:
    path = folder / "config.yaml"
    path.write_text(text)
    return path


REFUSED = {
    "alias bomb": (BOMB, "uses YAML aliases"),
    "environment": ("data:\n  root: ${oc.env:HOME}\n", r"data\.root=\$\{oc\.env:HOME\} cannot be"),
    "decoded environment": ("lr: ${oc.decode:${oc.env:LR}}\n", r"lr=.*cannot be used"),
    "hydra": ("data: {root: '${hydra:runtime.cwd}'}\n", "cannot be used"),
    "our resolver": ("model: {x: '${fresh_name:}'}\n", "cannot be used"),
    "part of a text": ("lr: 0.1\nmodel: {x: 'a-${lr}'}\n", "cannot be used"),
    "a circle": ("lr: ${seed}\nseed: ${lr}\n", "cannot be used"),
    "a mapping": ("model: {a: 1}\nloss: {b: '${model}'}\n", "cannot be used"),
    "the person's own": ("output_dir: x\ndata: {root: '${output_dir}'}\n", "cannot be used"),
    "Python object": ("lr: !!python/object/apply:os.system ['true']\n", "could not determine a"),
    "too many values": (f"a: [{'1,' * 6000}]\n", "larger than any config"),
    "too deep": ("[" * 5000, "larger than any config"),
    "long value": (f"a: {'9' * 5000}\n", "larger than any config"),
    "too large": ("# " + "x" * 300_000, "too large. A saved config has at most 262144 bytes"),
    "no mapping": ("- 1\n", "holds no keys"),
    "no YAML": ("a: [", "is not a saved config"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str, tmp_path: Path) -> None:
    text, message = REFUSED[case]
    with pytest.raises(BadInputError, match=message) as caught:
        read_saved(saved(tmp_path, text))
    assert len(str(caught.value)) < 600


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"does not exist\. A saved config is expected there"):
        read_saved(tmp_path / "config.yaml")
    with pytest.raises(BadInputError, match="is not a file"):
        read_saved(tmp_path)


def test_plain_references_are_followed(tmp_path: Path) -> None:
    values = read_saved(
        saved(tmp_path, "lr: 1e-3\noptimizer:\n  lr: ${lr}\n  x: ${optimizer.lr}\n")
    )
    assert values["optimizer"]["lr"] == "${lr}"
    assert resolve_references(values)["optimizer"] == {"lr": 0.001, "x": 0.001}


def test_what_belongs_to_the_person_is_not_read(tmp_path: Path) -> None:
    text = "lr: 0.1\nname: ../../x\noutput_dir: /etc\ntrusted_targets: [os]\nhydra: {a: 1}\n"
    text += "tracking: {uri: 'http://evil'}\n"
    assert read_saved(saved(tmp_path, text)) == {"lr": 0.1}


def test_yaml_is_read_as_omegaconf_reads_it(tmp_path: Path) -> None:
    text = "a: 1e12\nb: 1.5\nc: 2026-11-24\nd: .inf\ne: 010\nf: '1e3'\ng: -2e-3\nh: .5\n"
    assert read_saved(saved(tmp_path, text)) == OmegaConf.to_container(OmegaConf.create(text))


def test_saving_keeps_plain_references_and_answers_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("IMAGES", "/data/images")
    cfg = OmegaConf.create(
        {
            "lr": 0.1,
            "threads": None,
            "name": "n",
            "optimizer": {"lr": "${lr}", "threads": "${threads}", "betas": [0.9, "${lr}"]},
            "data": {"root": "${oc.env:IMAGES}/${name}", "relative": "${.root}"},
            "hydra": {"job": {"num": 1}},
        }
    )
    assert yaml.safe_load(to_saved_yaml(cfg)) == {
        "lr": 0.1,
        "threads": None,
        "name": "n",
        "optimizer": {"lr": "${lr}", "threads": "${threads}", "betas": [0.9, "${lr}"]},
        "data": {"root": "/data/images/n", "relative": "/data/images/n"},
    }


def test_an_old_run_keeps_its_split_and_its_identity() -> None:
    complete, added = with_defaults(resolve_references(read_saved(RunPaths(GOLDEN).config)))
    assert complete["data"]["val_split"] == "random"
    assert {"data.val_split", "shuffle", "pick"} <= set(added)
    place = {"name": "x", "output_dir": "x", "tracking": {}, "trusted_targets": []}
    config = from_mapping(complete | place)
    record = RunRecord.load(RunPaths(GOLDEN))
    assert record is not None
    assert identity(config) == record.identity
    later: list[tuple[str, Any]] = [("val_split", "stratified"), ("crop", 1)]
    for key, value in later:
        other = dataclasses.replace(config, data=dataclasses.replace(config.data, **{key: value}))
        assert identity(other) != record.identity
    for changes in ({"shuffle": False}, {"pick": "last"}):
        assert identity(dataclasses.replace(config, **changes)) != record.identity
    assert identity(dataclasses.replace(config, keep_every_epoch=True)) == record.identity


def test_an_old_run_is_compared_by_what_it_had() -> None:
    record = RunRecord.load(RunPaths(GOLDEN))
    assert record is not None
    settings = as_settings(record.params)
    assert (settings["data.val_split"], settings["shuffle"]) == ("random", "true")
    assert as_settings({"lr": 0.1}) == {"lr": "0.1"}  # logged by another program


def test_keys_that_are_newer_than_a_saved_config_take_their_default() -> None:
    complete, added = with_defaults({"lr": 0.5, "data": {"crop": 4}})
    assert complete["lr"] == 0.5
    assert complete["log_every"] == 50
    assert complete["data"]["crop"] == 4
    assert complete["data"]["flip"] is False
    assert {"log_every", "data.flip"} <= set(added)
    assert "name" not in added
