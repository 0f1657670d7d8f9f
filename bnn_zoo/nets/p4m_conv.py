"""Convolutions on p4m, the group of translations, rotations by 90 degrees and reflections."""

from __future__ import annotations

from typing import ClassVar

from ._group import PlaneConv, StackedConv


class P4MConvZ2(PlaneConv):
    """The first layer: images ``[n, inputs, h, w]`` to maps on p4m ``[n, outputs, 8, h, w]``. Cohen & Welling 2016, eq. 10.

    Turning or mirroring the image turns or mirrors the maps and permutes the stack of eight. ``padding`` and ``kernel_size``
    as in ``P4ConvZ2``. Weights: ``weight [outputs, inputs, k, k]``, ``bias [outputs]``.
    """

    reflections: ClassVar[int] = 2


class P4MConvP4M(StackedConv):
    """Maps on p4m to maps on p4m: ``[n, inputs, 8, h, w] → [n, outputs, 8, h, w]``. Cohen & Welling 2016, eq. 11.

    ``padding`` and ``kernel_size`` as in ``P4ConvZ2``. Weights: ``weight [outputs, inputs, 8, k, k]``, ``bias [outputs]``.
    """

    reflections: ClassVar[int] = 2
