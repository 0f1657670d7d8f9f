"""Fully connected network."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import nn


class MLP(nn.Sequential):
    """``inputs → hidden[0] → … → outputs`` with an activation after each hidden layer: ``[n, inputs] → [n, outputs]``.

    Parameters are named as in ``nn.Sequential``: ``"0.weight" [hidden[0], inputs]``, ``"0.bias"``, ``"2.weight"``, …
    ``hidden=()`` is linear regression. ``activation`` is a module class such as ``nn.Tanh`` or ``nn.ReLU``.
    """

    def __init__(
        self, inputs: int, outputs: int, hidden: Sequence[int] = (50,), activation: type[nn.Module] = nn.Tanh
    ) -> None:
        sizes = [inputs, *hidden, outputs]
        if min(sizes) < 1:
            raise ValueError(f"MLP layer sizes must be at least 1, got {sizes}")
        layers: list[nn.Module] = []
        for before, after in pairwise(sizes):
            layers += [nn.Linear(before, after), activation()]
        super().__init__(*layers[:-1])
