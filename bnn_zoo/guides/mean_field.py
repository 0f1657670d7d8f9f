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

from .._names import fits, need_matches, need_patterns
from .._torch import Independent
from ..bijections import bijection
from ..types import Model, ModelError
from ._points import need_bounded


class MeanFieldNormal:
    """``q(z) = ∏ N(u_i; m_i, s_i²)`` with z = T(u): the family of Pyro's ``AutoNormal``. Kucukelbir et al. 2017.

    Sites with real support are sampled under their own name from a plain normal, so that ``TraceMeanField_ELBO`` finds
    the KL divergence to a normal (or Laplace, …) prior in closed form; ``AutoNormal`` samples an auxiliary site and leaves
    that KL to Monte Carlo. Parameters in Pyro's store: ``"guide.<site>.loc"``, ``"guide.<site>.scale"``.

    points
        patterns of sites that are points, optimised together with q: for these the ELBO has the log prior in place of the
        KL, as MAP. ``MeanField(guide=partial(MeanFieldNormal, points=("0.*",)))`` trains the first layer as a point and
        infers the others. Raises ModelError for a pattern that no site fits, and where all sites would be points.
    """

    def __init__(
        self,
        model: Model,
        *,
        init_loc_fn: Callable[[Any], Tensor] = init_to_feasible,
        init_scale: float = 0.05,
        points: tuple[str, ...] = (),
    ) -> None:
        if not init_scale > 0:
            raise ValueError(f"init_scale must be > 0, got {init_scale}")
        if points:
            need_patterns("MeanFieldNormal: points", () if isinstance(points, str) else points)
        self.model, self.init_loc_fn, self.init_scale, self.points = model, init_loc_fn, init_scale, points
        self.prototype: Any = None

    def __call__(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        if self.prototype is None:
            with poutine.block(), InitMessenger(self.init_loc_fn), torch.no_grad():
                self.prototype = poutine.trace(self.model).get_trace(*args, **kwargs)
            self._check_points(list(self._latents()))
        plates: dict[str, Any] = {}
        return {name: self._sample(name, site, plates) for name, site in self._latents().items()}

    def _latents(self) -> dict[str, Any]:
        nodes = {n: self.prototype.nodes[n] for n in self.prototype.stochastic_nodes}
        return {n: site for n, site in nodes.items() if not site_is_subsample(site)}

    def _check_points(self, names: list[str]) -> None:
        need_matches("MeanFieldNormal: points", self.points, names)
        for name in names:
            if fits(name, self.points):
                need_bounded(name, self.prototype.nodes[name]["fn"])
        if all(fits(name, self.points) for name in names):
            raise ModelError(
                f"MeanFieldNormal: points={self.points} fit all of {names}, and nothing is left to infer: use MAP"
            )

    def _sample(self, name: str, site: Any, plates: dict[str, Any]) -> Tensor:
        fn, transform = site["fn"], bijection(site["fn"].support)
        start = transform.inv(site["value"]).detach()
        loc = pyro.param(f"guide.{name}.loc", lambda: start.clone())
        if fits(name, self.points):
            law: Any = dist.Delta(transform(loc), event_dim=fn.event_dim)
        else:
            law = self._law(fn, transform, loc, self._scale(name, start))
        with ExitStack() as inside:
            for frame in site["cond_indep_stack"]:
                if frame.full_size not in (None, frame.size):
                    raise ModelError(f"site {name!r} is local to the subsampled plate {frame.name!r}: use all rows")
                if frame.vectorized and frame.name not in plates:
                    plates[frame.name] = pyro.plate(frame.name, frame.size, dim=frame.dim)
                if frame.vectorized:
                    inside.enter_context(plates[frame.name])
            return pyro.sample(name, law)

    def _scale(self, name: str, start: Tensor) -> Tensor:
        return pyro.param(
            f"guide.{name}.scale",
            lambda: torch.full_like(start, self.init_scale),
            constraint=constraints.softplus_positive,
        )

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
