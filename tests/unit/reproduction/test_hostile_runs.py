"""A run folder from a stranger: what it tries is refused in a sentence, and nothing of it is executed."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
import yaml

from sweeps.errors import BadInputError, CheckpointError
from sweeps.reproduction.options import Options
from sweeps.reproduction.repeat import reproduce
from sweeps.runs.paths import RunPaths
from sweeps.training import checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable

GOLDEN = Path(__file__).parents[2] / "golden" / "v1"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunPaths:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(GOLDEN, tmp_path / "run")
    return RunPaths(tmp_path / "run")


def repeat(paths: RunPaths, **changed: Any) -> Any:
    settings: dict[str, Any] = {"best": False, "epochs": None, "rtol": 1e-4, "stop_early": False}
    settings |= {"strict": False, "allow_other_data": False, "trusted": (), "data_root": None}
    settings |= {"threads": None, "output_dir": Path("out"), "tracking_uri": None}
    settings |= {"tracking": False, "run": str(paths.folder)}
    return reproduce(Options(**(settings | changed)))


def edit(paths: RunPaths, **changed: Any) -> None:
    values = yaml.safe_load(paths.config.read_text()) | changed
    paths.config.write_text(yaml.safe_dump(values))


def edit_record(paths: RunPaths, **changed: Any) -> None:
    paths.record.write_text(json.dumps(json.loads(paths.record.read_text()) | changed))


class Evil:
    """Leaves a file behind where it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("executed",)


NESTED_LOAD = {"_target_": "torch.nn.modules.module.torch.load", "f": "evil.pt"}
WEIGHTS = "torchvision.models.resnet.Weights"
MODELS: dict[str, tuple[dict[str, Any], str]] = {
    "os.system": ({"_target_": "os.system", "command": "mkdir executed"}, "not in a trusted"),
    "eval": ({"_target_": "builtins.eval", "_args_": ["1"]}, "not in a trusted package"),
    "torch.load": ({"_target_": "torch.load", "f": "evil.pt"}, "not in a trusted package"),
    "alias": ({**NESTED_LOAD, "weights_only": False}, r"leads to torch\.serialization"),
    "hub alias": (
        {"_target_": "torchvision.models._api.load_state_dict_from_url", "url": "file:evil.pt"},
        r"leads to torch\.hub",
    ),
    "hub": ({"_target_": "torch.hub.load", "_args_": ["a/b", "c"]}, "not in a trusted package"),
    "nested": (
        {"_target_": "torch.nn.Sequential", "_args_": [NESTED_LOAD]},
        "leads to torch.seria",
    ),
    "nested partial": (
        {"_target_": "sweeps.models.MLP", "hidden": [8], "x": {**NESTED_LOAD, "_partial_": True}},
        "Unknown key model.x",
    ),
    "nested in a class": (
        {"_target_": "torch.nn.Sequential", "x": [{"y": {**NESTED_LOAD, "_partial_": True}}]},
        r"model\.x\.0\.y\._target_=.* leads to torch\.serialization",
    ),
    "unpickling method": (
        {
            "_target_": "torchvision.models.resnet.WeightsEnum.get_state_dict",
            "_args_": [{"_target_": WEIGHTS, "url": "file:evil.pt", "transforms": 1, "meta": {}}],
        },
        "is no module, optimizer, schedule or public function",
    ),
    "partial": ({"_target_": "sweeps.models.Linear", "_partial_": True}, "Unknown key model._part"),
    "partial class": (
        {"_target_": "torch.nn.Linear", "_partial_": True, "_args_": [1, 2]},
        r"must make a torch\.nn\.modules\.module\.Module; it makes a ",
    ),
    "module of ours": (
        {"_target_": "sweeps.data.cache.shutil.rmtree", "path": "run"},
        "leads to shutil",
    ),
    "no text": ({"_target_": 5}, "must name a class"),
    "dots": ({"_target_": "torch.nn...x"}, "cannot be found"),
}


@pytest.mark.parametrize("case", MODELS)
def test_a_target_that_is_not_trusted(case: str, run: RunPaths) -> None:
    torch.save(Evil(), "evil.pt")
    model, message = MODELS[case]
    edit(run, model=model, trusted_targets=["os", "builtins", "torch"])
    with pytest.raises(BadInputError, match=message):
        repeat(run)
    assert not Path("executed").exists()
    assert not Path("out").exists()
    assert Path("run/run.json").exists()


@pytest.mark.parametrize("group", ["data", "loss", "optimizer", "schedule"])
def test_no_group_is_left_out(group: str, run: RunPaths) -> None:
    values = yaml.safe_load(run.config.read_text())[group]
    edit(run, **{group: values | {"_target_": "os.mkdir", "path": "executed"}})
    with pytest.raises(BadInputError, match=rf"{group}\._target_=os\.mkdir is not in a trusted"):
        repeat(run)
    assert not Path("executed").exists()


def write_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps(Evil()))


