"""A convolutional network for series."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from ._layers import MeanOverPlaces, Norm, check_norm
from ._sizes import activation_class, whole
from ._stack import Stack
from .filter_response_norm import FilterResponseNorm


class ConvNet1d(Stack):
    """Convolutions along time, normalised, and the mean over time: ``[n, channels, time] → [n, outputs]``.

    Wang, Yan & Oates 2017 (their "FCN"): 128, 256 and 128 channels with filters of 8, 5 and 3 steps, which are the defaults;
    ``norm`` stands for their BatchNorm. An even filter pads one step more at the end.
    """

    def __init__(
        self,
        channels: int,
        outputs: int,
        widths: Iterable[int] = (128, 256, 128),
        kernel_sizes: Iterable[int] = (8, 5, 3),
        norm: Norm = FilterResponseNorm,
        activation: type[nn.Module] = nn.ReLU,
    ) -> None:
        sizes = [whole("ConvNet1d", "widths", w) for w in widths]
        kernels = [whole("ConvNet1d", "kernel_sizes", k) for k in kernel_sizes]
        if not sizes or len(sizes) != len(kernels):
            raise ValueError(f"ConvNet1d: one kernel size a width, at least one, got {len(sizes)} and {len(kernels)}")
        channels, outputs = whole("ConvNet1d", "channels", channels), whole("ConvNet1d", "outputs", outputs)
        norm, activation = check_norm("ConvNet1d", norm), activation_class("ConvNet1d", activation)
        layers: list[nn.Module] = []
        before = channels
        for after, k in zip(sizes, kernels, strict=True):
            layers += [nn.ConstantPad1d(((k - 1) // 2, k // 2), 0.0), nn.Conv1d(before, after, k), norm(after), activation()]
            before = after
        super().__init__(*layers, MeanOverPlaces(), nn.Linear(before, outputs))
