"""Bad data, downloads and values end with one sentence, exit code 2, and nothing left behind.

The other refusals of a command line are in test_commands.py.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
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
