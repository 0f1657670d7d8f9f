"""Independent normals, one for each unconstrained scalar."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pyro
import torch
from pyro import distributions as dist
from pyro import poutine
from pyro.distributions import constraints
from pyro.infer.autoguide.initialization import InitMessenger, init_to_feasible
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from .._torch import Independent
from ..bijections import bijection
from ..types import Model, ModelError


class MeanFieldNormal:
    """``q(z) = ∏ N(u_i; m_i, s_i²)`` with z = T(u): the family of Pyro's ``AutoNormal``. Kucukelbir et al. 2017.

    Sites with real support are sampled under their own name from a plain normal, so that ``TraceMeanField_ELBO`` finds
    the KL divergence to a normal (or Laplace, …) prior in closed form; ``AutoNormal`` samples an auxiliary site and leaves
    that KL to Monte Carlo. Parameters in Pyro's store: ``"guide.<site>.loc"``, ``"guide.<site>.scale"``.
    """

    def __init__(
        self, model: Model, *, init_loc_fn: Callable[[Any], Tensor] = init_to_feasible, init_scale: float = 0.05
    ) -> None:
        if not init_scale > 0:
            raise ValueError(f"init_scale must be > 0, got {init_scale}")
        self.model, self.init_loc_fn, self.init_scale = model, init_loc_fn, init_scale
        self.prototype: Any = None

    def __call__(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        if self.prototype is None:
            with poutine.block(), InitMessenger(self.init_loc_fn), torch.no_grad():
                self.prototype = poutine.trace(self.model).get_trace(*args, **kwargs)
        nodes = {n: self.prototype.nodes[n] for n in self.prototype.stochastic_nodes}
        plates: dict[str, Any] = {}
        return {name: self._sample(name, site, plates) for name, site in nodes.items() if not site_is_subsample(site)}

    def _sample(self, name: str, site: Any, plates: dict[str, Any]) -> Tensor:
        fn, transform = site["fn"], bijection(site["fn"].support)
        start = transform.inv(site["value"]).detach()
        loc = pyro.param(f"guide.{name}.loc", lambda: start.clone())
        scale = pyro.param(
            f"guide.{name}.scale",
            lambda: torch.full_like(start, self.init_scale),
            constraint=constraints.softplus_positive,
        )
        with ExitStack() as inside:
            for frame in site["cond_indep_stack"]:
                if frame.full_size not in (None, frame.size):
                    raise ModelError(f"site {name!r} is local to the subsampled plate {frame.name!r}: use all rows")
                if frame.vectorized and frame.name not in plates:
                    plates[frame.name] = pyro.plate(frame.name, frame.size, dim=frame.dim)
                if frame.vectorized:
                    inside.enter_context(plates[frame.name])
            return pyro.sample(name, self._law(fn, transform, loc, scale))

    @staticmethod
    def _law(fn: Any, transform: Any, loc: Tensor, scale: Tensor) -> Any:
        support = fn.support
        while isinstance(support, Independent):
            support = support.base_constraint
        if support is constraints.real:
            return dist.Normal(loc, scale).to_event(fn.event_dim)
        inner = transform.domain.event_dim
        law = dist.TransformedDistribution(dist.Normal(loc, scale).to_event(inner), [transform])
        return law.to_event(fn.event_dim - law.event_dim)
