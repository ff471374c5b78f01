"""Folders of images as people have them: what is taken, what is left out, and which numbers come out."""

import logging
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from sweeps.config.identity import flatten, identity
from sweeps.config.parse import from_mapping
from sweeps.config.saved import read_saved, resolve_references, with_defaults
from sweeps.data import Batches, Source, Split, prepare
from sweeps.data.sources import image_folder
from sweeps.errors import BadInputError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("SWEEPS_CACHE", str(folder))
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two classes of five images each."""
    for name, grey in (("cat", 50), ("dog", 200)):
        fill(tmp_path / "images" / name, grey)
    return tmp_path / "images"


def fill(folder: Path, grey: int, each: int = 5) -> None:
    folder.mkdir(parents=True)
    for number in range(each):
        save(folder / f"{number}.png", np.full((6, 6, 3), grey + number, np.uint8))


def save(path: Path, pixels: NDArray[Any], **options: Any) -> Path:
    Image.fromarray(pixels).save(path, **options)
    return path


def read(root: Path, **changed: Any) -> Source:
    return image_folder(
        **{"root": str(root), "image_size": 4, "test_fraction": 0.2} | changed  # type: ignore[arg-type]
    )


def sizes(source: Source) -> tuple[int, int, int]:
    return (len(source.train), len(source.val) if source.val else 0, len(source.test))


def pixels_of(root: Path, image: NDArray[Any] | bytes, ending: str = "png", **changed: Any) -> Any:
    """Returns what the only image of the first class becomes, (h, w), of its first channel."""
    for split in ("train", "test"):
        for name in ("a", "b"):
            folder = root / split / name
            folder.mkdir(parents=True)
            file = folder / f"1.{ending}"
            if isinstance(image, bytes):
                file.write_bytes(image)
            else:
                save(file, image)
    return read(root, **changed).train.images[0, ..., 0]


# What is taken


def hidden_copies(root: Path) -> None:
    for place in ("cat/.ipynb_checkpoints", "dog/.thumbnails", "__MACOSX/cat", ".git", "@eaDir"):
        (root / place).mkdir(parents=True)
        (root / place / "0.png").write_bytes((root / "cat/0.png").read_bytes())
    for name in ("._0.png", "Thumbs.db", ".DS_Store", "desktop.ini"):
        (root / "cat" / name).write_bytes(b"\0\5\26\7")


def broken_links(root: Path) -> None:
    (root / "cat" / "gone.png").symlink_to(root / "nowhere.png")
    (root / "cat" / "itself.png").symlink_to(root / "cat" / "itself.png")
    (root / "gone").symlink_to(root / "nowhere", target_is_directory=True)


def circles(root: Path) -> None:
    for name, target in (("up", root), ("here", root / "cat"), ("below", root.parent)):
        (root / "cat" / name).symlink_to(target, target_is_directory=True)


def odd_things(root: Path) -> None:
    (root / "cat" / "folder.png").mkdir()
    os.mkfifo(root / "cat" / "pipe.png")
    (root / "dog" / "labels.csv").write_text("0.png,dog")
    (root / "loose.png").write_bytes((root / "cat/0.png").read_bytes())
    (root / "README.md").write_text("")


@pytest.mark.parametrize(
    ("prepare_folder", "said"),
    [
        (hidden_copies, "hidden files and folders: 9"),
        (broken_links, "broken links: 3"),
        (circles, None),
        (
            odd_things,
            ".csv: 1, .md: 1, .png: 1, empty folders named like an image: 1, images outside",
        ),
    ],
    ids=["hidden", "broken links", "circles", "odd"],
)
def test_what_is_no_image_is_left_out_and_counted_in_one_line(
    prepare_folder: Callable[[Path], None],
    said: str | None,
    root: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    digest = read(root, test_fraction=0.4).digest
    prepare_folder(root)
    source = read(root)
    assert (sizes(source), source.classes) == ((8, 0, 2), ("cat", "dog"))
    lines = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert [said is not None and said in line for line in lines] == ([True] if said else [])
    assert read(root, test_fraction=0.4).digest == digest


def test_linked_folders_and_every_ending_of_a_picture_are_read(root: Path, tmp_path: Path) -> None:
    fill(tmp_path / "elsewhere" / "deeper", 90)
    (root / "cat" / "linked").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (root / "wolf").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    for ending in ("jfif", "JPE", "tga", "pcx"):
        save(root / "dog" / f"1.{ending}", np.full((6, 6, 3), 9, np.uint8))
    source = read(root)
    assert sum(sizes(source)) == 10 + 5 + 5 + 4
    assert source.classes == ("cat", "dog", "wolf")


def test_broken_files_are_named_all_at_once(root: Path, cache: Path) -> None:
    (root / "cat" / "empty.jpg").touch()
    whole = (root / "dog" / "1.png").read_bytes()
    (root / "dog" / "half.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadInputError, match=r"2 of 12 files .*empty\.jpg \(it is no image\).*half"):
        read(root)
    for number in range(20):
        (root / "cat" / f"page{number}.jpg").write_text("<html>")
    with pytest.raises(
        BadInputError, match=r"22 of 32 files .* and 12 more, all of them listed in"
    ):
        read(root)
    assert len((cache / "broken_images.txt").read_text().splitlines()) == 22


# Splits


def split_folders(tmp_path: Path, *names: str) -> Path:
    for name in names:
        for kind, grey in (("cat", 50), ("dog", 200)):
            fill(tmp_path / "images" / name / kind, grey + len(name))
    return tmp_path / "images"


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("train", "test"), (10, 0, 10)),
        (("Train", "Test"), (10, 0, 10)),
        (("TRAINING", "Testing"), (10, 0, 10)),
        (("train", "val", "test"), (10, 10, 10)),
        (("train", "val"), (8, 10, 2)),
        (("train", "Valid"), (8, 10, 2)),
        (("train", "validation"), (8, 10, 2)),
        (("train",), (8, 0, 2)),
    ],
)
def test_split_folders(
    names: tuple[str, ...], expected: tuple[int, int, int], tmp_path: Path
) -> None:
    source = read(split_folders(tmp_path, *names))
    assert (sizes(source), source.classes) == (expected, ("cat", "dog"))
    again = read(tmp_path / "images")  # from the cache
    assert (sizes(again), again.digest) == (expected, source.digest)


def test_a_class_of_trains_is_a_class(tmp_path: Path) -> None:
    for name in ("bus", "train"):
        fill(tmp_path / name, 50)
    assert read(tmp_path).classes == ("bus", "train")


def test_other_folders_beside_train_are_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = split_folders(tmp_path, "train")
    (root / "notes").mkdir()
    (root / "notes" / "labels.csv").touch()
    assert sizes(read(root)) == (8, 0, 2)
    assert "folders beside train: 1" in caplog.text


def test_two_validation_folders_are_refused(tmp_path: Path) -> None:
    root = split_folders(tmp_path, "train", "val", "valid")
    with pytest.raises(BadInputError, match=r"val and .*valid both hold val images; leave one"):
        read(root)


@pytest.mark.parametrize("lacking", ["train", "val", "test"])
def test_a_class_that_one_split_lacks_is_named(lacking: str, tmp_path: Path) -> None:
    root = split_folders(tmp_path, "train", "val", "test")
    for split in {"train", "val", "test"} - {lacking}:
        fill(root / split / "cow", 120)
    with pytest.raises(BadInputError, match="only one has cow"):
        read(root)


def test_a_val_folder_is_the_validation_split_for_every_seed(tmp_path: Path) -> None:
    source = read(split_folders(tmp_path, "train", "val", "test"))
    assert source.val is not None
    for seed in (0, 1):
        data = prepare(source, val_fraction=0.1, limit=None, seed=seed)
        assert data.val is not None
        assert torch.equal(data.val.images, source.val.images)
        assert len(data.train) == 10
    assert prepare(source, val_fraction=0, limit=None, seed=0).val is None
    few = prepare(source, val_fraction=0.1, limit=4, seed=0)
    assert few.val is not None
    assert (len(few.train), len(few.val), len(few.test)) == (4, 4, 4)


# Numbers

RAMP = np.arange(16).reshape(4, 4)


def png16(pixels: NDArray[np.uint16]) -> bytes:
    """Returns a PNG of 16 bits a channel, (h, w, c), which Pillow does not write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    height, width, channels = pixels.shape
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_sixteen_bits_keep_their_values(channels: int, tmp_path: Path) -> None:
    stored = np.full((4, 4, channels), 65535, np.uint16)
    stored[..., 0] = RAMP * 5  # all of it in the lower 8 bits
    found = pixels_of(tmp_path, png16(stored))
    assert found.dtype == torch.float32
    assert found.numpy() == pytest.approx(RAMP * 5 / 65535)


