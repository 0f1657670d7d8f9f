"""Gated recurrent unit."""

from __future__ import annotations

import torch
from torch import Tensor

from ._recurrent import Recurrent


class GRU(Recurrent):
    """``[n, time, inputs] → [n, outputs]`` from the last state of one layer of GRU. Cho et al. 2014.

    The arithmetic and the order of gates of ``torch.nn.GRU`` with ``bias_hh = 0``, in plain operations that batch over sets
    of weights. Weights: ``weight_ih [3·width, inputs]``, ``weight_hh [3·width, width]``, ``bias [3·width]``, ``head``.
    """

    def __init__(self, inputs: int, outputs: int, width: int = 16) -> None:
        super().__init__(inputs, outputs, width, 3)

    def last(self, x: Tensor) -> Tensor:
        ahead = (x @ self.weight_ih.T + self.bias).unbind(1)
        h = torch.zeros((len(x), self.weight_hh.shape[1]), dtype=x.dtype, device=x.device)
        for step in ahead:
            r_in, z_in, n_in = step.chunk(3, -1)
            r_h, z_h, n_h = (h @ self.weight_hh.T).chunk(3, -1)
            z = (z_in + z_h).sigmoid()
            h = (1.0 - z) * (n_in + (r_in + r_h).sigmoid() * n_h).tanh() + z * h
        return h
