"""The idx format of MNIST and what borrowed it (FashionMNIST, KMNIST, notMNIST): plain or gzipped, without torchvision.

Two zero bytes, the type of the values (08: bytes), the number of axes, each axis as a big-endian 32-bit integer, then
the values (http://yann.lecun.com/exdb/mnist/).
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from ..types import DataError
from .images import Images, from_bytes

FETCH = "data.images('MNIST', root, download=True) fetches MNIST into root/MNIST/raw"


def idx(
    images: str | Path,
    labels: str | Path,
    *,
    classes: Sequence[str] | None = None,
    device: torch.device | str | None = None,
) -> Images:
    """The grey images ``[n, 1, height, width]`` of one idx file with the labels of another; each plain or gzipped.

    classes: names of the labels, by default the numbers 0 … max. Raises DataError for files that are missing, damaged
    or not idx, and for other numbers of images and labels.
    """
    x, y = _read(Path(images).expanduser(), 3, "images"), _read(Path(labels).expanduser(), 1, "labels")
    if len(x) != len(y):
        raise DataError(
            f"expected one label for each image, got {len(x)} images in {images} and {len(y)} labels in {labels}"
        )
    names = [str(i) for i in range(int(y.max()) + 1)] if classes is None else classes
    return from_bytes(x[:, None], y, names, device)


def mnist_like(
    folder: str | Path,
    *,
    train: bool = True,
    classes: Sequence[str] | None = None,
    device: torch.device | str | None = None,
) -> Images:
    """The training or test images of a ``folder`` laid out as torchvision's MNIST, its files plain or still ``.gz``.

    ``folder/raw`` holds ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte`` and the same of ``t10k``: MNIST,
    FashionMNIST, KMNIST, and notMNIST, of which ``mnist_like("notMNIST", train=False, classes="ABCDEFGHIJ")`` gives the
    letters. Other arguments and errors are those of ``idx``.
    """
    start = Path(folder).expanduser() / "raw" / ("train" if train else "t10k")
    files = [_plain_or_gz(start.with_name(start.name + end)) for end in ("-images-idx3-ubyte", "-labels-idx1-ubyte")]
    return idx(*files, classes=classes, device=device)


def _plain_or_gz(plain: Path) -> Path:
    packed = plain.with_name(plain.name + ".gz")
    for path in (plain, packed):
        if path.is_file():
            return path
    raise DataError(f"no file {plain}, nor {packed.name} beside it: {FETCH}")


def _bytes(path: Path) -> bytearray:
    if not path.is_file():
        raise DataError(f"no file {path}: {FETCH}")
    raw = path.read_bytes()
    if raw[:2] != b"\x1f\x8b":
        return bytearray(raw)
    try:
        return bytearray(gzip.decompress(raw))
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} is a damaged gzip file ({error}): delete it and download it again") from error


def _read(path: Path, axes: int, what: str) -> Tensor:
    """Bytes with so many axes."""
    raw = _bytes(path)
    if raw[:3] != b"\0\0\x08" or len(raw) < 4 or raw[3] != axes:
        raise DataError(
            f"{path} holds no idx {what}: expected first bytes 00 00 08 {axes:02x}, got {raw[:4].hex(' ') or 'nothing'}; "
            f"give the file of images first, then the labels, and download damaged ones again"
        )
    header = 4 + 4 * axes
    shape = struct.unpack_from(f">{axes}I", raw, 4) if len(raw) >= header else ()
    expected = header + math.prod(shape)
    if not shape or len(raw) != expected:
        told = f"its header says {'×'.join(map(str, shape))}, {expected} bytes" if shape else f"a header has {header} bytes"
        raise DataError(f"{path} is cut short or damaged: {told}, got {len(raw)}; delete it and download it again")
    if expected == header:
        raise DataError(f"{path} is empty: expected at least one row of {what}, got {'×'.join(map(str, shape))}")
    return torch.frombuffer(raw, dtype=torch.uint8, offset=header).reshape(shape)
