"""Image sets through torchvision: well-known ones by name, folders of pictures.

Torchvision is the optional extra ``vision`` and slow to import, so functions import it; ``idx`` and ``mnist_like`` in
idx.py read MNIST and its relatives without it.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..types import DataError
from .arrays import choose_device
from .images import Images, from_bytes

VISION = "image sets are read through torchvision, which is not installed: pip install 'bnn-zoo[vision]'"
MODES = {1: "L", 3: "RGB"}  # Pillow's names of grey and colour


def _mnist(dataset: str) -> Callable[..., Any]:
    def read(root: Path, train: bool, download: bool) -> Any:
        from torchvision import datasets

        held = getattr(datasets, dataset)(root, train=train, download=download)
        return held.data[:, None], held.targets, held.classes

    return read


def _cifar(root: Path, train: bool, download: bool) -> Any:
    from torchvision.datasets import CIFAR10

    held = CIFAR10(root, train=train, download=download)
    return held.data.transpose(0, 3, 1, 2), held.targets, held.classes


def _svhn(root: Path, train: bool, download: bool) -> Any:
    from torchvision.datasets import SVHN

    held = SVHN(root, split="train" if train else "test", download=download)
    return held.data, held.labels, range(10)


DATASETS: dict[str, Callable[[Path, bool, bool], Any]] = {
    "MNIST": _mnist("MNIST"),
    "FashionMNIST": _mnist("FashionMNIST"),
    "KMNIST": _mnist("KMNIST"),
    "CIFAR10": _cifar,
    "SVHN": _svhn,
}
"""What ``images`` can read: name to ``(root, train, download) -> (bytes [n, channels, h, w], labels, classes)``."""

UNREADABLE = (AssertionError, EOFError, KeyError, OSError, RuntimeError, TypeError, ValueError, pickle.UnpicklingError)


def images(
    name: str, root: str | Path, *, train: bool = True, download: bool = False, device: torch.device | str | None = None
) -> Images:
    """The training or test images of the set ``name`` in ``DATASETS``, kept below ``root`` as torchvision does.

    download: fetch what is not there yet. Floats take 4 bytes a pixel: 188 MB for MNIST, 614 MB for CIFAR10. Raises
    DataError for other names and for files that are missing or damaged, ImportError without torchvision.
    """
    if name not in DATASETS:
        raise DataError(f"expected one of {', '.join(DATASETS)}, got {name!r}: idx and image_folder read other sets")
    choose_device(device)  # before the files, which take long
    try:
        pixels, labels, classes = DATASETS[name](Path(root).expanduser(), train, download)
    except ImportError as error:
        raise ImportError(VISION) from error
    except UNREADABLE as error:
        raise DataError(
            f"found no whole copy of {name} in {Path(root).absolute()} ({type(error).__name__}: {error}): write "
            f"download=True to fetch it, delete damaged files first; .gz files of MNIST's kind need mnist_like(folder)"
        ) from error
    return from_bytes(pixels, labels, classes, device)


def image_folder(
    root: str | Path,
    *,
    size: int | tuple[int, int] | None = None,
    channels: int = 3,
    device: torch.device | str | None = None,
) -> Images:
    """The pictures in ``root/<class>/…``, classes in alphabetical order, as torchvision's ImageFolder finds them.

    size: resize every picture to (height, width), or to a square (bilinear, antialiased); without it all must have one
    size. channels: 3 for colour, 1 for grey. Photographs are turned as their camera noted. Raises DataError for folders
    without pictures, other sizes, unreadable files, more than 8 bits, transparency and several pictures in a file,
    ImportError without torchvision.
    """
    if channels not in MODES:
        raise DataError(f"expected channels=1 (grey) or 3 (colour), got {channels}")
    wanted = (size, size) if isinstance(size, int) else size
    whole = isinstance(wanted, tuple | list) and len(wanted) == 2 and all(type(s) is int and s > 0 for s in wanted)
    if wanted is not None and not whole:
        raise DataError(f"expected size=(height, width) in whole pixels from 1, or one number for both, got {size}")
    root = Path(root).expanduser()
    try:
        from torchvision.datasets import ImageFolder
    except ImportError as error:
        raise ImportError(VISION) from error
    try:
        found = ImageFolder(root)
    except OSError as error:
        raise DataError(f"expected a folder of pictures for each class in {Path(root).absolute()}: {error}") from error
    pixels = [_picture(path, wanted, MODES[channels]) for path, _ in found.samples]
    for (path, _), picture in zip(found.samples, pixels, strict=True):
        if picture.shape != pixels[0].shape:
            one, other = pixels[0].shape[1:], picture.shape[1:]
            raise DataError(f"expected one size, got {one} in {found.samples[0][0]} and {other} in {path}: write size={one}")
    return from_bytes(np.stack(pixels), found.targets, found.classes, device)


def _picture(path: str, size: tuple[int, int] | None, mode: str) -> np.ndarray:
    """Bytes ``[channels, height, width]``."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            frames = getattr(image, "n_frames", 1)
            if frames > 1:
                raise DataError(f"expected one picture in {path}, got {frames}: write each to a file of its own")
            clear = "A" in image.getbands() or "transparency" in image.info
            if clear and np.asarray(image.convert("RGBA"))[..., 3].min() < 255:
                raise DataError(f"{path} is transparent in places: put it on a background first, or its colours are chance")
            if image.mode[0] in "IF":  # Pillow would clip these at 255 and say nothing
                raise DataError(f"expected 8 bits a channel in {path}, got Pillow's mode {image.mode!r}: convert it first")
            picture = ImageOps.exif_transpose(image).convert(mode)
    except (OSError, SyntaxError) as error:
        raise DataError(
            f"expected a picture in {path}, got a file that cannot be read ({error}): delete or replace it"
        ) from error
    if size is not None:
        picture = picture.resize(size[::-1], Image.Resampling.BILINEAR)
    pixels = np.array(picture, dtype=np.uint8)
    return pixels[None] if mode == "L" else pixels.transpose(2, 0, 1)
