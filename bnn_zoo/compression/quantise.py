"""Few bits for a weight: as fine as the posterior knows it, or a table of the values that there are."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from pyro import poutine
from torch import Tensor
from torch.distributions import Independent

from ..laws import NormalMixture
from ..types import ModelError
from .draws import Moments
from .pruning import need_spread

BITS = 8
"""Of a step's mantissa: a step is stored in three bytes."""


@dataclass(frozen=True)
class Grid:
    """Values ``step · index``."""

    step: float

    def indices(self, values: Tensor) -> Tensor:
        return (values.double() / self.step).round().long()

    found = indices

    def values(self, indices: Tensor) -> Tensor:
        return (indices.double() * self.step).float()

    def bits(self, indices: Tensor) -> int:
        """Of fixed point: a sign and the largest size; 0 where all are 0."""
        return math.ceil(math.log2(int(indices.abs().max()) + 1)) + 1 if indices.any() else 0


@dataclass(frozen=True)
class Table:
    """Values ``table[index]``, and which of them a value belongs to: the most probable of normals around these means.

    The means have the precision of float16; index 0 is the value 0.
    """

    table: tuple[float, ...]
    height: tuple[float, ...] = ()
    """``log share − log scale`` of each component, first those at zero."""
    scale: tuple[float, ...] = ()

    @classmethod
    def of(cls, law: NormalMixture) -> Table:
        """Means of a mixture, a zero first; components with mean 0 are one value."""
        zero = (law.loc == 0.0).long().argsort(descending=True, stable=True)
        loc, share, scale = (t.detach().double()[zero] for t in (law.loc, law.share, law.scale))
        height = share.clamp(min=1e-300).log() - scale.log()
        if loc[0] != 0.0:  # no component at zero: 0 is a value that nothing goes to
            loc, height, scale = (
                torch.cat([torch.tensor([v], dtype=t.dtype), t]) for v, t in ((0, loc), (-1e300, height), (1, scale))
            )
        return cls(tuple(loc.half().double().tolist()), tuple(height.tolist()), tuple(scale.tolist()))

    def indices(self, values: Tensor) -> Tensor:
        best = torch.full_like(values, -torch.inf, dtype=torch.float64)
        at = torch.zeros_like(values, dtype=torch.long)
        for i, (loc, height, scale) in enumerate(zip(self.table, self.height, self.scale, strict=True)):
            score = height - 0.5 * ((values.double() - loc) / scale).square()
            at, best = torch.where(score > best, i, at), torch.maximum(best, score)
        return torch.where(values == 0.0, 0, at)

    def found(self, values: Tensor) -> Tensor:
        """Indices of values that are in the table."""
        at = torch.zeros_like(values, dtype=torch.long)
        for i, value in enumerate(torch.tensor(self.table, dtype=torch.float32)):
            at = torch.where(values == value, i, at)
        return at

    def values(self, indices: Tensor) -> Tensor:
        return torch.tensor(self.table, dtype=torch.float32)[indices]

    def bits(self, indices: Tensor) -> int:
        return math.ceil(math.log2(max(len(indices.unique()), 1)))


Code = Callable[[Moments, dict[str, Tensor], Any], dict[str, Grid | Table]]
"""From moments, masks and the posterior to what each parameter's values may be."""


@dataclass(frozen=True)
class FixedPoint:
    """Fixed point for each parameter, its step ``fluctuation · (mean of 1/sd² over the weights that stay)^−½``.

    As precise as the posterior knows the weights, which are those fluctuations, and no more (Louizos, Ullrich & Welling
    2017, section 3.3). Rounding to a step Δ has the variance Δ²/12; where the log posterior is a parabola of curvature
    1/sd² it costs ``Δ²/24 · 1/sd²`` nats a weight: 1/24 of a nat for ``fluctuation=1``.
    """

    fluctuation: float = 1.0

    def __post_init__(self) -> None:
        if not (isinstance(self.fluctuation, int | float) and 0.0 < self.fluctuation < float("inf")):
            raise ValueError(f"FixedPoint: fluctuation must be a number > 0, got {self.fluctuation!r}")

    def __call__(self, moments: Moments, masks: dict[str, Tensor], posterior: Any) -> dict[str, Grid | Table]:
        need_spread(moments, "FixedPoint takes bits from the spread of weights")
        return {n: Grid(self._step(moments.sd[n][mask], moments.mean[n])) for n, mask in masks.items()}

    def _step(self, sd: Tensor, mean: Tensor) -> float:
        precision = float(sd.double().clamp(min=1e-30).pow(-2.0).mean()) if len(sd) else 1.0
        return rounded(self.fluctuation * precision**-0.5)


@dataclass(frozen=True)
class Levels:
    """Fixed point of so many bits for each parameter, the sign among them: no spread is needed."""

    bits: int = 8

    def __post_init__(self) -> None:
        if not isinstance(self.bits, int) or not 2 <= self.bits <= 24:
            raise ValueError(f"Levels: bits must be a whole number of 2 to 24, got {self.bits!r}")

    def __call__(self, moments: Moments, masks: dict[str, Tensor], posterior: Any) -> dict[str, Grid | Table]:
        largest = {n: float((t * masks[n]).abs().max()) for n, t in moments.mean.items()}
        return {n: Grid(rounded(max(top, 1e-30) / (2 ** (self.bits - 1) - 1))) for n, top in largest.items()}


@dataclass(frozen=True)
class Clusters:
    """Each weight goes to the mean of its most probable component under a ``GaussianMixture`` prior: a table of few values.

    The mixture is that of the posterior's last draw, with ``Shared`` one for all layers. A weight of the component at zero
    goes. Biases are stored in ``bits`` bits. Ullrich, Meeds & Welling 2017, section 3. Raises ModelError for weights of
    another prior.
    """

    bits: int = 8

    def __call__(self, moments: Moments, masks: dict[str, Tensor], posterior: Any) -> dict[str, Grid | Table]:
        found: dict[str, Grid | Table] = dict(Levels(self.bits)(moments, masks, posterior))
        for name, law in _laws(posterior).items():
            if name in found and moments.mean[name].dim() >= 2:
                if not isinstance(law, NormalMixture):
                    raise ModelError(
                        f"Clusters: the prior of {name!r} is no mixture but {type(law).__name__}: train under "
                        "priors.GaussianMixture, or take code=FixedPoint()"
                    )
                found[name] = Table.of(law)
        return found


def _laws(posterior: Any) -> dict[str, Any]:
    """The prior law of each site, given the hyperparameters of the last draw."""
    values = {n: torch.as_tensor(v[0, -1]) for n, v in posterior.draws.sites.items()}
    first = tuple(t[:1].cpu() for t in posterior.rows)
    with torch.no_grad(), poutine.block():
        trace = poutine.trace(poutine.condition(posterior.model, data=values)).get_trace(*first)
    laws = {n: msg["fn"] for n, msg in trace.nodes.items() if msg["type"] == "sample"}
    return {n: law.base_dist if isinstance(law, Independent) else law for n, law in laws.items()}


def rounded(step: float) -> float:
    """The step with a mantissa of ``BITS`` bits, so that a file of few bytes has it exactly."""
    mantissa, exponent = math.frexp(step)
    return math.ldexp(round(mantissa * 2**BITS), exponent - BITS)
