"""Whole image sets as tensors on one device; and one image at a time, augmented. Read by vision.py and idx.py."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..types import DataError
from .arrays import choose_device

PIXELS = (0, 2, 3)  # the axes that a channel's statistics run over


@dataclass(frozen=True, eq=False)
class Images:
    """Images x ``[n, channels, height, width]`` in [0, 1] (until standardised) and labels y ``[n]``, an int64 each.

    ``classes`` names the labels 0 … len(classes) − 1. Raises DataError where the three do not fit together.
    """

    x: Tensor
    y: Tensor
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.x.dim() != 4 or not self.x.is_floating_point() or self.y.dtype != torch.int64:
            got = f"{tuple(self.x.shape)} of {self.x.dtype} and {self.y.dtype}"
            raise DataError(f"expected images [n, channels, height, width] of floats and labels of int64, got {got}")
        if self.y.shape != self.x.shape[:1]:
            raise DataError(f"expected one label for each image, got {len(self.x)} images and labels {tuple(self.y.shape)}")
        if self.x.numel() == 0:
            raise DataError(f"expected at least one image, got shape {tuple(self.x.shape)}")
        if not bool(self.x.sum().isfinite()):  # one pass, no copy: a NaN or an infinity stays in a sum
            raise DataError("expected images of finite numbers, got NaN or infinite ones: drop or mend them")
        low, high = int(self.y.min()), int(self.y.max())
        if low < 0 or high >= len(self.classes):
            raise DataError(f"expected labels 0 … {len(self.classes) - 1}, got {low} … {high}: name every class in classes")

    def __len__(self) -> int:
        return len(self.x)

    def __repr__(self) -> str:
        shape = "×".join(map(str, self.x.shape[1:]))
        return f"Images({len(self)} of {shape}, {len(self.classes)} classes, {self.x.device})"

    @property
    def rows(self) -> tuple[Tensor, Tensor]:
        """``(x, y)``, as ``bz.fit`` takes them."""
        return self.x, self.y

    def subset(self, index: Any) -> Images:
        """The images at ``index``: a slice, row numbers or a mask ``[n]``. IndexError where there is no such row."""
        chosen = index if isinstance(index, slice) else torch.as_tensor(index).cpu()
        if isinstance(chosen, Tensor) and (chosen.dim() != 1 or not len(chosen)):
            raise DataError(f"expected a slice, row numbers or a mask with one axis, got shape {tuple(chosen.shape)}")
        at = torch.arange(len(self))[chosen].to(self.x.device)
        return Images(self.x[at], self.y[at], self.classes)

    def to(self, device: torch.device | str | None) -> Images:
        """The same images on ``device``; DataError where it is CUDA and there is none."""
        place = choose_device(device)
        return Images(self.x.to(device=place), self.y.to(device=place), self.classes)


def from_bytes(pixels: Any, labels: Any, classes: Any, device: torch.device | str | None) -> Images:
    """Images from bytes 0 … 255 ``[n, channels, height, width]``, which travel to the device before they become floats."""
    place = choose_device(device)
    x = torch.as_tensor(pixels).to(device=place).contiguous().float().div_(255)
    return Images(x, torch.as_tensor(labels, dtype=torch.int64).to(device=place), tuple(map(str, classes)))


def standardise(train: Images, *others: Images) -> tuple[Images, ...]:
    """All sets with the mean of ``train`` in each channel taken off, over its standard deviation there.

    ``train, test, letters = standardise(train, test, letters)``: only training images shape the scale. Raises DataError
    for a channel without contrast and for other numbers of channels.
    """
    mean = train.x.mean(PIXELS, keepdim=True)
    sd = train.x.std(PIXELS, correction=0, keepdim=True)
    flat = (train.x.amin(PIXELS) == train.x.amax(PIXELS)).nonzero().flatten().tolist()
    if flat:
        raise DataError(f"expected contrast in every channel, got one value throughout channels {flat}: drop them")
    for other in others:
        if other.x.shape[1] != mean.shape[1]:
            raise DataError(f"expected {mean.shape[1]} channels as in the first set, got {other.x.shape[1]}")
    place = [(s.x.device, s) for s in (train, *others)]
    return tuple(Images((s.x - mean.to(at)) / sd.to(at), s.y, s.classes) for at, s in place)


@dataclass(frozen=True, eq=False)
class Augmented(Dataset[tuple[Tensor, Tensor]]):
    """Images whose rows are ``(transform(x), y)``, drawn anew each time: a torch Dataset for minibatches.

    ``Augmented(train, v2.Compose([v2.RandomCrop(32, padding=4), v2.RandomHorizontalFlip()]))``. transform: from
    ``[channels, height, width]`` to that. The transforms of torchvision draw from torch's global random state,
    which ``minibatches`` seeds for each batch and puts back. The likelihood then is of the augmented images.
    """

    images: Images
    transform: Callable[[Tensor], Tensor]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor]:
        return self.transform(self.images.x[row]), self.images.y[row]
