"""The targets of ``referee.py``: Pyro models whose second moments are known in closed form, and exact draws.

Their data, ``DATA``, say nothing of the parameters: they are there for the dtype.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from bnn_zoo.handlers import NonCentred

DATA = (torch.zeros(1, dtype=torch.float64),)


@dataclass(frozen=True)
class Target:
    """A Pyro model; of its sites, side by side, the coordinates ``judged`` whose second moments are known."""

    model: Callable[[Tensor], None]
    judged: Callable[[Mapping[str, Tensor]], Tensor]
    second: Tensor
    variance: Tensor
    exact: Callable[[int, torch.Generator], Tensor]


def seen(like: Tensor) -> None:
    pyro.sample("seen", dist.Normal(torch.zeros_like(like), 1.0).to_event(1), obs=like)


def zeros(*shape: int) -> Tensor:
    return torch.zeros(shape, dtype=torch.float64)


def rosenbrock(pairs: int = 18, q: float = 0.1) -> Target:
    """E x⁴ = 10 and E x⁸ = 764 of N(1, 1) give E y² = 10 + q and E y⁴ = 764 + 60 q + 3 q²."""

    def model(like: Tensor) -> None:
        x = pyro.sample("x", dist.Normal(zeros(pairs) + 1.0, 1.0).to_event(1))
        pyro.sample("y", dist.Normal(x.square(), q**0.5).to_event(1))
        seen(like)

    def exact(count: int, random: torch.Generator) -> Tensor:
        x, y = torch.randn(2, count, pairs, generator=random, dtype=torch.float64)
        return torch.cat([x + 1.0, (x + 1.0).square() + q**0.5 * y], -1)

    y2, y4 = 10.0 + q, 764.0 + 60.0 * q + 3.0 * q * q
    second = torch.cat([zeros(pairs) + 2.0, zeros(pairs) + y2])
    variance = torch.cat([zeros(pairs) + 6.0, zeros(pairs) + y4 - y2**2])
    return Target(model, lambda sites: torch.cat([sites["x"], sites["y"]], -1), second, variance, exact)


def gaussian(condition: float, dim: int = 100) -> Target:
    half = 0.5 * math.log10(condition)
    variances = torch.logspace(-half, half, dim, dtype=torch.float64)

    def model(like: Tensor) -> None:
        pyro.sample("x", dist.Normal(zeros(dim), variances.sqrt()).to_event(1))
        seen(like)

    def exact(count: int, random: torch.Generator) -> Tensor:
        return torch.randn(count, dim, generator=random, dtype=torch.float64) * variances.sqrt()

    return Target(model, lambda sites: sites["x"], variances, 2 * variances.square(), exact)


def funnel(dim: int = 101, centred: bool = True) -> Target:
    def judged(sites: Mapping[str, Tensor]) -> Tensor:
        theta = sites["theta"].unsqueeze(-1)
        z = sites["z"] * (-theta / 2).exp() if "z" in sites else sites["z_decentered"]
        return torch.cat([theta / 3.0, z], -1)

    def exact(count: int, random: torch.Generator) -> Tensor:
        return torch.randn(count, dim, generator=random, dtype=torch.float64)

    def model(like: Tensor) -> None:
        theta = pyro.sample("theta", dist.Normal(zeros(), 3.0))
        pyro.sample("z", dist.Normal(zeros(dim - 1), (theta / 2).exp().unsqueeze(-1)).to_event(1))
        seen(like)

    return Target(model if centred else NonCentred(model, "z"), judged, zeros(dim) + 1.0, zeros(dim) + 2.0, exact)


TARGETS: dict[str, Callable[[], Target]] = {
    "gaussian 1e2": lambda: gaussian(1e2),
    "gaussian 1e5": lambda: gaussian(1e5),
    "rosenbrock": rosenbrock,
    "funnel": funnel,
    "funnel, non-centred": lambda: funnel(centred=False),
}
