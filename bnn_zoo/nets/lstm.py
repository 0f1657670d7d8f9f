"""Long short-term memory."""

from __future__ import annotations

import torch
from torch import Tensor

from ._recurrent import Recurrent


class LSTM(Recurrent):
    """``[n, time, inputs] → [n, outputs]`` from the last state of one layer of LSTM. Hochreiter & Schmidhuber 1997.

    The arithmetic and the order of gates of ``torch.nn.LSTM`` with one bias instead of two, in plain operations that batch
    over sets of weights. Weights: ``weight_ih [4·width, inputs]``, ``weight_hh [4·width, width]``, ``bias [4·width]``,
    ``head``.
    """

    def __init__(self, inputs: int, outputs: int, width: int = 16) -> None:
        super().__init__(inputs, outputs, width, 4)

    def last(self, x: Tensor) -> Tensor:
        ahead = (x @ self.weight_ih.T + self.bias).unbind(1)  # of all steps at once
        h = c = torch.zeros((len(x), self.weight_hh.shape[1]), dtype=x.dtype, device=x.device)
        for step in ahead:
            entered, forgotten, new, shown = (step + h @ self.weight_hh.T).chunk(4, -1)
            c = forgotten.sigmoid() * c + entered.sigmoid() * new.tanh()
            h = shown.sigmoid() * c.tanh()
        return h
