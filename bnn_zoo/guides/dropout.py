"""Monte Carlo dropout as what it is: a variational family of weights with inputs switched off."""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any

import pyro
import torch
from pyro import distributions as dist
from pyro import poutine
from pyro.infer.autoguide.initialization import InitMessenger, init_to_feasible
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from ..bijections import bijection
from ..laws import Dropped
from ..types import Model, ModelError
from ._points import need_bounded


class MCDropout:
    """Weights ``[out, in, …]`` whose name matches ``sites`` are ``Dropped(M, rate)``, others points. Gal & Ghahramani 2016.

    One draw of q is one mask for each layer, so draws are functions, and the ELBO's KL is the L2 term of the prior. Rate 0
    everywhere, or no such site, is MAP. Parameters in Pyro's store: ``"guide.<site>.loc"``.

    rate
        probability that an input of a layer is dropped.
    sites
        patterns as of ``fnmatch``; by default the weights of all layers but the first, whose inputs are the data.
    """

    def __init__(
        self,
        model: Model,
        *,
        rate: float = 0.5,
        sites: tuple[str, ...] | None = None,
        init_loc_fn: Callable[[Any], Tensor] = init_to_feasible,
    ) -> None:
        self.model, self.rate, self.sites, self.init_loc_fn = model, rate, sites, init_loc_fn
        self.prototype: Any = None

    def __call__(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        if self.prototype is None:
            self._look(*args, **kwargs)
        return {name: self._sample(name, site) for name, site in self.prototype.items()}

    def _look(self, *args: Any, **kwargs: Any) -> None:
        with poutine.block(), InitMessenger(self.init_loc_fn), torch.no_grad():
            trace = poutine.trace(self.model).get_trace(*args, **kwargs)
        nodes = {n: trace.nodes[n] for n in trace.stochastic_nodes if not site_is_subsample(trace.nodes[n])}
        weights = [n for n, site in nodes.items() if site["value"].dim() >= 2]
        patterns = self.sites
        chosen = weights[1:] if patterns is None else [n for n in weights if any(fnmatchcase(n, p) for p in patterns)]
        if not chosen:
            raise ModelError(f"no weight to drop inputs of: sites={patterns} matches none of {weights} but the first")
        for name, site in nodes.items():
            need_bounded(name, site["fn"])
        self.prototype, self.chosen = nodes, set(chosen)

    def _sample(self, name: str, site: Any) -> Tensor:
        fn, transform = site["fn"], bijection(site["fn"].support)
        start = transform.inv(site["value"]).detach()
        loc = pyro.param(f"guide.{name}.loc", lambda: start.clone())
        if name in self.chosen:
            return pyro.sample(name, Dropped(loc, self.rate).to_event(loc.dim()))
        return pyro.sample(name, dist.Delta(transform(loc), event_dim=fn.event_dim))
