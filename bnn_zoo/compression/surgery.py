"""Units that do nothing are cut: a smaller network with the same outputs.

Two passes along the chain. Forward: a unit is a constant where no weight brings it anything that depends on the input; the
constant is followed through activations, pools and norms. Backward: a unit is needed where a weight takes it to a needed
one.
What is no constant and needed stays; a constant that is needed goes into the biases of the next layer, which is exact unless
that layer pads with zeros, beyond whose border a constant is none: then the unit stays.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ..nets import FilterResponseNorm
from .chain import WEIGHTED, Select, chain, layer_like, padded, through


@dataclass
class Layer:
    """A layer with weights, those layers without that follow it, and what is known of its inputs.

    ``weight [member, out, in, …]`` and ``bias [member, out]`` are those of several networks, which are cut alike.
    """

    module: Any
    weight: Tensor
    bias: Tensor
    full: Tensor
    """The unit of the layer before that each feature comes from, ``[features]``; behind a Flatten a channel is several."""
    selected: Tensor
    """Which of these features are the layer's inputs, ``[in]``: all but behind a ``Select``."""
    after: list[nn.Module] = field(default_factory=list)
    constants: Tensor = field(default_factory=lambda: torch.empty(0))
    """Of the inputs ``[member, in]``; NaN where an input depends on the data."""
    keep: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.bool))
    """Of the inputs ``[in]``: those that stay."""

    def uses(self) -> Tensor:
        """Which inputs each unit has a weight for in any network, ``[out, in]``."""
        used = (self.weight != 0.0).any(0)
        return used.flatten(2).any(-1) if used.dim() > 2 else used

    def sums(self) -> Tensor:
        """The weight of a constant input, ``[member, out, in]``: a kernel's sum."""
        return self.weight.flatten(3).sum(-1) if self.weight.dim() > 3 else self.weight

    def with_constants(self, which: Tensor) -> Tensor:
        """The biases and what the constants of these inputs ``[member, in]`` add to them."""
        return self.bias + torch.einsum("moi,mi->mo", self.sums(), torch.where(which, self.constants, 0.0))


def cut(net: nn.Module, values: dict[str, Tensor]) -> list[nn.Sequential]:
    """Networks with these values ``[member, *shape]`` of the parameters of ``net``, without the units that do nothing in any
    of them: the same outputs, but for the order in which numbers are added.

    Inputs of the whole network that no weight looks at are left out by a ``Select`` where they are features, and stay
    where they are channels. At least one unit of each layer stays. Layers have numbers for names.
    """
    layers = chain(net)
    first = next(i for i, (_, layer) in enumerate(layers) if isinstance(layer, WEIGHTED))
    found = _read(layers, first, values)
    _forward(found)
    _backward(found)
    return _build([layer for _, layer in layers[:first] if not isinstance(layer, Select)], found)


def _read(layers: list[tuple[str, nn.Module]], first: int, values: dict[str, Tensor]) -> list[Layer]:
    found: list[Layer] = []
    between = [module for _, module in layers[:first]]
    for name, module in layers[first:]:
        own = {n: values[f"{name}.{n}"].detach() for n, _ in module.named_parameters()}
        if isinstance(module, WEIGHTED):
            weight = own["weight"].clone()
            units = found[-1].weight.shape[1] if found else 0
            bias = own["bias"].clone() if "bias" in own else weight.new_zeros(weight.shape[:2])
            found.append(Layer(module, weight, bias, *_features(between, weight.shape[2], units)))
            between = []
        else:
            between.append(module)
            if not isinstance(module, Select):
                found[-1].after.append(layer_like(module, **own))
    return found


