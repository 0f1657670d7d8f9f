"""Convolutions on the plane's rotations by 90 degrees and reflections: one filter, seen from four or eight sides.

A map on a group is ``[n, channels, g, height, width]``: for each channel a stack of images, one for each element of the
group. Elements are r⁰, r¹, r², r³ (r turns an image by 90 degrees counterclockwise, as ``torch.rot90`` does), then, with
reflections, r⁰m … r³m (m mirrors left and right). ``nn.MaxPool3d((1, 2, 2))``, ``FilterResponseNorm`` and ``nn.GroupNorm``
take such maps as they are and treat the elements of the group alike. Cohen & Welling 2016, sections 4 to 6.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from ._sizes import whole


class PlaneConv(nn.Module):
    """A convolution whose filters are used in every orientation of a group: what the four classes share.

    Weights: ``weight [outputs, inputs, …, k, k]``, one filter each, not its turned copies, and ``bias [outputs]``.
    """

    reflections: ClassVar[int]
    """1 for rotations alone, 2 with reflections."""

    def __init__(self, inputs: int, outputs: int, kernel_size: int = 3, padding: int | None = None) -> None:
        super().__init__()
        name = type(self).__name__
        inputs, outputs = whole(name, "inputs", inputs), whole(name, "outputs", outputs)
        size = whole(name, "kernel_size", kernel_size)
        around = size // 2 if padding is None else padding
        if isinstance(around, bool) or not isinstance(around, int) or around < 0:
            raise ValueError(f"{name}: padding must be a whole number of pixels, 0 or more, or None, got {padding!r}")
        if size % 2 == 0 and around:
            raise ValueError(
                f"{name}: kernel_size must be odd, got {size}: a filter turns around its middle pixel, and an even one has "
                f"none; take {size - 1} or {size + 1}, or padding=0 where the map is to be covered without a border"
            )
        self.padding = around
        conv = nn.Conv2d(inputs * self._before(), outputs, size)  # for its initial weights
        shape = (outputs, inputs, *self._stack(), size, size)
        self.weight = nn.Parameter(conv.weight.detach().reshape(shape).clone())
        self.bias = nn.Parameter(torch.zeros(outputs))

    @classmethod
    def elements(cls) -> int:
        """The order of the group: 4 or 8."""
        return 4 * cls.reflections

    def _stack(self) -> tuple[int, ...]:
        """The axis of the group in the filters: none for a filter of images."""
        return ()

    def _before(self) -> int:
        """Elements of the group in the map that comes in."""
        return 1

    def turned(self) -> Tensor:
        """The filter in each orientation: ``[outputs, g, inputs · (g or 1), k, k]``."""
        weight, every = self.weight, []
        for mirrored in range(self.reflections):
            for quarter in range(4):
                w = weight.flip(-1) if mirrored else weight
                every.append(self._permuted(torch.rot90(w, quarter, (-2, -1)), quarter, mirrored).flatten(1, -3))
        return torch.stack(every, 1)

    def _permuted(self, weight: Tensor, quarter: int, mirrored: int) -> Tensor:
        """The filter's own stack in the order in which the element ``r^quarter m^mirrored`` puts it."""
        return weight

    def forward(self, x: Tensor) -> Tensor:
        g, expected = self.elements(), (self.weight.shape[1], *self._stack())
        if x.dim() != 3 + len(expected) or tuple(x.shape[1:-2]) != expected:
            raise ValueError(
                f"{type(self).__name__} expects [rows, {', '.join(map(str, expected))}, height, width], got {tuple(x.shape)}"
            )
        images = x.flatten(1, -3)
        out = nn.functional.conv2d(images, self.turned().flatten(0, 1), self.bias.repeat_interleave(g), padding=self.padding)
        return out.unflatten(1, (-1, g))


class StackedConv(PlaneConv):
    """A filter of a map on the group: it has a stack of its own, which turning permutes."""

    def _stack(self) -> tuple[int, ...]:
        return (self.elements(),)

    def _before(self) -> int:
        return self.elements()

    def _permuted(self, weight: Tensor, quarter: int, mirrored: int) -> Tensor:
        """At h the turned filter has what was at (r^a m^b)⁻¹ h: r^(h−a) for b = 0; r^(a−h) in the other half for b = 1."""
        halves = weight.unflatten(2, (self.reflections, 4))
        if mirrored:
            halves = halves.flip(2, 3).roll(quarter + 1, 3)
        else:
            halves = halves.roll(quarter, 3)
        return halves.flatten(2, 3)
