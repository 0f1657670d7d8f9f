"""Fully connected network in which every layer sees the input."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from ._sizes import activation_class, whole


class InputSkipMLP(nn.Module):
    """Each layer after the first takes the layer before and the input: ``[n, inputs] → [n, outputs]``.

    Neal 1996, section 2.3: without it, a deep network with a Gaussian prior forgets its input as layers are added (Duvenaud
    et al. 2014). Parameters: ``"layers.0.weight" [hidden[0], inputs]``, ``"layers.1.weight"
    [hidden[1], hidden[0] + inputs]``, …
    """

    def __init__(
        self, inputs: int, outputs: int, hidden: Iterable[int] = (50, 50), activation: type[nn.Module] = nn.Tanh
    ) -> None:
        super().__init__()
        name = "InputSkipMLP"
        if isinstance(hidden, str) or not isinstance(hidden, Iterable):
            raise TypeError(f"{name}: hidden must be the sizes of the hidden layers, such as (50, 50), got {hidden!r}")
        inputs, outputs = whole(name, "inputs", inputs), whole(name, "outputs", outputs)
        sizes = [*(whole(name, "hidden", h) for h in hidden), outputs]
        before = [inputs, *(size + inputs for size in sizes[:-1])]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(before, sizes, strict=True))
        self.activation = activation_class(name, activation)()

    def forward(self, x: Tensor) -> Tensor:
        h: Tensor = self.layers[0](x)
        for layer in self.layers[1:]:
            h = layer(torch.cat([self.activation(h), x], -1))
        return h
