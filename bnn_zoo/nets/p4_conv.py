"""Convolutions on p4, the group of translations and rotations by 90 degrees."""

from __future__ import annotations

from typing import ClassVar

from ._group import PlaneConv, StackedConv


class P4ConvZ2(PlaneConv):
    """The first layer: images ``[n, inputs, h, w]`` to maps on p4 ``[n, outputs, 4, h, w]``. Cohen & Welling 2016, eq. 10.

    Turning the image by 90 degrees turns the maps and moves each to the next place of the stack of four. ``padding=None``
    keeps the size; an even ``kernel_size`` has no middle pixel to turn around and is refused, except without padding.
    Weights: ``weight [outputs, inputs, k, k]``, ``bias [outputs]``.
    """

    reflections: ClassVar[int] = 1


class P4ConvP4(StackedConv):
    """Maps on p4 to maps on p4: ``[n, inputs, 4, h, w] → [n, outputs, 4, h, w]``. Cohen & Welling 2016, eq. 11.

    ``padding`` and ``kernel_size`` as in ``P4ConvZ2``. Weights: ``weight [outputs, inputs, 4, k, k]``, ``bias [outputs]``.
    """

    reflections: ClassVar[int] = 1
