"""Splits, batches, the cache of decoded images, and what each source refuses."""

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from sweeps.data import Batches, Source, Split, cached, prepare
from sweeps.data.dataset import digest, stratified
from sweeps.data.sources import DATASETS, digits, image_folder, synthetic, torchvision_dataset
from sweeps.errors import BadInputError
from sweeps.seeding import generator


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("SWEEPS_CACHE", str(folder))
    return folder


def small(samples: int = 40) -> Source:
    return synthetic(
        samples=samples, test_samples=12, channels=3, image_size=6, classes=4, noise=0.5
    )


def own(split: Split) -> torch.Tensor:
    return split.contiguous().images


def folder_source(root: Path, test_fraction: float = 0.25) -> Source:
    return image_folder(root=str(root), image_size=8, test_fraction=test_fraction)


def make_images(root: Path, classes: int = 2, each: int = 4) -> Path:
    for index in range(classes):
        folder = root / f"class{index}"
        folder.mkdir(parents=True)
        for number in range(each):
            Image.new("RGB", (20, 10), (90 * index, number, 0)).save(folder / f"{number}.png")
    return root


# Splits


def test_the_limit_is_the_same_for_every_seed() -> None:
    one, other = (prepare(small(), val_fraction=0.5, limit=8, seed=seed) for seed in (0, 1))
    assert one.val is not None
    assert other.val is not None
    assert (len(one.train), len(one.val), len(one.test)) == (4, 4, 8)
    pools = [torch.cat([own(data.train), own(data.val)]) for data in (one, other) if data.val]
    rows = [sorted(pool.flatten(1).tolist()) for pool in pools]
    assert rows[0] == rows[1]
    assert not torch.equal(own(one.train), own(other.train))
    assert torch.equal(own(one.test), own(other.test))


@pytest.mark.parametrize(
    ("val_fraction", "limit"), [(0.0, None), (0.1, None), (0.0, 300), (0.25, 300)]
)
def test_a_split_shares_the_images_and_gives_the_bits_of_a_copy(
    val_fraction: float, limit: int | None
) -> None:
    source = digits()
    data = prepare(source, val_fraction=val_fraction, val_split="random", limit=limit, seed=5)
    pool, test = copied(source.train, limit), copied(source.test, limit)
    parts = [(data.train, pool), (data.test, test)]
    if data.val is not None:
        held_out = round(len(pool) * val_fraction)
        order = torch.randperm(len(pool), generator=generator(5, "split"))
        val, train = (
            Split(pool.images[part], pool.labels[part])
            for part in (order[:held_out], order[held_out:])
        )
        parts = [(data.val, val), (data.train, train), (data.test, test)]
    whole = prepare(Source(pool, test, source.classes, ""), val_fraction=0, limit=None, seed=0)
    assert (data.mean, data.std) == (whole.mean, whole.std)
    assert (data.val is None) == (val_fraction == 0)
    for split, copy in parts:
        assert split.images.data_ptr() in (
            source.train.images.data_ptr(),
            source.test.images.data_ptr(),
        )
        assert len(split) == len(copy) > 0
        assert torch.equal(own(split), copy.images)
        assert_same_batches(split, copy)


def test_every_class_is_validated_in_its_share() -> None:
    sizes = torch.tensor([500, 50, 10])
    labels = torch.repeat_interleave(torch.arange(3), sizes)
    pool = Split(torch.zeros(560, 1, 1, 1, dtype=torch.uint8), labels)
    source = Source(pool, pool, ("a", "b", "c"), "")
    chosen = set()
    for seed in range(20):
        data = prepare(source, val_fraction=0.1, limit=None, seed=seed)
        assert data.val is not None
        assert data.val.indices is not None
        assert torch.bincount(data.val.labels).tolist() == [50, 5, 1]
        assert torch.bincount(data.train.labels).tolist() == [450, 45, 9]
        chosen.add(int(data.val.indices[data.val.labels == 2]))
    assert len(chosen) > 5


