"""Bad data, downloads and values end with one sentence, exit code 2, and nothing left behind.

The other refusals of a command line are in test_commands.py.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
from harness.many import train_many
from harness.program import all_runs, train
from PIL import Image

CLOSED_PORT = "http://127.0.0.1:9"


def _image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (200, 20, 20)).save(path)


def _nothing(_: Path) -> None:
    pass


def _empty(root: Path) -> None:
    root.mkdir()


def _one_class(root: Path) -> None:
    _image(root / "cat" / "1.png")


def _broken(root: Path) -> None:
    for name in ("cat", "dog"):
        for number in range(5):
            _image(root / name / f"{number}.png")
    (root / "dog" / "3.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")


def _differing(root: Path) -> None:
    for part, name in (("train", "cat"), ("train", "dog"), ("test", "cat"), ("test", "bird")):
        _image(root / part / name / "1.png")


def _corrupt_archive(root: Path) -> None:
    root.mkdir()
    (root / "cifar-10-python.tar.gz").write_bytes(b"not an archive")


FOLDER = ["data=image_folder", "data.root=images", "data.image_size=8"]
CIFAR = ["data=cifar10", "data.root=images"]

CASES: dict[str, tuple[Callable[[Path], None], list[str], str]] = {
    "empty root": (_empty, FOLDER, "holds no images in class folders"),
    "one class": (_one_class, FOLDER, "holds one class, cat; at least two"),
    "broken image": (_broken, FOLDER, "dog/3.png cannot be read as an image"),
    "different classes": (_differing, FOLDER, "only one has bird, dog"),
    "file as root": (lambda root: root.touch(), FOLDER, "data.root=images is a file"),
    "no host": (_nothing, CIFAR, "Offline: put its archive into images"),
    "corrupt archive": (_corrupt_archive, CIFAR, "CIFAR10"),
    "nan": (_nothing, ["lr=nan"], "lr=nan must be a finite number above 0"),
    "no batch": (_nothing, ["batch_size=0"], "batch_size=0 must be 1 or more"),
    "no epochs": (_nothing, ["-m", "lr=0.1", "epochs=1,0"], "epochs=0 must be 1 or more"),
    "untyped warmup": (
        _nothing,
        [
            "schedule._target_=mine.schedule",
            "trusted_targets=[mine]",
            "schedule.warmup_epochs=soon",
        ],
        "schedule.warmup_epochs",
    ),
}


@pytest.mark.usefixtures("ready_store")
@pytest.mark.parametrize("case", CASES)
def test_refused_in_one_sentence(case: str, tmp_path: Path) -> None:
    arrange, overrides, message = CASES[case]
    arrange(tmp_path / "images")
    # The proxy is a closed port: no download reaches its host, on any machine.
    proxies = dict.fromkeys(("https_proxy", "http_proxy", "HTTPS_PROXY", "HTTP_PROXY"), CLOSED_PORT)
    proxies |= {"no_proxy": "", "NO_PROXY": ""}
    code, out, err = train(tmp_path, *overrides, **proxies)
    assert code == 2, out + err
    assert "Traceback" not in out + err
    assert message in err
    assert len(err.splitlines()) == 1, err
    assert not list(tmp_path.glob("outputs/*/*"))
    assert all_runs(tmp_path) == []


TYPED = {
    "optimizer=SGD": "optimizer=SGD is unknown. Did you mean 'sgd'? Type optimizer=sgd. Allowed: ada",
    "loss=CrossEntropyLoss": "Type loss=cross_entropy.",
    "device=gpu": "device=gpu is unknown. Did you mean 'cuda'? Allowed: auto, cpu, cuda, cuda:N, mps.",
    "device=1": "Did you mean 'cuda:1'?",
    "LR=0.1": "Unknown key LR. Did you mean 'lr'?",
    "optimzer.momentum=0.5": "Did you mean 'optimizer.momentum'?",
    "data.root=x": "belongs to data=cifar10, cifar100, fashion_mnist, image_folder,",
    "+lr=0.1": "lr exists already. Type lr=..., without the +.",
    "lr=": "lr has no value. Type lr=VALUE; it must be a number.",
    "lr=[0.1,0.2]": "lr=[0.1, 0.2] must be a number. A sweep needs no brackets: type -m lr=0.1,0.2.",
    "lr=0.1}": "lr=0.1} must be a number.",
    "lr=1e400": "lr=inf must be a finite number above 0",
    "lr=${lr}": "lr: Recursive interpolation",
    "lr=${nothing}": "lr refers to a key that does not exist",
    "lr=0.1,0.2": """add -m to sweep over them, or type one; a text with a comma needs quotes""",
    "seed=0-4": "For all from 0 to 4 type -m 'seed=range(5)'.",
    "seed=1.5": "seed=1.5 must be a whole number.",
    "seed=100000000000000000000": "must be between 0 and 2**63 - 1",
    "epochs=10**18": "epochs=10**18 must be a whole number.",
    "epochs=1000000000000000000": "must be at most 2147483647",
    "batch_size=64.0": "Type batch_size=64.",
    "threads=100000": "at most 1024",
    "compile=perhaps": "compile=perhaps must be true or false.",
    "name=null": "name must have a value. Type name=VALUE, or leave it out for its default.",
    "name=../x": "becomes a folder: use letters, digits",
    "name=...": "begin with a letter or a digit",
    "name=ends ": "name='ends ' becomes a folder",
    f"name={'x' * 300}": "it has 300 bytes of at most 255. Type a shorter name=...",
    f"name={'数' * 100}": "it has 300 bytes of at most 255",
    "optimizer=null": "A group needs the name of a choice",
    "search=asha": "has no effect on a single run. To search, add -m and hydra/sweeper=search.",
    "-m hydra/sweeper=search": "A search needs something to choose",
    "-m hydra/sweeper=search lr=0.1": "A search needs something to choose",
    "-m seed=rang(3)": "There is no rang(...) here: a sweep knows -m 'seed=range(1,4)'",
    "--config-dir nowhere": "nowhere",
}


def test_what_was_typed_is_refused_in_one_sentence(tmp_path: Path) -> None:
    lines = [line.split(" ") if line.startswith("-") else [line] for line in TYPED]
    for (line, message), answer in zip(
        TYPED.items(), train_many(tmp_path, [[*line, "plan=true"] for line in lines]), strict=True
    ):
        assert answer.code == 2, (line, answer)
        assert any(part in answer.err for part in message.split("|")), (line, answer.err)
        assert len(answer.err.splitlines()) == 1, answer.err
        assert not answer.left, (line, answer.left)


def test_what_can_be_meant_is_understood(tmp_path: Path) -> None:
    understood = [
        ["data=image_folder", "data.root=数据集/a=b (c), d's #1", "name=实验"],
        ["-m", "data=image_folder", "data.root=数据集,b c", "lr=1e-3"],
        ["lr=1e-3", "threads=None", "--config-dir", "."],
        ["exclude=lr > 0.1", "epochs=1_0", "compile=yes"],
    ]
    for answer in train_many(tmp_path, [[*line, "plan=true"] for line in understood]):
        assert (answer.code, answer.err) == (0, "")


def test_flags_answer_wherever_they_stand(tmp_path: Path) -> None:
    lines = [["--version"], ["lr=0.5", "--cfg", "job"], ["lr=0.5", "--help"], ["--hydra-help"]]
    version, config, own, hydra = train_many(tmp_path, lines)
    assert version.out.startswith("sweeps 0.")
    assert "lr: 0.5" in config.out
    assert "optimizer: adadelta, adafactor" in own.out
    assert "--multirun" in hydra.out