FILES: dict[str, tuple[Callable[[RunPaths], object], str]] = {
    "pickled config": (lambda run: write_pickle(run.config), "is not a saved config"),
    "pickled record": (lambda run: write_pickle(run.record), "run.json"),
    "pickled points": (
        lambda run: run.metrics.write_bytes(pickle.dumps(Evil()) + b"\nx\n"),
        "line 1",
    ),
    "large record": (lambda run: run.record.write_text(" " * 5_000_000), "too large"),
    "endless points": (lambda run: _link(run.metrics, "/dev/zero"), "is not a file"),
    "pipe": (lambda run: _pipe(run.config), "is not a file"),
    "no config": (lambda run: run.config.unlink(), "does not exist"),
    "no points": (lambda run: run.metrics.write_text(""), "has no metric points"),
    "deep record": (lambda run: run.record.write_text('{"a":' * 100_000), "run.json"),
    "other format": (lambda run: edit_record(run, format=99), "has format 99"),
    "unknown field": (lambda run: edit_record(run, evil=1), "not a record this version can read"),
    "a list of words": (lambda run: run.record.write_text("[]"), "run.json"),
    "key": (lambda run: edit_record(run, key="' OR 1=1"), "can read: key"),
    "threads": (lambda run: edit_record(run, threads=10**9), "can read: threads"),
    "digest": (lambda run: edit_record(run, dataset=[]), "can read: dataset"),
    "environment": (lambda run: edit_record(run, environment={"packages": 1}), "environment"),
    "objective": (lambda run: edit_record(run, objective=["x"]), "can read: objective"),
    "value": (lambda run: edit_record(run, objective_value=[1]), "can read: objective_value"),
    "params": (lambda run: edit_record(run, params=[]), "can read: params"),
}


def _link(path: Path, target: str) -> None:
    path.unlink()
    path.symlink_to(target)


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("case", FILES)
def test_a_file_that_is_not_what_it_should_be(case: str, run: RunPaths) -> None:
    damage, message = FILES[case]
    damage(run)
    with pytest.raises(BadInputError, match=message) as caught:
        repeat(run)
    assert len(str(caught.value)) < 800
    assert not Path("executed").exists()
    assert not Path("out").exists()


def test_a_pickle_in_place_of_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"format": 1, "model": Evil()}, "checkpoint.pt")
    Path("raw.pt").write_bytes(pickle.dumps(Evil(), protocol=2))
    for name in ("checkpoint.pt", "raw.pt"):
        with pytest.raises(CheckpointError, match="cannot be read"):
            checkpoint.load(Path(name))
    assert not Path("executed").exists()


def test_names_stay_inside_the_output_folder_and_off_the_terminal(
    run: RunPaths, caplog: pytest.LogCaptureFixture
) -> None:
    edit(run, name="../../../escaped", output_dir="../../escaped")
    escapes = {"name": "../../escaped", "overrides": ["lr=\x1b[2J../../../escaped"]}
    edit_record(run, **escapes, choices={"data": "../../\x1b[2J"}, device="\x1b[2J")
    with caplog.at_level("INFO", logger="sweeps"):
        verdict = repeat(run)
    assert verdict.kind in ("exact", "within tolerance")
    (folder,) = Path("out/reproductions").iterdir()
    assert (folder / "run.json").exists()
    assert not list(run.folder.parent.parent.rglob("*escaped*"))
    assert "\x1b" not in caplog.text
    assert sorted(path.name for path in Path().iterdir()) == ["out", "run"]


def test_a_run_of_each_format_reproduces(run: RunPaths) -> None:
    verdict = repeat(run)
    assert verdict.kind in ("exact", "within tolerance")
    assert verdict.compared == 10
    (proof,) = Path("out/reproductions").glob("*/reproduction.json")
    assert json.loads(proof.read_text())["verdict"] == verdict.kind


WORDS = {
    "nowhere": "nowhere is no run: .* Type a run's folder, a sweep's name with --best, or a run id",
    "../../x": "is no run",
    "0" * 32: "There is no MLflow store at .*--tracking-uri URI",
}


@pytest.mark.parametrize("word", WORDS)
def test_a_word_that_is_no_run(word: str, run: RunPaths) -> None:
    with pytest.raises(BadInputError, match=WORDS[word]):
        repeat(run, run=word)
    assert not Path("out").exists()


def test_data_root_needs_data_with_a_folder(run: RunPaths) -> None:
    with pytest.raises(BadInputError, match="this run's data has no folder"):
        repeat(run, data_root=Path("here"))


def test_images_that_are_not_here(run: RunPaths) -> None:
    data = {"_target_": "sweeps.data.sources.image_folder", "root": "gone", "image_size": 8}
    edit(run, data=data | {"test_fraction": 0.5})
    with pytest.raises(BadInputError, match=r"were in gone, .* Type --data-root FOLDER"):
        repeat(run)


def test_strict_refuses_what_can_change_numbers(run: RunPaths) -> None:
    with pytest.raises(BadInputError, match=r"--strict: .*threads.* can change numbers"):
        repeat(run, strict=True, threads=1 + json.loads(run.record.read_text())["threads"])


def test_other_data_is_refused_unless_it_is_allowed(run: RunPaths) -> None:
    dataset = json.loads(run.record.read_text())["dataset"]
    edit_record(run, dataset=dataset | {"digest": "0" * 32})
    with pytest.raises(BadInputError, match=r"The data is not the same: its digest was 0000"):
        repeat(run)
    assert repeat(run, allow_other_data=True).kind in ("exact", "within tolerance")
