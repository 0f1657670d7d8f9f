"""Fully connected network with shortcuts."""

from __future__ import annotations

from torch import nn

from ._layers import Residual
from ._sizes import activation_class, whole
from ._stack import Stack


class ResidualMLP(Stack):
    """A linear layer to ``width``, then ``blocks`` of ``h + W₂ φ(W₁ h)``, an activation and a linear layer to the outputs.

    ``[n, inputs] → [n, outputs]``. He, Zhang, Ren & Sun 2016. Parameters: ``"0.weight" [width, inputs]``,
    ``"1.branch.0.weight" [width, width]``, …
    """

    def __init__(
        self, inputs: int, outputs: int, width: int = 50, blocks: int = 2, activation: type[nn.Module] = nn.Tanh
    ) -> None:
        sizes = {"inputs": inputs, "outputs": outputs, "width": width, "blocks": blocks}
        inputs, outputs, width, blocks = (whole("ResidualMLP", n, v) for n, v in sizes.items())
        activation = activation_class("ResidualMLP", activation)

        def block() -> nn.Module:
            return Residual(nn.Sequential(nn.Linear(width, width), activation(), nn.Linear(width, width)))

        super().__init__(
            nn.Linear(inputs, width), *(block() for _ in range(blocks)), activation(), nn.Linear(width, outputs)
        )