@pytest.mark.parametrize(
    ("sizes", "count", "expected"),
    [
        ([900, 90, 10], 10, [8, 1, 1]),
        ([900, 99, 1], 10, [9, 1, 0]),
        ([4, 4, 4], 6, [2, 2, 2]),
        ([2, 2], 2, [1, 1]),
        ([7], 3, [3]),
    ],
)
def test_the_first_hold_every_group(sizes: list[int], count: int, expected: list[int]) -> None:
    groups = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    order = torch.randperm(len(groups), generator=generator(0, "split"))
    found = stratified(order, groups)
    assert torch.equal(found.sort().values, torch.arange(len(groups)))
    assert torch.bincount(groups[found[:count]], minlength=len(sizes)).tolist() == expected


def test_fewer_than_the_groups_are_any_of_them() -> None:
    groups = torch.arange(100) // 5
    firsts = [
        stratified(torch.randperm(100, generator=generator(seed, "split")), groups)[:4]
        for seed in range(40)
    ]
    assert all(len(torch.unique(groups[first])) == 4 for first in firsts)
    assert len(torch.unique(groups[torch.cat(firsts)])) == 20


def copied(split: Split, limit: int | None) -> Split:
    if limit is None:
        return split
    order = torch.randperm(len(split), generator=generator(0, "limit"))[:limit]
    return Split(split.images[order], split.labels[order])


def assert_same_batches(split: Split, copy: Split) -> None:
    made = [
        Batches(
            each,
            batch_size=16,
            mean=[0.3],
            std=[0.2],
            crop=1,
            flip=True,
            seed=5,
            device=torch.device("cpu"),
        )
        for each in (split, copy)
    ]
    for pairs in (
        [[*batches.epoch(0), *batches.epoch(3, start=1)] for batches in made],
        [list(batches.ordered(batch_size=70)) for batches in made],
    ):
        assert len(pairs[0]) == len(pairs[1]) > 0
        for (x, y), (other_x, other_y) in zip(*pairs, strict=True):
            assert torch.equal(x, other_x)
            assert torch.equal(y, other_y)


def test_a_choice_of_a_choice() -> None:
    pool = small().train
    even = pool.take(torch.arange(0, len(pool), 2))
    some = even.take(torch.tensor([3, 0, 3]))
    assert torch.equal(own(some), pool.images[[6, 0, 6]])
    assert torch.equal(some.pick(torch.tensor([1])), pool.images[:1])
    assert torch.equal(some.labels, pool.labels[[6, 0, 6]])
    assert pool.contiguous() is pool


def test_a_choice_has_the_digest_of_a_copy_and_is_cached_alone() -> None:
    source = small()
    train = source.train.take(torch.tensor([7, 2, 9]))
    copy = Split(source.train.images[[7, 2, 9]], source.train.labels[[7, 2, 9]])
    assert digest(train, source.test, ()) == digest(copy, source.test, ())
    stored = cached({"a": 1}, lambda: Source(train, source.test, (), ""))
    assert torch.equal(stored.train.images, copy.images)


@pytest.mark.parametrize("name", ["cuda", "meta"])
def test_only_the_images_of_a_split_go_to_another_device(name: str) -> None:
    device = torch.device(name)
    if name == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    chosen = small().train.take(torch.tensor([7, 2, 9]))
    moved = chosen.to(device)
    assert moved.images.shape == (3, 6, 6, 3)
    assert (moved.images.device.type, moved.labels.device.type) == (name, name)
    assert chosen.to(torch.device("cpu")) is chosen


