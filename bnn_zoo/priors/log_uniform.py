"""Uniform in log |w|."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from ..laws import LogUniform as Law


@dataclass(frozen=True)
class LogUniform:
    """Density ∝ 1/|w|, improper: the prior of variational dropout. Kingma, Salimans & Welling 2015, section 3.1.

    With ``MeanField`` and ``handlers.LocalReparameterization`` this is sparse variational dropout: weights whose sd exceeds
    ten times their mean say nothing and can be pruned (Molchanov, Ashukha & Vetrov 2017). Its posterior has
    infinite mass at 0, so samplers and ``MAP`` refuse it. As the prior of a scale, ``Normal(PerInput(LogUniform()))``, it is
    group normal-Jeffreys (Louizos, Ullrich & Welling 2017), for ``MeanField`` on ``handlers.NonCentred(model, "*.weight")``.
    """

    def __call__(self, name: str, shape: torch.Size) -> Any:
        return Law(shape).to_event(len(shape))
