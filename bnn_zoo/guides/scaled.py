"""Independent normals, times the scale that the model samples: the non-centred family in the model's own coordinates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pyro
import torch
from pyro import distributions as dist
from pyro import poutine
from pyro.distributions import constraints
from pyro.infer.autoguide.initialization import InitMessenger, init_to_feasible
from pyro.poutine.util import site_is_subsample
from torch import Tensor
from torch.distributions import Independent

from ..bijections import bijection
from ..laws import LogUniform
from ..laws import ScaledNormal as Law
from ..types import Model, ModelError

LEAST = 1e-6
"""Of a scale at the start."""


class ScaledNormal:
    """``q(z, w) = q(z) ∏ N(w_i; z m_i, (z s_i)²)`` for weights whose prior is ``N(0, z²)``: ``w = z w̃``, non-centred.

    For hierarchical priors of networks, such as group normal-Jeffreys ``Normal(PerInput(LogUniform()))`` and the group
    horseshoe ``Normal(PerInput(HalfCauchy(HalfCauchy(1e-5))))``: Louizos, Ullrich & Welling 2017, eq. 4. KL(q ‖ p) of the
    weights given z is that of N(m, s²) to N(0, 1), in closed form, and weights are normal given z, so that
    ``handlers.LocalReparameterization`` works. The family is that of ``MeanFieldNormal`` on
    ``handlers.NonCentred(model, "*.weight")``, where weights are products that no layer knows for normal.

    A site ``w`` has a scale where the model samples ``"w_scale"`` before it, and the law of w is a normal around 0. A scale
    that has a scale itself, and is half-normal or half-Cauchy, is that one's times a log-normal; other positive sites are
    log-normal, sites of the log-uniform law and other real ones normal. Scales start at the root mean square that the start
    of their weights has, so that w̃ starts with mean square 1; scales of scales at the geometric mean of those.
    Parameters in Pyro's store: ``"guide.<site>.loc"`` and ``"guide.<site>.scale"``, of w̃ where there is a scale; the
    latter of a log-uniform site is sd over mean. All are of the order of one, and want larger learning rates than
    weights do.

    init_scale
        sd of w̃, and relative sd of scales, at the start.

    Raises ModelError for a model that has no weight with a scale (``MeanFieldNormal`` is the family then), and for sites
    local to a plate.
    """

    def __init__(
        self, model: Model, *, init_loc_fn: Callable[[Any], Tensor] = init_to_feasible, init_scale: float = 0.05
    ) -> None:
        if not init_scale > 0:
            raise ValueError(f"init_scale must be > 0, got {init_scale}")
        self.model, self.init_loc_fn, self.init_scale = model, init_loc_fn, init_scale
        self.sites: dict[str, Any] = {}
        self.start: dict[str, Tensor] = {}

    def __call__(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        if not self.sites:
            self._look(*args, **kwargs)
        values: dict[str, Tensor] = {}
        self.laws: dict[str, Any] = {}
        for name in self.sites:
            values[name] = self._sample(name, values)
        return values

    def _look(self, *args: Any, **kwargs: Any) -> None:
        with poutine.block(), InitMessenger(self.init_loc_fn), torch.no_grad():
            trace = poutine.trace(self.model).get_trace(*args, **kwargs)
        nodes = {n: trace.nodes[n] for n in trace.stochastic_nodes if not site_is_subsample(trace.nodes[n])}
        scaled = [n for n in nodes if self._is_scaled(n, nodes)]
        if not scaled:
            raise ModelError(
                f"ScaledNormal: none of the sites {list(nodes)} is normal around 0 with a scale that is sampled: take "
                "guides.MeanFieldNormal"
            )
        for name, site in nodes.items():
            if any(frame.vectorized for frame in site["cond_indep_stack"]):
                raise ModelError(f"ScaledNormal: site {name!r} is local to a plate: take guides.MeanFieldNormal")
        self.start = _starts({n: site["value"].detach() for n, site in nodes.items()}, scaled)
        self.sites, self.scaled = nodes, set(scaled)

    @staticmethod
    def _is_scaled(name: str, nodes: Mapping[str, Any]) -> bool:
        law = _base(nodes[name]["fn"])
        half = dist.HalfCauchy | dist.HalfNormal
        return f"{name}_scale" in nodes and (isinstance(law, half) or (isinstance(law, dist.Normal) and not law.loc.any()))

    def _sample(self, name: str, values: Mapping[str, Tensor]) -> Tensor:
        fn = self.sites[name]["fn"]
        scale = values[f"{name}_scale"].abs() if name in self.scaled else None
        start = self.start[name] if scale is None else self.start[name] / self.start[f"{name}_scale"]
        if isinstance(_base(fn), LogUniform):
            loc, sd = self._log_uniform(name, start)
        else:
            loc = pyro.param(f"guide.{name}.loc", lambda: bijection(fn.support).inv(start).clone())
            sd = self._sd(name, loc)
        law = self._law(fn, loc, sd, name, scale)
        self.laws[name] = law
        return pyro.sample(name, law.to_event(fn.event_dim - law.event_dim))

    def _law(self, fn: Any, loc: Tensor, sd: Tensor, name: str, scale: Tensor | None) -> Any:
        if isinstance(_base(fn), dist.Normal) and scale is not None:
            return Law(dist.Normal(loc, sd), scale, self.laws[f"{name}_scale"])
        if isinstance(_base(fn), dist.Normal | LogUniform):
            return dist.Normal(loc, sd)
        transform = bijection(fn.support)
        normal = dist.Normal(loc if scale is None else loc + scale.log(), sd)
        return dist.TransformedDistribution(normal.to_event(transform.domain.event_dim), [transform])

    def _log_uniform(self, name: str, start: Tensor) -> tuple[Tensor, Tensor]:
        """Mean > 0, of a scale whose sign does not matter, and sd in its units: both have the steps of a logarithm."""
        loc = pyro.param(f"guide.{name}.loc", lambda: start.abs().clamp(min=LEAST), constraint=constraints.positive)
        return loc, loc * self._sd(name, loc)

    def _sd(self, name: str, loc: Tensor) -> Tensor:
        return pyro.param(
            f"guide.{name}.scale", lambda: torch.full_like(loc, self.init_scale), constraint=constraints.softplus_positive
        )


def _base(law: Any) -> Any:
    while isinstance(law, Independent):
        law = law.base_dist
    return law


def _starts(values: dict[str, Tensor], scaled: list[str]) -> dict[str, Tensor]:
    """The values with scales put where what they scale is; ``scaled`` are in the model's order, scales before weights."""
    for name in reversed(scaled):
        own, scale = values[name].abs(), values[f"{name}_scale"]
        if name.endswith("_scale"):
            size = own.clamp(min=LEAST).log().mean().exp()
        else:
            apart = scale.dim() == own.dim()  # groups along some dimensions, or one scale for all
            dims = [i for i in range(own.dim()) if not apart or scale.shape[i] == 1]
            size = own.square().mean(dims, keepdim=apart).sqrt() if dims else own
        values[f"{name}_scale"] = size.clamp(min=LEAST).expand(scale.shape).clone()
    return values