def test_statistics_are_of_the_whole_pool_and_never_zero() -> None:
    source = small()
    values = source.train.images.double().div(255).flatten(0, 2)
    data = prepare(source, val_fraction=0.25, limit=None, seed=0)
    assert data.mean == pytest.approx(values.mean(0).tolist())
    assert data.std == pytest.approx(values.std(0, correction=0).tolist())
    black = Split(torch.zeros(4, 2, 2, 1, dtype=torch.uint8), torch.tensor([0, 1, 0, 1]))
    flat = prepare(Source(black, black, ("a", "b"), ""), val_fraction=0, limit=None, seed=0)
    assert flat.std[0] > 0


@pytest.mark.parametrize(("val_fraction", "limit"), [(0.01, None), (1.0, None), (0.1, 2), (0.0, 0)])
def test_an_empty_part_is_refused(val_fraction: float, limit: int | None) -> None:
    with pytest.raises(BadInputError, match=r"data\.val_fraction=.* training images leaves"):
        prepare(small(), val_fraction=val_fraction, limit=limit, seed=0)


def test_the_digest_follows_pixels_labels_and_names() -> None:
    source = small()
    pixels, labels = source.train.images.clone(), source.train.labels.clone()
    pixels[0, 0, 0, 0] ^= 1
    labels[0] += 1
    digests = {
        source.digest,
        digest(Split(pixels, source.train.labels), source.test, source.classes),
        digest(Split(source.train.images, labels), source.test, source.classes),
        digest(source.train, source.test, ("other", *source.classes[1:])),
    }
    assert len(digests) == 4
    assert small().digest == source.digest
    assert len(source.digest) == 32


# Batches


def numbered(n: int = 5, *, crop: int, flip: bool, size: int = 4) -> tuple[Split, Batches]:
    pixels = torch.arange(1, n * size * size + 1).to(torch.uint8).view(n, size, size, 1)
    split = Split(pixels, torch.arange(n))
    return split, Batches(
        split,
        batch_size=2,
        mean=None,
        std=None,
        crop=crop,
        flip=flip,
        seed=3,
        device=torch.device("cpu"),
    )


def test_pixels_without_normalisation_are_in_0_to_1() -> None:
    split, batches = numbered(crop=0, flip=False)
    assert batches.steps_per_epoch == 3
    seen = list(batches.epoch(0))
    assert [len(y) for _, y in seen] == [2, 2, 1]
    for x, y in seen:
        assert x.dtype == torch.float32
        torch.testing.assert_close(x, split.images[y].permute(0, 3, 1, 2) / 255)


def test_evaluation_keeps_the_stored_order_whatever_the_augmentation() -> None:
    split, batches = numbered(crop=1, flip=True)
    pairs = list(batches.ordered(batch_size=3))
    assert [len(y) for _, y in pairs] == [3, 2]
    torch.testing.assert_close(
        torch.cat([x for x, _ in pairs]), split.images.permute(0, 3, 1, 2) / 255
    )
    assert torch.equal(torch.cat([y for _, y in pairs]), split.labels)


def test_a_flip_mirrors_whole_images_and_about_half_of_them() -> None:
    split, batches = numbered(100, crop=0, flip=True, size=2)
    mirrored = 0
    for x, y in batches.epoch(0):
        for image, label in zip(x, y, strict=True):
            original = split.images[label].permute(2, 0, 1)
            got = (image * 255).round().to(torch.uint8)
            same, flipped = torch.equal(got, original), torch.equal(got, original.flip(2))
            assert same != flipped
            mirrored += flipped
    assert 30 < mirrored < 70


def test_a_crop_is_a_window_of_the_padded_image() -> None:
    split, batches = numbered(crop=1, flip=False)
    corners = set()
    for epoch in range(20):
        for x, y in batches.epoch(epoch):
            for image, label in zip(x, y, strict=True):
                padded = torch.nn.functional.pad(split.images[label, :, :, 0], (1, 1, 1, 1))
                got = (image[0] * 255).round().to(torch.uint8)
                found = [
                    (i, j)
                    for i in range(3)
                    for j in range(3)
                    if torch.equal(padded[i : i + 4, j : j + 4], got)
                ]
                assert len(found) == 1
                corners.update(found)
    assert len(corners) == 9