def _features(between: list[nn.Module], inputs: int, units: int) -> tuple[Tensor, Tensor]:
    """``full`` and ``selected`` of a layer of so many inputs behind so many units (0: the data) and these layers."""
    selected, size = torch.arange(inputs), inputs
    for module in between:
        if isinstance(module, Select):
            selected, size = module.indices, module.size
    each = size // units if units else 1
    return torch.arange(size // each).repeat_interleave(each), selected


def _forward(found: list[Layer]) -> None:
    """Constants of the inputs of each layer; those of the data are none."""
    found[0].constants = found[0].weight.new_full((found[0].weight.shape[0], found[0].weight.shape[2]), torch.nan)
    for layer, following in itertools.pairwise(found):
        out = _constants(layer)
        for module in layer.after:
            out = through(module, out)
        following.constants = out[:, following.full[following.selected]]


def _constants(layer: Layer) -> Tensor:
    """Constants of the layer's outputs ``[member, out]``, NaN where they depend on the data or on the place."""
    foldable = _foldable(layer)
    varies = (layer.uses() & ~foldable).any(1)
    return torch.where(varies, torch.nan, layer.with_constants(foldable))


def _foldable(layer: Layer) -> Tensor:
    """Which inputs ``[in]`` are constants that can go into the biases."""
    known = ~layer.constants.isnan()
    return (known & (layer.constants == 0.0) if padded(layer.module) else known).all(0)


def _backward(found: list[Layer]) -> None:
    """Which inputs of each layer stay; a constant that is needed, and need not stay, goes into the biases."""
    wanted = torch.ones(found[-1].weight.shape[1], dtype=torch.bool)
    for layer, before in zip(reversed(found), [*reversed(found[:-1]), None], strict=True):
        used = (layer.uses() & wanted[:, None]).any(0)
        foldable = _foldable(layer)
        layer.bias = layer.with_constants(foldable)
        layer.keep = used & ~foldable
        if before is None:
            if not isinstance(layer.module, nn.Linear):
                layer.keep[:] = True  # channels of the data
        elif any(isinstance(m, nn.GroupNorm) for m in before.after):
            layer.keep[:] = True  # whose statistics are of all channels
        if not layer.keep.any():
            layer.keep[0] = True
        layer.weight = torch.where(_along(layer.keep & ~foldable, layer.weight), layer.weight, 0.0)
        layer.weight, layer.bias = layer.weight[:, wanted], layer.bias[:, wanted]
        wanted = torch.zeros(0 if before is None else before.weight.shape[1], dtype=torch.bool)
        if before is not None:
            wanted[layer.full[layer.selected[layer.keep]]] = True
            before.after = [_rows(m, wanted) for m in before.after]


def _along(inputs: Tensor, weight: Tensor) -> Tensor:
    return inputs.reshape(1, 1, -1, *[1] * (weight.dim() - 3))


def _rows(module: nn.Module, wanted: Tensor) -> nn.Module:
    """A norm of these channels alone; other layers as they are."""
    if isinstance(module, FilterResponseNorm):
        return layer_like(module, **{n: p.detach()[:, wanted] for n, p in module.named_parameters()})
    return module


def _build(start: list[nn.Module], found: list[Layer]) -> list[nn.Sequential]:
    modules: list[tuple[nn.Module, dict[str, Tensor]]] = [(module, {}) for module in start]
    for i, layer in enumerate(found):
        stays = layer.selected[layer.keep]
        there = torch.isin(layer.full, layer.full[stays]) if i else torch.ones_like(layer.full, dtype=torch.bool)
        if len(stays) < int(there.sum()):
            place = there.cumsum(0) - 1  # of what the layer before still gives
            modules.append((Select(place[stays], int(there.sum())), {}))
        modules.append((layer.module, {"weight": layer.weight[:, :, layer.keep], "bias": layer.bias}))
        modules += [(module, {n: p.detach() for n, p in module.named_parameters()}) for module in layer.after]
    members = len(found[0].weight)
    return [
        nn.Sequential(*(layer_like(m, **{n: v[i] for n, v in own.items()}) for m, own in modules)).eval()
        for i in range(members)
    ]


def architecture(net: Iterable[nn.Module]) -> str:
    """Sizes of the inputs and hidden layers, as the papers give them: 278-98-13, or 20-50-800-500 for convolutions.

    Of a network that begins with a linear layer the inputs are counted; channels of a convolution; features behind it.
    """
    sizes: list[Any] = []
    layers: list[Any] = [m for m in net if isinstance(m, WEIGHTED)]
    for i, layer in enumerate(layers):
        if isinstance(layer, nn.Linear):
            sizes.append(layer.in_features)
        else:
            following = layers[i + 1] if i + 1 < len(layers) else None
            sizes.append(layer.out_channels)
            if following is None:
                break
    return "-".join(map(str, sizes))
