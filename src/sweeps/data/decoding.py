"""Image files as numbers: any depth and colour model, upright, ink on a ground it is seen on."""

from __future__ import annotations

import logging
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from sweeps.data.cache import cache_dir
from sweeps.errors import BadInputError
from sweeps.files import replace_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray


log = logging.getLogger(__name__)

VERSION = 2
"""Of what this module makes of a file; another number lets every folder be decoded again."""

NAMED = 10
"""Broken files in a message; more of them are listed in a file."""


def decode(paths: Sequence[Path], image_size: int, resize: str) -> NDArray[Any]:
    """Decodes images of any kind into one array.

    Images of 8 bits stay as they are. Where some have 16 bits all become shares of their full scale,
    0 to 1. Images of 32 bits or floats keep their values, which have no scale that others could share.

    Args:
        paths: The files.
        image_size: Height and width, in pixels.
        resize: 'squash', 'crop' (the middle) or 'pad' (with zeros, which are black).

    Returns:
        (n, image_size, image_size, 3), uint8 or float32.

    Raises:
        BadInputError: Files are broken, all named at once, or have values beside shares of a scale.
    """
    images = np.empty((len(paths), image_size, image_size, 3), dtype=np.uint8)
    deep: dict[int, NDArray[Any]] = {}
    broken: dict[int, str] = {}

    def read(index: int) -> None:
        try:
            pixels = read_image(paths[index], image_size, resize)
        except Exception as error:  # whatever a decoder raises, the file is what it cannot read
            broken[index] = _reason(error)
            return
        if pixels.dtype == np.uint8:
            images[index] = pixels
        else:
            deep[index] = pixels

    last = time.monotonic()
    with warnings.catch_warnings(action="ignore"), ThreadPoolExecutor() as pool:  # of what it mends
        for done, _ in enumerate(pool.map(read, range(len(paths)))):
            if time.monotonic() - last > 2:
                last = time.monotonic()
                log.info("Decoding images, once: %d of %d", done, len(paths))
    if broken:
        raise BadInputError(_name_broken(paths, broken))
    return _of_one_kind(paths, images, deep)


def read_image(path: Path, image_size: int, resize: str) -> NDArray[Any]:
    """Returns one image, (image_size, image_size, 3): uint8, uint16, or float32 for its values.

    Raises:
        Exception: Whatever Pillow raises for a file that it cannot read.
    """
    from PIL import Image

    with Image.open(path) as image:
        pixels = _deep_colours(image) if _has_deep_colours(image) else _pixels(image)
    if pixels.dtype == np.float32 and not np.isfinite(pixels).all():
        raise ValueError("it holds values that are not finite")
    if pixels.shape[-1] in (2, 4):
        pixels = _on_ground(pixels)
    return _resized(pixels, image_size, resize)


def _has_deep_colours(image: Any) -> bool:
    """Whether Pillow would drop half of the 16 bits of each colour."""
    return image.mode in ("LA", "RGB", "RGBA") and bool(image.tile) and ";16" in str(image.tile[0])


def _deep_colours(image: Any) -> NDArray[Any]:
    import torch
    from torchvision.io import ImageReadMode, decode_image  # takes seconds to import

    if image.format != "PNG":
        raise ValueError("16 bits a colour are read from PNG alone")
    image.fp.seek(0)
    content = torch.frombuffer(bytearray(image.fp.read()), dtype=torch.uint8)
    stored = decode_image(content, ImageReadMode.UNCHANGED, apply_exif_orientation=True)
    return np.asarray(stored.permute(1, 2, 0))


def _pixels(image: Any) -> NDArray[Any]:
    """Returns an image upright, (h, w, c): one or three channels, and one more for transparency."""
    image.load()
    _set_upright(image)
    if image.mode == "F":
        return np.asarray(image)[..., None]
    if image.mode.startswith("I"):
        # Older Pillows, and PGM files, give 16 bits in the mode of 32.
        sixteen = image.mode != "I" or image.format in ("PNG", "PPM")
        return np.asarray(image)[..., None].astype(np.uint16 if sixteen else np.float32)
    return np.asarray(image.convert("RGBA" if image.has_transparency_data else "RGB"))