def test_making_batches_leaves_the_split_alone() -> None:
    split, batches = numbered(crop=1, flip=True)
    before = split.images.clone()
    assert len(list(batches.epoch(0))) + len(list(batches.ordered())) == 4
    assert torch.equal(split.images, before)


# The cache


def test_the_second_call_reads_what_the_first_stored(cache: Path) -> None:
    made: list[int] = []

    def make() -> Source:
        made.append(1)
        return small()

    first, second = cached({"a": 1}, make), cached({"a": 1}, make)
    assert len(made) == 1
    assert first.digest == second.digest == small().digest
    assert second.classes == small().classes
    assert torch.equal(second.train.images, small().train.images)
    assert torch.equal(second.test.labels, small().test.labels)
    cached({"a": 2}, make)
    assert len(made) == 2
    assert not list(cache.glob("*.tmp"))


def test_a_cached_split_written_to_does_not_change_the_files() -> None:
    cached({"a": 1}, small).train.images.zero_()
    assert torch.equal(cached({"a": 1}, small).train.images, small().train.images)


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("train_images.npy", lambda content: b""),
        ("train_images.npy", lambda content: content[:-5]),
        ("test_labels.npy", lambda content: b"damaged"),
        ("meta.json", lambda content: b""),
        ("meta.json", lambda content: b"[]"),
        ("meta.json", lambda content: b"null"),
        ("meta.json", lambda content: json.dumps({"shapes": []}).encode()),
        ("train_labels.npy", None),
    ],
)
def test_a_damaged_cache_is_made_again_with_one_warning(
    name: str,
    damage: Callable[[bytes], bytes] | None,
    cache: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    cached({"a": 1}, small)
    (file,) = cache.rglob(name)
    if damage is None:
        file.unlink()
    else:
        file.write_bytes(damage(file.read_bytes()))
    assert torch.equal(cached({"a": 1}, small).train.images, small().train.images)
    cached({"a": 1}, small)
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "is damaged" in warnings[0].getMessage()


def test_a_cache_that_cannot_be_written_names_the_variable(cache: Path) -> None:
    cache.write_text("a file where the folder should be")
    with pytest.raises(BadInputError, match="SWEEPS_CACHE"):
        cached({"a": 1}, small)


def test_a_failed_decoding_stores_nothing(cache: Path) -> None:
    def fail() -> Source:
        raise BadInputError("broken image")

    with pytest.raises(BadInputError, match="broken image"):
        cached({"a": 1}, fail)
    assert [path.suffix for path in cache.iterdir()] == [".lock"]


# Sources


def test_digits_use_the_whole_range_and_a_stratified_test() -> None:
    source = digits()
    assert (len(source.train) + len(source.test), len(source.classes)) == (1797, 10)
    assert (int(source.train.images.min()), int(source.train.images.max())) == (0, 255)
    held_out = torch.bincount(source.test.labels)
    shares = held_out / (held_out + torch.bincount(source.train.labels))
    assert shares.sub(0.2).abs().max() < 0.01


def test_image_folder_with_its_own_test_folder(tmp_path: Path) -> None:
    make_images(tmp_path / "images" / "train", classes=3, each=5)
    make_images(tmp_path / "images" / "test", classes=3, each=2)
    source = folder_source(tmp_path / "images")
    assert (len(source.train), len(source.test)) == (15, 6)
    assert source.train.images[:, 0, 0, 0].tolist() == [0] * 5 + [90] * 5 + [180] * 5
    assert source.train.labels.tolist() == [0] * 5 + [1] * 5 + [2] * 5


def test_every_pillow_mode_becomes_rgb(tmp_path: Path) -> None:
    root = make_images(tmp_path / "images")
    for mode in ("L", "RGBA", "P", "1"):
        Image.new(mode, (5, 7)).save(root / "class0" / f"mode_{mode}.png")
    source = folder_source(root)
    assert len(source.train) + len(source.test) == 12
    assert source.train.images.shape[1:] == (8, 8, 3)


def test_a_changed_image_is_decoded_again(tmp_path: Path) -> None:
    root = make_images(tmp_path / "images")
    before = folder_source(root).digest
    assert folder_source(root).digest == before
    file = root / "class1" / "0.png"
    Image.new("RGB", (20, 10), (1, 2, 3)).save(file)
    os.utime(file, ns=(1, 1))
    assert folder_source(root).digest != before


@pytest.mark.skipif(os.name != "posix", reason="only POSIX file names are bytes")
def test_a_file_name_that_is_not_utf8(tmp_path: Path) -> None:
    root = make_images(tmp_path / "images")
    odd = Path(os.fsdecode(os.fsencode(root / "class0") + b"/\xff.png"))
    try:
        odd.write_bytes((root / "class0" / "0.png").read_bytes())
    except OSError:
        pytest.skip("this file system takes UTF-8 names alone")
    source = folder_source(root)
    assert len(source.train) + len(source.test) == 9


def test_a_root_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "images").write_text("")
    with pytest.raises(BadInputError, match=r"is a file\. Type data\.root=FOLDER"):
        folder_source(tmp_path / "images")


