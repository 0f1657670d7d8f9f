"""Checks of what the architectures are made from."""

from __future__ import annotations

import operator
from typing import Any

from torch import nn


def whole(net: str, name: str, value: Any) -> int:
    """A size as a Python integer of at least 1. Raises TypeError or ValueError, naming it."""
    try:
        size = operator.index(value)
    except TypeError:
        raise TypeError(f"{net}: {name} must be a whole number, got {value!r}") from None
    if size < 1:
        raise ValueError(f"{net}: {name} must be at least 1, got {size}")
    return size


def activation_class(net: str, value: Any) -> Any:
    """What makes an activation without arguments. Raises TypeError for one that is made already, and for functions."""
    if isinstance(value, nn.Module):
        kind = type(value).__name__
        raise TypeError(f"{net}: activation must be a module class, got an instance: write activation=nn.{kind}, without ()")
    if not callable(value) or not isinstance(made := _made(value), nn.Module):
        raise TypeError(f"{net}: activation must be a module class such as nn.Tanh or nn.ReLU, got {value!r}")
    del made
    return value


def _made(value: Any) -> Any:
    try:
        return value()
    except TypeError:  # a function such as torch.tanh, which wants its argument
        return None
