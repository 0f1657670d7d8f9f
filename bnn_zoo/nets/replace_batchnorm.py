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
    found = [name for name, module in new.named_modules() if isinstance(module, BatchNorm)]
    if not found:
        raise ValueError(f"{type(net).__name__} has no BatchNorm: nothing to replace")
    for name in found:
        owner, _, leaf = name.rpartition(".")
        old = new.get_submodule(name)
        layer = (make or _group_norm(old))(old.num_features)  # type: ignore[arg-type]
        if not isinstance(layer, nn.Module):
            raise TypeError(
                f"make must give a module for a number of channels, such as nets.FilterResponseNorm; got {layer!r}"
            )
        if not name:
            return layer
        setattr(new.get_submodule(owner), leaf, layer)
    return new


def _group_norm(old: nn.Module) -> Callable[[int], nn.Module]:
    def make(channels: int) -> nn.Module:
        if isinstance(old, nn.BatchNorm1d):
            return nn.GroupNorm(1, channels)
        return nn.GroupNorm(next(g for g in range(min(32, channels), 0, -1) if channels % g == 0), channels)

    return make