def test_a_class_too_small_for_its_test_share(tmp_path: Path) -> None:
    root = make_images(tmp_path / "images", each=1)
    with pytest.raises(BadInputError, match="class0 has 1 image"):
        folder_source(root)


def test_an_unknown_dataset() -> None:
    with pytest.raises(BadInputError, match=r"data\.dataset=Cifar must be one of CIFAR10, "):
        torchvision_dataset(dataset="Cifar", root=None)


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # the discard port: refused at once
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("dataset", DATASETS)
def test_an_unreachable_host_says_where_the_archive_goes(dataset: str, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="cannot be downloaded") as raised:
        torchvision_dataset(dataset=dataset, root=str(tmp_path))
    folder = tmp_path / dataset / "raw" if dataset.endswith("MNIST") else tmp_path
    assert f"{dataset} cannot" in str(raised.value)
    assert f"put its archive into {folder} by hand" in str(raised.value)
    assert "data=digits" in str(raised.value)


@pytest.mark.usefixtures("offline")
def test_a_damaged_archive_offline_is_to_be_deleted(tmp_path: Path) -> None:
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(b"damaged")
    with pytest.raises(BadInputError, match="after deleting any damaged one there"):
        torchvision_dataset(dataset="CIFAR10", root=str(tmp_path))


@pytest.mark.usefixtures("offline")
def test_damaged_decompressed_files_name_their_folder(tmp_path: Path) -> None:
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part in ("train", "t10k"):
        for kind in ("images-idx3", "labels-idx1"):
            (raw / f"{part}-{kind}-ubyte").write_bytes(b"")
    with pytest.raises(BadInputError, match=r"is damaged .* Delete its files there"):
        torchvision_dataset(dataset="MNIST", root=str(tmp_path))


def idx(*shape: int) -> bytes:
    header = bytes([0, 0, 8, len(shape)]) + b"".join(n.to_bytes(4, "big") for n in shape)
    return header + bytes(i % 10 for i in range(torch.Size(shape).numel()))


@pytest.mark.usefixtures("offline")
def test_files_put_there_by_hand_are_read_offline(tmp_path: Path) -> None:
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part, n in (("train", 20), ("t10k", 10)):
        (raw / f"{part}-images-idx3-ubyte").write_bytes(idx(n, 28, 28))
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(idx(n))
    source = torchvision_dataset(dataset="MNIST", root=str(tmp_path))
    assert source.train.images.shape == (20, 28, 28, 1)
    assert source.test.labels.tolist() == list(range(10))
    assert len(source.classes) == 10
