"""GammaPrecision prior."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from ..laws import RootInverseGamma
from .scale import Law, resolve


@dataclass(frozen=True)
class GammaPrecision(Law):
    """For a scale ``s``: its precision ``τ = 1/s²`` is ``Gamma(shape alpha/2, mean 1/scale²)``. Neal 1996, section 2.

    Neal writes it ``scale:alpha``, as in 0.05:0.5 of the examples of his software: the smaller alpha, the vaguer. It is the
    prior of ``Normal(scale=GammaPrecision(0.05, alpha=0.5))``, whose weights share one precision; together they are a
    Student law of alpha degrees of freedom. The scale may be a prior itself, for groups under a common precision.
    """

    alpha: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._need_positive("alpha")

    def __call__(self, name: str, shape: torch.Size) -> Any:
        width = torch.as_tensor(resolve(self.scale, name, shape))
        half = torch.as_tensor(0.5 * self.alpha, dtype=width.dtype, device=width.device)
        return RootInverseGamma(half, half * width.square()).expand(shape).to_event(len(shape))