@pytest.mark.parametrize(
    ("image", "ending"),
    [
        ((RAMP * 4000).astype(np.uint16), "tif"),
        ((RAMP * 4000).astype(np.uint16), "png"),
        (b"P5 4 4 65535\n" + (RAMP * 4000).astype(">u2").tobytes(), "pgm"),
    ],
)
def test_sixteen_bit_files_become_shares_of_their_scale(
    image: NDArray[Any] | bytes, ending: str, tmp_path: Path
) -> None:
    found = pixels_of(tmp_path, image, ending)
    assert found.numpy() == pytest.approx(RAMP * 4000 / 65535)


@pytest.mark.parametrize(
    "values",
    [RAMP * np.float32(1e-7) - 3e-7, RAMP * np.float32(1e4), (RAMP * 100_000).astype("i4")],
)
def test_values_of_32_bits_are_kept(values: NDArray[Any], tmp_path: Path) -> None:
    found = pixels_of(
        tmp_path, values.astype(np.float32 if values.dtype.kind == "f" else "i4"), "tif"
    )
    assert found.numpy() == pytest.approx(values.astype(np.float32))
    data = prepare(read(tmp_path), val_fraction=0, limit=None, seed=0)
    split = data.train
    batches = batches_of(split, mean=data.mean, std=data.std)
    seen = torch.cat([x for x, _ in batches.ordered()])
    assert seen.mean().item() == pytest.approx(0, abs=1e-4)
    assert seen.std(correction=0).item() == pytest.approx(1, abs=1e-3)


