"""The evidence lower bound of a Pyro guide as a traced function of its flat parameters.

    ELBO = E_q[Σ log p(observed | z)] − Σ_latent KL(q(z) ‖ p(z))

with plate scaling, ``poutine.scale`` and masks counted as Pyro counts them. The KL is analytic where torch knows it (or a
law registers it with ``torch.distributions.kl``), and ``log q − log p`` at the draw elsewhere. Value and gradient are traced
once for each shape of rows, random numbers included, so that no Pyro handler runs in the optimiser's loop.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.distributions.util import scale_and_mask
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor
from torch.distributions import Independent, Normal, kl_divergence, transform_to
from torch.func import functionalize, grad_and_value
from torch.fx.experimental.proxy_tensor import make_fx

from .graph import Compiled
from .simplify import simplify

Handler = Callable[[], AbstractContextManager[Any]]


class Parameters(Messenger):
    """Gives ``pyro.param`` statements these values instead of those of Pyro's store."""

    def __init__(self, values: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.values = values

    def _pyro_param(self, msg: Any) -> None:
        if msg["name"] in self.values:
            msg["value"], msg["done"] = self.values[msg["name"]], True


class Elbo:
    """ELBO of ``guide`` for ``model(*args, **kwargs)`` as a function of ``flat [parameters]`` and of the rows.

    To be made and called inside a scope of Pyro's parameter store, in the right dtype and device, with validation off. The
    guide is run once, for its parameters: ``start`` are their unconstrained starting values. ``handler()`` is entered around
    guide and model: ``handlers.LocalReparameterization``, for one.

    Calling it gives ``(elbo, entropy of q, gradient [parameters])``; the random numbers come from torch's global state.
    ``traced`` tells whether the last rows of a new shape were traced; a guide that cannot be (a module, such as Pyro's
    autoguides; control flow on values) runs as it is, with the same results and slower.
    """

    def __init__(
        self,
        model: Any,
        guide: Any,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        particles: int = 1,
        handler: Handler = nullcontext,
        compile: bool = False,
    ) -> None:
        self.model, self.guide, self.args, self.kwargs = model, guide, args, dict(kwargs)
        self.particles, self.handler, self.compile = particles, handler, compile
        guide(*args, **self.kwargs)
        state = pyro.get_param_store().get_state()
        self.constraints = state["constraints"]
        params = {name: p.detach() for name, p in state["params"].items()}
        self.shapes = {name: p.shape for name, p in params.items()}
        self.start = torch.cat([p.reshape(-1) for p in params.values()]).clone()
        self.graphs: dict[Any, Callable[..., tuple[Tensor, ...]]] = {}
        self.traced = False

    def __call__(self, flat: Tensor, *rows: Tensor) -> tuple[Tensor, ...]:
        tensors = rows or tuple(a for a in self.args if isinstance(a, Tensor))
        key = tuple(t.shape for t in tensors)
        if key not in self.graphs:
            self.graphs[key] = self._trace(flat, tensors)
        return self.graphs[key](flat, *tensors)

    def parameters(self, flat: Tensor) -> AbstractContextManager[Any]:
        """The handler under which the guide has these parameters."""
        pieces = self._pieces(flat)
        if isinstance(self.guide, torch.nn.Module):  # Pyro's autoguides read their parameters past any handler
            for name, unconstrained in pyro.get_param_store().named_parameters():
                unconstrained.data.copy_(pieces[name])
            return nullcontext()
        return Parameters({name: transform_to(self.constraints[name])(piece) for name, piece in pieces.items()})

    def _pieces(self, flat: Tensor) -> dict[str, Tensor]:
        sizes = [shape.numel() for shape in self.shapes.values()]
        return {n: piece.reshape(s) for (n, s), piece in zip(self.shapes.items(), flat.split(sizes), strict=True)}

    def _value(self, flat: Tensor, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        """ELBO and entropy, means over particles."""
        fresh = iter(tensors)
        args = tuple(next(fresh) if isinstance(a, Tensor) else a for a in self.args)
        with self.parameters(flat):
            terms = [self._particle(args) for _ in range(self.particles)]
        elbo, entropy = (torch.stack(list(t)).mean() for t in zip(*terms, strict=True))
        return elbo, entropy.detach()

    def _untraced(self, flat: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        """For guides that are modules: autograd to the parameters in Pyro's store."""
        with torch.enable_grad():
            elbo, entropy = self._value(flat, *tensors)
            leaves = dict(pyro.get_param_store().named_parameters())
            gradients = torch.autograd.grad(elbo, [leaves[n] for n in self.shapes], allow_unused=True)
        parts = [torch.zeros(s) if g is None else g for g, s in zip(gradients, self.shapes.values(), strict=True)]
        return elbo.detach(), entropy, torch.cat([g.reshape(-1) for g in parts])

    def _trace(self, flat: Tensor, tensors: tuple[Tensor, ...]) -> Callable[..., tuple[Tensor, ...]]:
        if isinstance(self.guide, torch.nn.Module):
            return self._untraced

        def whole(flat: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
            gradient, (elbo, entropy) = grad_and_value(self._value, has_aux=True)(flat, *tensors)
            return elbo, entropy, gradient

        inputs = (flat, *(t.detach() for t in tensors))
        try:
            with torch.no_grad(), ExitStack() as stack:
                stack.enter_context(torch.random.fork_rng())
                graph = simplify(make_fx(functionalize(whole))(*inputs), inputs)
                self.traced = True
                return Compiled(graph) if self.compile else graph
        except RuntimeError:  # a guide that cannot be traced: control flow on values, writing in place
            self.traced = False
            return whole

    def _particle(self, args: tuple[Any, ...]) -> tuple[Tensor, Tensor]:
        """ELBO and entropy of q at one draw."""
        with self.handler():
            guide = poutine.trace(self.guide).get_trace(*args, **self.kwargs)
            model = poutine.trace(poutine.replay(self.model, guide)).get_trace(*args, **self.kwargs)
        elbo, entropy = self.start.new_zeros(()), self.start.new_zeros(())
        for name, site in model.nodes.items():
            if site["type"] == "sample" and not site_is_subsample(site) and (site["is_observed"] or name not in guide.nodes):
                elbo = elbo + _scaled(site, site["fn"].log_prob(site["value"]))
        for name, site in guide.nodes.items():
            if site["type"] != "sample" or site_is_subsample(site):
                continue
            q, value = site["fn"], site["value"]
            log_q, own = _scaled(site, q.log_prob(value)), _entropy(q)
            entropy = entropy + (-log_q if own is None else _scaled(site, own))
            if name not in model.nodes:  # an auxiliary site of the guide
                elbo = elbo - log_q
                continue
            p = model.nodes[name]
            try:
                elbo = elbo - _scaled(site, _kl(q, p["fn"], own))
            except NotImplementedError:
                elbo = elbo + _scaled(p, p["fn"].log_prob(value)) - log_q
        return elbo, entropy


def _scaled(site: Any, value: Any) -> Tensor:
    return scale_and_mask(value, site["scale"], site["mask"]).sum()


def _entropy(q: Any) -> Tensor | None:
    try:
        return q.entropy()
    except NotImplementedError:
        return None


def _kl(q: Any, p: Any, entropy: Tensor | None) -> Tensor:
    """KL(q ‖ p). Between normals of one shape as −H[q] − E_q[log p], which shares its terms with the entropy that is there
    already; raises NotImplementedError where it is not known."""
    a, b = (law.base_dist if isinstance(law, Independent) else law for law in (q, p))
    normal = isinstance(a, Normal) and isinstance(b, Normal) and a.batch_shape == b.batch_shape
    if entropy is None or not normal or q.event_shape != p.event_shape:
        return kl_divergence(q, p)
    squares = ((a.loc - b.loc).square() + a.scale.square()) / (2.0 * b.scale.square())
    constant = b.scale.log() + 0.5 * math.log(2.0 * math.pi)
    dims = tuple(range(-len(q.event_shape), 0))
    return squares.sum(dims) + constant.sum(dims) - entropy if dims else squares + constant - entropy
