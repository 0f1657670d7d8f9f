"""Gaussian noise whose size the network predicts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

import pyro.distributions as dist
from torch import Tensor
from torch.nn.functional import softplus

from ._output import need, of_columns

Link = Literal["softplus", "exp"]


@dataclass(frozen=True)
class HeteroscedasticGaussian:
    """``y ~ N(f_mean, s²)``, ``s = floor + link(f_scale)``: a mean-and-sd head. Nix & Weigend 1994.

    The network gives ``[n, 2k]``: k means, then k raw scales; y is ``[n]`` for k = 1, else ``[n, k]``. ``floor``
    (in y's units) keeps the noise from collapsing on a row that the network fits exactly. ``link``: "softplus", under which
    large noise is linear in the output, or "exp", which makes the output a log sd, as many programs have it.
    """

    floor: float = 1e-3
    link: Link = "softplus"

    def __post_init__(self) -> None:
        if not (self.floor >= 0 and math.isfinite(self.floor)):
            raise ValueError(f"HeteroscedasticGaussian: floor must be at least 0, got {self.floor}")
        if self.link not in get_args(Link):
            raise ValueError(f"HeteroscedasticGaussian: link must be 'softplus' or 'exp', got {self.link!r}")

    def out_features(self, columns: int = 1) -> int:
        """Two a column: mean and raw scale."""
        return 2 * columns

    def __call__(self, f: Tensor) -> Any:
        need("HeteroscedasticGaussian", f, f.shape[-1] % 2 == 0, "two outputs (mean, raw scale) a target column")
        mean, raw = f.chunk(2, dim=-1)
        return of_columns(dist.Normal, mean, self.floor + (softplus(raw) if self.link == "softplus" else raw.exp()))
