"""What a folder of images holds: its splits, its classes, and what in it is no image."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from sweeps.errors import BadInputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    Classes = dict[str, list[Path]]


PICTURES = (
    "apng avif bmp dds dib gif ico j2k jfif jp2 jpe jpeg jpg jpx pbm pcx pfm pgm png pnm ppm qoi sgi"
    " tga tif tiff webp"
)
IMAGE_SUFFIXES = frozenset(f".{ending}" for ending in PICTURES.split())
"""Of the pictures among what Pillow reads."""

SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""Folder names in lower case, and the split that each means."""

SYSTEM = frozenset(
    {"__macosx", "@eadir", "$recycle.bin", "desktop.ini", "ehthumbs.db", "thumbs.db"}
)
"""Names in lower case, besides those with a dot in front, of what systems leave beside images."""

HIDDEN = "hidden files and folders"
BROKEN_LINKS = "broken links"
OUTSIDE = "images outside a class folder"
EMPTY = "empty folders named like an image"


@dataclass(frozen=True)
class Listing:
    """The images of a folder.

    Attributes:
        splits: 'train', with 'val' and 'test' where there are such folders, or 'all' where there are
            none: the images of each class, by its name.
        left_out: How many things were passed over, by what they are.
    """

    splits: dict[str, Classes] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in the order of their indices."""
        return tuple(next(iter(self.splits.values())))

    @property
    def paths(self) -> list[Path]:
        """Every image, split by split and class by class."""
        return [
            path for split in self.splits.values() for images in split.values() for path in images
        ]


def list_images(top: Path) -> Listing:
    """Lists the images of a folder of class folders, or of train/, val/ and test/ with such folders.

    Args:
        top: The folder; the splits' names may be written in any case. Links are followed.

    Raises:
        BadInputError: There are fewer than two classes, a split lacks one, or a folder is closed.
    """
    listing = Listing()
    folders = _split_folders(top, listing.left_out)
    for split, folder in folders.items():
        listing.splits[split] = _classes(folder, listing.left_out)
    (first, folder), *others = folders.items()
    _check_enough(folder, listing.splits[first], listing.left_out)
    for other, other_folder in others:
        _check_same((folder, listing.splits[first]), (other_folder, listing.splits[other]))
    return listing


def describe_left_out(left_out: Counter[str]) -> str:
    """Returns what was left out in words, such as 'broken links: 2, .csv: 1'."""
    return ", ".join(f"{what}: {count}" for what, count in sorted(left_out.items()))


def _split_folders(top: Path, left_out: Counter[str]) -> dict[str, Path]:
    folders = [child for child in _children(top) if child.is_dir() and not _is_hidden(child.name)]
    found: dict[str, Path] = {}
    for folder in folders:
        split = SPLITS.get(folder.name.lower())
        if split in found:
            raise BadInputError(
                f"{found[split]} and {folder} both hold {split} images; leave one of them in {top}."
            )
        if split is not None:
            found[split] = folder
    others = [folder for folder in folders if folder not in found.values()]
    if "train" not in found or (len(found) == 1 and any(map(_holds_images, others))):
        return {"all": top}  # train can be a class of trains
    for child in set(_children(top)) - set(found.values()):
        left_out["folders beside train" if child in others else _why_not(child) or OUTSIDE] += 1
    return {split: found[split] for split in ("train", "val", "test") if split in found}


def _classes(folder: Path, left_out: Counter[str]) -> Classes:
    classes = {}
    for child in _children(folder):
        if child.is_dir() and not _is_hidden(child.name):
            classes[child.name] = sorted(_images_below(child, left_out))
        else:
            left_out[_why_not(child) or OUTSIDE] += 1
    return {name: paths for name, paths in classes.items() if paths}


def _holds_images(folder: Path) -> bool:
    return next(_images_below(folder, Counter()), None) is not None


def _images_below(top: Path, left_out: Counter[str]) -> Iterator[Path]:
    # A link back up, or to a folder that was listed, would give a class the images of others or twice.
    seen = {str(parent) for parent in Path(os.path.realpath(top)).parents}
    seen |= {os.path.realpath(parent) for parent in top.absolute().parents}
    for folder, below, files in os.walk(top, followlinks=True, onerror=_refuse):
        place = os.path.realpath(folder)
        if place in seen:
            below.clear()
            continue
        seen.add(place)
        left_out[HIDDEN] += sum(map(_is_hidden, below))
        below[:] = [name for name in below if not _is_hidden(name)]
        if not below and not files and Path(folder).suffix.lower() in IMAGE_SUFFIXES:
            left_out[EMPTY] += 1
        for path in (Path(folder, name) for name in files):
            reason = _why_not(path)
            if reason is None:
                yield path
            else:
                left_out[reason] += 1


def _why_not(path: Path) -> str | None:
    """Returns what a file is that is no image by its name, or None."""
    if _is_hidden(path.name):
        return HIDDEN
    if not path.exists():
        return BROKEN_LINKS
    if path.is_file() and path.suffix.lower() in IMAGE_SUFFIXES:
        return None
    return path.suffix or "files without an ending"


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in SYSTEM


def _children(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        _refuse(error)


def _refuse(error: OSError) -> NoReturn:
    raise BadInputError(
        f"{error.filename} cannot be listed: {error.strerror}. Make it readable (chmod u+rx), or take"
        " it out of the folder."
    ) from error


def _check_enough(folder: Path, classes: Classes, left_out: Counter[str]) -> None:
    if len(classes) < 2:
        found = f"one class, {next(iter(classes))}" if classes else "no images in class folders"
        passed = f" (left out: {describe_left_out(left_out)})" if +left_out else ""
        raise BadInputError(
            f"{folder} holds {found}{passed}; at least two classes are needed, such as"
            f" {folder}/cat/1.jpg and {folder}/dog/1.jpg."
        )


def _check_same(one: tuple[Path, Classes], other: tuple[Path, Classes]) -> None:
    differing = ", ".join(sorted(set(one[1]) ^ set(other[1])))
    if differing:
        raise BadInputError(
            f"{one[0]} and {other[0]} must hold the same classes; only one has {differing}. Add images"
            " to the other, or put a dot in front of the folder's name: it is not read then."
        )