def _set_upright(image: Any) -> None:
    from PIL import ImageOps

    try:
        ImageOps.exif_transpose(image, in_place=True)
    except Exception as error:  # damaged notes beside an image that is whole
        log.debug("The EXIF data of %s cannot be read: %s", image.filename, error)


def _on_ground(pixels: NDArray[Any]) -> NDArray[Any]:
    """Lays an image with transparency, (h, w, c + 1), on white; nearly white ink on black.

    Where nothing is drawn most programs store black, so without a ground black ink is not seen.
    """
    full = np.iinfo(pixels.dtype).max
    colour, cover = pixels[..., :-1], pixels[..., -1:] / np.float32(full)
    if cover.min() == 1:
        return colour
    contrast = (full - colour.min(axis=-1, keepdims=True)) * cover
    ground = full if contrast.sum() >= cover.sum() * full / 8 else 0
    return np.rint(colour * cover + ground * (1 - cover)).astype(pixels.dtype)


def _resized(pixels: NDArray[Any], size: int, resize: str) -> NDArray[Any]:
    from PIL import Image

    if pixels.dtype == np.uint8:
        return np.asarray(_fitted(Image.fromarray(pixels), size, resize))
    planes = [
        np.asarray(_fitted(Image.fromarray(plane.astype(np.float32)), size, resize))
        for plane in np.moveaxis(pixels, -1, 0)
    ]
    fitted = np.stack(planes if len(planes) == 3 else planes * 3, axis=-1)
    return np.rint(fitted).astype(np.uint16) if pixels.dtype == np.uint16 else fitted


def _fitted(image: Any, size: int, resize: str) -> Any:
    from PIL import Image, ImageOps

    shape, how = (size, size), Image.Resampling.BILINEAR
    if image.size == shape:
        return image
    if resize == "squash":
        return image.resize(shape, how)
    return (ImageOps.fit if resize == "crop" else ImageOps.pad)(image, shape, how)


def _of_one_kind(
    paths: Sequence[Path], images: NDArray[Any], deep: dict[int, NDArray[Any]]
) -> NDArray[Any]:
    if not deep:
        return images
    values = {index for index, pixels in deep.items() if pixels.dtype == np.float32}
    shares = next((i for i in range(len(paths)) if i not in values), None)
    if values and shares is not None:
        raise BadInputError(
            f"{paths[min(values)]} holds 32-bit or float values, {paths[shares]} whole numbers of 8 or 16"
            " bits: they have no scale in common. Save all images as one kind."
        )
    whole = images.astype(np.float32) / np.float32(255)
    for index, pixels in deep.items():
        whole[index] = pixels if values else pixels / np.float32(65535)
    return whole


def _reason(error: Exception) -> str:
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "it is no image"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return (str(error).strip() or repr(error)).splitlines()[0]


def _name_broken(paths: Sequence[Path], broken: dict[int, str]) -> str:
    files = {paths[index]: reason for index, reason in sorted(broken.items())}
    if len(files) == 1:
        ((path, reason),) = files.items()
        return (
            f"{path} cannot be read as an image ({reason}). Repair it or take it out of the folder."
        )
    named = ", ".join(f"{path} ({files[path]})" for path in list(files)[:NAMED])
    if len(files) > NAMED:
        listed = cache_dir() / "broken_images.txt"
        replace_text(listed, "\n".join(map(str, files)) + "\n")
        named += f" and {len(files) - NAMED} more, all of them listed in {listed}"
    return (
        f"{len(files)} of {len(paths)} files cannot be read as images: {named}."
        " Repair them or take them out of the folder."
    )
