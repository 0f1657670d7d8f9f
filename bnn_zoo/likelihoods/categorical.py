"""Several classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyro.distributions as dist
from torch import Tensor

from ._output import need


@dataclass(frozen=True)
class Categorical:
    """``y ~ softmax(f)``: y is ``[n]`` of integers 0 … classes − 1, the network gives ``[n, classes]`` logits.

    A class for each pixel, or each place in a sequence: logits ``[n, classes, *places]`` and y ``[n, *places]``, the classes
    second as in ``torch.nn.CrossEntropyLoss``. A row is a whole image then: its log likelihood is the sum over its places,
    which are independent given f, and minibatches, leave-one-out and prediction take rows.
    """

    def __call__(self, f: Tensor) -> Any:
        places = f.dim() - 2
        expected = "one output a class, at least two (for one output use Bernoulli)"
        need("Categorical", f, places >= 0 and f.shape[1] >= 2, expected + (", as [rows, classes, …places]" * (places > 0)))
        return dist.Categorical(logits=f.movedim(1, -1)).to_event(places) if places else dist.Categorical(logits=f)
