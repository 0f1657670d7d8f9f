"""Normal prior of convolutions whose weights are alike where they are near."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyro.distributions as dist
import torch

from ..laws import KroneckerNormal
from ..types import ModelError
from .scale import Law, resolve

CONDITION = 1e8
"""Beyond this the correlations are as good as singular in single precision."""


@dataclass(frozen=True)
class SpatialNormal(Law):
    """Normal with standard deviation ``scale`` and correlation ``exp(−(d/length)^power)`` within a kernel.

    d is the Euclidean distance between two places of the kernel, in pixels; different filters and channels are independent.
    Weights without places, ``[out, in]`` and ``[out]``, are all independent. Fortuin et al. 2022, section 5: their code has
    power 1, Matérn's kernel with ν = ½, and length 1, over the standard deviations of an independent normal. Power 2 is the
    squared exponential kernel ``exp(−½ d²/l²)`` of l = length/√2.

    Raises ModelError where the correlations of a kernel are singular in single precision: long lengths at power 2.
    """

    length: float = 1.0
    power: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._need_positive("length", "power")
        if self.power > 2.0:
            raise ValueError(f"SpatialNormal: power must be at most 2, beyond which it is no covariance, got {self.power}")

    def __call__(self, name: str, shape: torch.Size) -> Any:
        scale = torch.as_tensor(resolve(self.scale, name, shape)).expand(shape)
        places = shape[2:]
        if places.numel() == 1:
            return dist.Normal(0.0, scale).to_event(len(shape))
        return KroneckerNormal(scale, None, torch.as_tensor(self._factor(name, places)).to(scale))

    def _factor(self, name: str, places: torch.Size) -> np.ndarray:
        """The lower triangular factor of the correlations of a kernel ``[kh, kw]``, of places row by row."""
        at = np.indices(tuple(places)).reshape(len(places), -1).T
        distance = np.sqrt(np.square(at[:, None] - at[None]).sum(-1))
        correlations = np.exp(-((distance / self.length) ** self.power))
        if np.linalg.cond(correlations) > CONDITION:
            raise ModelError(
                f"site {name!r}: SpatialNormal's correlations of a kernel {list(places)} at length={self.length:g} and "
                f"power={self.power:g} are singular in single precision: take a shorter length, or a power below 2"
            )
        return np.linalg.cholesky(correlations)
