"""What recurrent networks share: a cell along time in plain arithmetic, which batches over sets of weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ._sizes import whole


class Recurrent(nn.Module):
    """``[n, time, inputs] → [n, outputs]``: a cell from the first step to the last, and a linear layer on its last state.

    Torch's fused layers have no rule for batches of weights, and two biases where one is enough: with two, only their sum
    matters, and a posterior over them is broader than it need be. Weights: ``weight_ih [gates · width, inputs]``,
    ``weight_hh [gates · width, width]``, ``bias [gates · width]`` and those of ``head``.
    """

    def __init__(self, inputs: int, outputs: int, width: int, gates: int) -> None:
        super().__init__()
        name = type(self).__name__
        inputs, outputs, width = (
            whole(name, "inputs", inputs),
            whole(name, "outputs", outputs),
            whole(name, "width", width),
        )
        bound = width**-0.5
        self.weight_ih = nn.Parameter(torch.empty(gates * width, inputs).uniform_(-bound, bound))
        self.weight_hh = nn.Parameter(torch.empty(gates * width, width).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(gates * width))
        self.head = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() != 3 or x.shape[2] != self.weight_ih.shape[1]:
            raise ValueError(f"{type(self).__name__} expects [rows, time, {self.weight_ih.shape[1]}], got {tuple(x.shape)}")
        out: Tensor = self.head(self.last(x))
        return out

    def last(self, x: Tensor) -> Tensor:
        """The state after the last step, ``[n, width]``."""
        raise NotImplementedError
