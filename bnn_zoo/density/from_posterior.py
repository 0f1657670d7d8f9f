"""A warm start: chains go on where those of another posterior ended."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..types import ModelError
from .log_joint import LogJoint


@dataclass(frozen=True, repr=False, eq=False)
class FromPosterior:
    """The last draw of each chain of a posterior, of any backend and of any data, whose model has the same sites.

    With more chains than the posterior has, the others start at earlier draws of its chains, evenly spaced; with fewer, at
    its first chains. ``init=posterior`` means the same. The warm-up of a sampler is as long as ever: set it shorter.
    Raises ModelError where sites or their shapes are others.
    """

    posterior: Any

    @property
    def sites(self) -> dict[str, Any]:
        found: dict[str, Any] = self.posterior.draws.sites
        return found

    def __repr__(self) -> str:
        digest = hashlib.blake2b(digest_size=8)
        for name, value in self.sites.items():
            digest.update(name.encode() + np.ascontiguousarray(value[:, -1].numpy()).tobytes())
        chains, draws = next(iter(self.sites.values())).shape[:2]
        return f"FromPosterior({chains} chains, {draws} draws, {digest.hexdigest()})"

    def __call__(self, log_joint: LogJoint, chains: int, generator: torch.Generator) -> Tensor:
        expected = {site.name: tuple(site.shape) for site in log_joint.sites}
        given = {name: tuple(value.shape[2:]) for name, value in self.sites.items()}
        if odd := [n for n in dict.fromkeys([*expected, *given]) if expected.get(n) != given.get(n)]:
            said = "; ".join(f"{n}: expected {expected.get(n, 'no such site')}, got {given.get(n, 'none')}" for n in odd[:5])
            raise ModelError(f"FromPosterior: the posterior is one of other sites: {said}")
        own, draws = next(iter(self.sites.values())).shape[:2]
        rounds = -(-chains // own)
        at = [(c % own, draws - 1 - c // own * draws // rounds) for c in range(chains)]
        values = {n: torch.stack([self.sites[n][c, d] for c, d in at]) for n in expected}
        return log_joint.unconstrain({n: v.to(log_joint.device, log_joint.dtype) for n, v in values.items()})
