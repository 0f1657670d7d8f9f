"""Layers one after the other."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from torch import nn


class Stack(nn.Sequential):
    """A Sequential whose slices are plain ones: ``net[:-1]`` is the net without its last layer.

    Torch would call the constructor of the slice's own class, with layers in place of sizes.
    """

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return nn.Sequential(OrderedDict(list(self._modules.items())[index]))
        return super().__getitem__(index)