def batches_of(split: Split, **normalisation: Any) -> Batches:
    return Batches(
        split,
        **{"mean": None, "std": None} | normalisation,
        batch_size=2,
        crop=0,
        flip=False,
        seed=0,
        device=torch.device("cpu"),
    )


def test_float_batches_leave_the_split_alone(tmp_path: Path) -> None:
    pixels_of(tmp_path, RAMP.astype(np.float32), "tif")
    split = read(tmp_path).train
    before = split.images.clone()
    batches = batches_of(split, mean=[1.0] * 3, std=[2.0] * 3)
    x, _ = next(batches.ordered())
    assert torch.equal(x[0, 0], (before[0, ..., 0] - 1) / 2)
    assert len(list(batches.epoch(0))) == 1
    assert torch.equal(split.images, before)


def test_eight_and_sixteen_bits_share_a_scale(root: Path) -> None:
    assert read(root).train.images.dtype == torch.uint8
    before = read(root, test_fraction=0.4).train.images
    save(root / "dog" / "9.png", np.full((6, 6), 65535, np.uint16))
    source = read(root, test_fraction=0.4)
    images = torch.cat([source.train.images, source.test.images])
    assert images.max() == 1
    assert set(before.flatten().tolist()) <= set((images * 255).round().flatten().tolist())


def test_values_without_a_scale_do_not_go_beside_shares(root: Path) -> None:
    save(root / "dog" / "9.tif", np.full((6, 6), 0.5, np.float32))
    with pytest.raises(BadInputError, match=r"9\.tif holds 32-bit or float values, .*0\.png whole"):
        read(root)


def test_values_that_are_no_numbers_are_named(root: Path) -> None:
    save(root / "dog" / "9.tif", np.full((6, 6), np.nan, np.float32))
    with pytest.raises(BadInputError, match=r"9\.tif cannot be read .*not finite"):
        read(root)


@pytest.mark.parametrize(("ink", "ground"), [(0, 255), (128, 255), (255, 0), (250, 0)])
@pytest.mark.parametrize("depth", [8, 16])
def test_ink_on_a_transparent_ground_stays_visible(
    ink: int, ground: int, depth: int, tmp_path: Path
) -> None:
    image = np.zeros((4, 4, 4), np.uint8)
    image[1] = (ink, ink, ink, 255)
    file = png16(image.astype(np.uint16) * 257) if depth == 16 else image
    found = pixels_of(tmp_path, file)
    scale = 255 if depth == 16 else 1
    assert (found * scale).round().tolist() == [[ground] * 4, [ink] * 4, [ground] * 4, [ground] * 4]


def test_a_palette_and_a_colour_can_be_transparent(tmp_path: Path) -> None:
    image = Image.fromarray(np.where(RAMP % 2, 0, 255).astype(np.uint8)).convert("P")
    file = tmp_path / "1.png"
    image.save(file, transparency=255)
    found = pixels_of(tmp_path / "images", file.read_bytes())
    assert set(found.flatten().tolist()) == {0, 255}


