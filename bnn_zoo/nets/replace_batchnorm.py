"""A network without BatchNorm from one with it."""

from __future__ import annotations

import copy
from collections.abc import Callable

from torch import nn

from .._torch import BatchNorm


def replace_batchnorm(net: nn.Module, make: Callable[[int], nn.Module] | None = None) -> nn.Module:
    """A copy of ``net`` with ``make(channels)`` in place of each BatchNorm: a network that has a likelihood of a row.

    By default ``nn.GroupNorm`` of at most 32 groups (Wu & He 2018), of one for BatchNorm1d; ``FilterResponseNorm`` is
    another choice for images. The new layers start as new layers do, and the statistics of the old ones are lost, so a
    trained network has to be trained again (or keep it: ``net.eval()`` fixes its statistics, and a BNN takes it as it is).
    Raises ValueError where there is no BatchNorm, TypeError where ``make`` gives no module.
    """
    new = copy.deepcopy(net)
    layers: dict[nn.Module, nn.Module] = {}
    for name, old in list(new.named_modules(remove_duplicate=False)):
        if not isinstance(old, BatchNorm):
            continue
        if old not in layers:  # a layer that is used twice is one layer after, too
            layers[old] = _instead(old, make)
        if not name:
            return layers[old]
        owner, _, leaf = name.rpartition(".")
        setattr(new.get_submodule(owner), leaf, layers[old])
    if not layers:
        raise ValueError(f"{type(net).__name__} has no BatchNorm: nothing to replace")
    return new


def _instead(old: nn.Module, make: Callable[[int], nn.Module] | None) -> nn.Module:
    """What takes the place of ``old``, where it is: on its device, in its dtype and mode."""
    layer = (make or _group_norm(old))(old.num_features)  # type: ignore[arg-type]
    if not isinstance(layer, nn.Module):
        raise TypeError(f"make must give a module for a number of channels, such as nets.FilterResponseNorm; got {layer!r}")
    for place in (*old.parameters(), *old.buffers()):
        if place.is_floating_point():
            layer = layer.to(place)
    return layer.train(old.training)


def _group_norm(old: nn.Module) -> Callable[[int], nn.Module]:
    def make(channels: int) -> nn.Module:
        if isinstance(old, nn.BatchNorm1d):
            return nn.GroupNorm(1, channels)
        return nn.GroupNorm(next(g for g in range(min(32, channels), 0, -1) if channels % g == 0), channels)

    return make
