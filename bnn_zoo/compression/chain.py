"""A network as a chain of layers: which inputs and outputs each has, and what a constant becomes on its way."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from ..nets import FilterResponseNorm
from ..nets._layers import MeanOverPlaces
from ..types import ModelError

POINTWISE: tuple[type[nn.Module], ...] = (
    nn.Identity,
    nn.ReLU,
    nn.Tanh,
    nn.Sigmoid,
    nn.GELU,
    nn.SiLU,
    nn.ELU,
    nn.LeakyReLU,
    nn.Softplus,
    nn.Hardtanh,
    nn.ReLU6,
)
"""Layers that look at one number at a time and have no parameters. Their order is their number in files: append only."""
POOLS: tuple[type[nn.Module], ...] = (nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d)
WEIGHTED: tuple[type[nn.Module], ...] = (nn.Linear, nn.Conv1d, nn.Conv2d)


class Select(nn.Module):
    """``x[:, indices]``: the features that the next layer still needs."""

    indices: Tensor

    def __init__(self, indices: Tensor, size: int) -> None:
        super().__init__()
        self.register_buffer("indices", indices)
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        return x[:, self.indices]

    def extra_repr(self) -> str:
        return f"{len(self.indices)} of {self.size}"


def chain(net: nn.Module) -> list[tuple[str, nn.Module]]:
    """The layers of a Sequential, of nested ones too, with their names, in the order in which they are called; layers of
    dropout, which do nothing when one predicts, are left out.

    Raises ModelError for a network that is none, and for a layer of which it is not known what a unit is.
    """
    if not isinstance(net, nn.Sequential):
        raise ModelError(
            f"compress cuts units of a chain of layers, nn.Sequential, and {type(net).__name__} may connect them in other "
            "ways: write it as nn.Sequential of its layers"
        )
    layers = list(_flat(net, ""))
    for name, layer in layers:
        _check(name, layer)
    if not any(isinstance(layer, WEIGHTED) for _, layer in layers):
        raise ModelError(f"the network has no layer that could be cut: {[type(x).__name__ for _, x in layers]}")
    return layers


def _flat(net: nn.Module, before: str) -> Iterator[tuple[str, nn.Module]]:
    for name, layer in net.named_children():
        if isinstance(layer, nn.Sequential):
            yield from _flat(layer, f"{before}{name}.")
        elif not isinstance(layer, nn.Dropout | nn.Dropout1d | nn.Dropout2d):
            yield f"{before}{name}", layer


def _check(name: str, layer: nn.Module) -> None:
    """Raise ModelError for a layer, or a setting of one, that cannot be cut or stored."""
    known = (*WEIGHTED, *POINTWISE, *POOLS, nn.Flatten, MeanOverPlaces, FilterResponseNorm, nn.GroupNorm, Select)
    if type(layer) not in known:
        raise ModelError(
            f"compress does not know what a unit of layer {name!r} is, a {type(layer).__name__}: it takes chains of "
            f"{', '.join(sorted(k.__name__ for k in known if k is not Select))}"
        )
    odd: Any = None
    if isinstance(layer, nn.Conv1d | nn.Conv2d):
        odd = (
            (layer.groups != 1 and f"groups={layer.groups}")
            or (layer.padding_mode != "zeros" and f"padding_mode={layer.padding_mode!r}")
            or (isinstance(layer.padding, str) and f"padding={layer.padding!r}")
        )
    elif isinstance(layer, nn.Flatten):
        odd = (layer.start_dim, layer.end_dim) != (1, -1) and f"start_dim={layer.start_dim}, end_dim={layer.end_dim}"
    elif isinstance(layer, POOLS):
        odd = getattr(layer, "return_indices", False) and "return_indices=True"
    elif isinstance(layer, POINTWISE) and type(layer) is not nn.Identity:
        said = layer.extra_repr().replace("inplace=True", "").strip(", ")
        odd = said != type(layer)().extra_repr() and said
    if odd:
        raise ModelError(f"compress does not take layer {name!r}, {type(layer).__name__} with {odd}")


def layer_like(layer: nn.Module, **changed: Tensor) -> nn.Module:
    """A copy of a layer with these parameters, of other sizes perhaps."""
    new = deepcopy(layer)
    for name, value in changed.items():
        setattr(new, name, nn.Parameter(value.clone()))
    if isinstance(new, nn.Linear):
        new.out_features, new.in_features = new.weight.shape
    elif isinstance(new, nn.Conv1d | nn.Conv2d):
        new.out_channels, new.in_channels = new.weight.shape[:2]
    return new


def through(layer: nn.Module, constants: Tensor) -> Tensor:
    """What channels that are these constants at all places become in a layer without weights, NaN where that is no constant.

    ``constants`` ``[member, channels]``, NaN for channels that are none.
    """
    if isinstance(layer, FilterResponseNorm):
        normed = constants * (constants.square() + layer.eps).rsqrt()
        return torch.maximum(layer.weight * normed + layer.bias, layer.threshold)
    if isinstance(layer, nn.GroupNorm):
        return torch.full_like(constants, torch.nan)
    if isinstance(layer, nn.AvgPool1d | nn.AvgPool2d) and _padded(layer):
        return torch.where(constants == 0.0, constants, torch.nan)
    return layer(constants) if isinstance(layer, POINTWISE) else constants


def _padded(layer: nn.Module) -> bool:
    padding = layer.padding
    return any(padding) if isinstance(padding, tuple) else bool(padding)


def padded(layer: nn.Module) -> bool:
    """Whether a convolution sees zeros beyond the border, where a constant is none."""
    return isinstance(layer, nn.Conv1d | nn.Conv2d) and _padded(layer)