def test_an_opaque_image_is_what_it_was(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (4, 4, 4), dtype=np.uint8)
    image[..., 3] = 255
    assert pixels_of(tmp_path, image).numpy().tolist() == image[..., 0].tolist()


@pytest.mark.parametrize("turn", range(1, 9))
def test_photos_are_turned_upright(turn: int, tmp_path: Path) -> None:
    from PIL import ImageOps

    exif = Image.Exif()
    exif[274] = turn
    file = tmp_path / "1.png"
    image = Image.fromarray((RAMP * 16).astype(np.uint8))
    image.save(file, exif=exif)
    with Image.open(file) as stored:
        upright = np.asarray(ImageOps.exif_transpose(stored))
    found = pixels_of(tmp_path / "images", file.read_bytes())
    assert found.tolist() == upright.tolist()
    assert (found.tolist() == np.asarray(image).tolist()) == (turn == 1)


def test_damaged_notes_beside_an_image_are_no_matter(tmp_path: Path) -> None:
    file = tmp_path / "1.jpg"
    Image.new("L", (4, 4), 90).save(file, exif=b"Exif\0\0MM\0\x2a\0\0\0\x08\xff\xff\x01\x12")
    assert (pixels_of(tmp_path / "images", file.read_bytes(), "jpg") == 90).all()


@pytest.mark.parametrize(
    ("resize", "rows"),
    [
        ("squash", [[9, 9, 200, 200]] * 4),
        ("crop", [[9, 9, 200, 200]] * 4),
        ("pad", [[0] * 4, [9, 9, 200, 200], [9, 9, 200, 200], [0] * 4]),
    ],
)
@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_resizing(resize: str, rows: list[list[int]], kind: Any, tmp_path: Path) -> None:
    wide = np.repeat([[9, 200]], 4, axis=0).repeat(4, axis=1).astype(kind)  # 4 high, 8 wide
    found = pixels_of(tmp_path, wide, "tif", image_size=4, resize=resize)
    middle = [0, 3] if resize == "squash" else [0, 1, 2, 3]  # squashing mixes at the edge
    if resize == "pad":
        middle = [0, 3]
    assert found[:, middle].tolist() == [[row[i] for i in middle] for row in rows]


# Identities


def test_a_run_made_before_resize_was_a_key_keeps_its_identity() -> None:
    saved = Path(__file__).parents[2] / "golden/v1/.hydra/config.yaml"
    values, _ = with_defaults(read_saved(saved))
    values = resolve_references(values)
    values |= {"name": "a", "output_dir": "outputs", "tracking": {}, "trusted_targets": ["mine"]}
    common = ("val_fraction", "val_split", "limit", "normalize", "crop", "flip")
    shared = {k: values["data"][k] for k in common}
    folder = shared | {"_target_": "sweeps.data.sources.image_folder", "root": "images"}
    folder |= {"image_size": 32, "test_fraction": 0.2}

    def made(**data: Any) -> Any:
        return from_mapping(values | {"data": folder | data})

    before = "87f6938828b6abc2ecc6915398c0b534"  # of the code before it
    assert identity(made())[:32] == identity(made(resize="squash"))[:32] == before
    assert identity(made(resize="pad"))[:32] != before
    assert "data.resize" not in flatten(made())
    assert flatten(made(resize="pad"))["data.resize"] == "pad"
    with pytest.raises(
        BadInputError, match=r"data\.resize=squish is unknown\. Did you mean 'squash'"
    ):
        made(resize="squish")
    own = made(_target_="mine.images", resize="squash")
    assert flatten(own)["data.resize"] == "squash"


def test_ordinary_images_keep_the_digest_that_finished_runs_have_noted(tmp_path: Path) -> None:
    for name, grey in (("cat", 50), ("dog", 200)):
        folder = tmp_path / name
        folder.mkdir()
        for number in range(5):
            ramp = np.arange(7 * 9 * 3).reshape(7, 9, 3) * (number + 3) + grey
            save(folder / f"{number}.png", (ramp % 256).astype(np.uint8))
        image = Image.open(folder / "0.png")
        for file, mode in (("p.gif", "P"), ("a.png", "RGBA"), ("l.bmp", "L"), ("c.tif", "CMYK")):
            image.convert(mode).save(folder / file)
    assert (
        read(tmp_path).digest == "823b50c6ea6afd163988823b84555c94"
    )  # of the code before deep images
