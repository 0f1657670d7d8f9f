"""Fully connected network."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from torch import nn

from ._sizes import activation_class, whole
from ._stack import Stack


class MLP(Stack):
    """``inputs → hidden[0] → … → outputs`` with an activation after each hidden layer: ``[n, inputs] → [n, outputs]``.

    Parameters are named as in ``nn.Sequential``: ``"0.weight" [hidden[0], inputs]``, ``"0.bias"``, ``"2.weight"``, …
    ``hidden=()`` is linear regression. ``activation`` is a module class such as ``nn.Tanh`` or ``nn.ReLU``.
    """

    def __init__(
        self, inputs: int, outputs: int, hidden: Iterable[int] = (50,), activation: type[nn.Module] = nn.Tanh
    ) -> None:
        if isinstance(hidden, str) or not isinstance(hidden, Iterable):
            raise TypeError(f"MLP: hidden must be the sizes of the hidden layers, such as (50,) or (50, 50), got {hidden!r}")
        named = [("inputs", inputs), *(("hidden", size) for size in hidden), ("outputs", outputs)]
        sizes = [whole("MLP", name, size) for name, size in named]
        activation = activation_class("MLP", activation)
        layers: list[nn.Module] = []
        for before, after in pairwise(sizes):
            layers += [nn.Linear(before, after), activation()]
        super().__init__(*layers[:-1])
