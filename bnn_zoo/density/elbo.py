"""The evidence lower bound of a Pyro guide as a traced function of its flat parameters.

    ELBO = E_q[Σ_model scale · log p(site)] + Σ_guide scale · H[q(site)]

where plates, ``poutine.scale`` and masks of the model weigh its own log densities, and those of the guide its entropies: so
q approximates exp(log joint), the law that MCMC samples. E_q[log p] = −KL(q ‖ p) − H[q] is analytic where torch knows KL and
entropy (or a law registers them), and ``log p`` and ``−log q`` at the draw elsewhere. Value and gradient are traced once for
each shape of rows, random numbers included, so that no Pyro handler runs in the optimiser's loop; the traced graph is
compared with the guide and model run by autograd, under the same random numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor, fx
from torch.distributions import transform_to
from torch.func import functional_call, grad_and_value

from ..types import ModelError
from .agreement import same_outputs
from .compiled import Compiled
from .divergence import energy_and_entropy, entropy_of, scaled
from .graph import Shapes, Untraceable, trace
from .in_place import in_place
from .messengers import Unvalidated
from .noise import same_noise
from .simplify import simplify
from .sites import is_latent

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
    guide and model: ``handlers.LocalReparameterization``, for one. ``compile``: whether the graph is compiled, or a function
    that is asked, of the graph with shapes and dtypes as ``meta["kind"]``; then nothing is said where no compiler works.

    Calling it gives ``(elbo, entropy of q, gradient [parameters])``; the random numbers come from torch's global state.
    ``traced`` tells whether the last rows of a new shape were traced; a guide that cannot be (control flow on values), or
    whose graph gives other values, runs as it is, with the same results and slower. Of a guide that is a module, such as
    Pyro's autoguides, parameters are exchanged for those of the trace; ``guide`` itself has those of ``parameters(flat)``.
    The graphs of ``like``, of the same guide from another start, are taken where they give the values of this one.
    Raises ModelError where the guide leaves out a latent site of the model.
    """

    traced: bool

    def __init__(
        self,
        model: Any,
        guide: Any,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        particles: int = 1,
        handler: Handler = nullcontext,
        compile: bool | Callable[[fx.GraphModule], bool] = False,
        like: Elbo | None = None,
    ) -> None:
        self.model, self.guide, self.args, self.kwargs = model, guide, args, dict(kwargs)
        self.particles, self.handler, self.compile = particles, handler, compile
        self._check_sites()
        state = pyro.get_param_store().get_state()
        self.constraints = state["constraints"]
        first = {id(p): name for name, p in reversed(state["params"].items())}  # a module may know one by two names
        params = {name: p.detach() for name, p in state["params"].items() if first[id(p)] == name}
        self.shapes = {name: p.shape for name, p in params.items()}
        self.start = torch.cat([p.reshape(-1) for p in params.values()]).clone()
        self.graphs: dict[Any, Callable[..., tuple[Tensor, ...]]] = {}
        self.others = like.graphs if like is not None and like.traced and like.shapes == self.shapes else {}
        self.traced = False

    def __call__(self, flat: Tensor, *rows: Tensor) -> tuple[Tensor, ...]:
        tensors = rows or tuple(a for a in self.args if isinstance(a, Tensor))
        key = tuple(t.shape for t in tensors)
        if key not in self.graphs:
            self.graphs[key] = self._taken(self.others.get(key), flat, tensors) or self._trace(flat, tensors)
        return self.graphs[key](flat, *tensors)

    def parameters(self, flat: Tensor) -> AbstractContextManager[Any]:
        """The handler under which the guide has these parameters; a module gets them for good."""
        pieces = self._pieces(flat)
        if not isinstance(self.guide, torch.nn.Module):
            return self._handled(pieces)
        leaves = dict(pyro.get_param_store().named_parameters())
        for name, piece in pieces.items():
            leaves[name].data.copy_(piece)
        return nullcontext()

    def _handled(self, pieces: Mapping[str, Tensor]) -> Parameters:
        return Parameters({name: transform_to(self.constraints[name])(piece) for name, piece in pieces.items()})

    def _with(self, pieces: Mapping[str, Tensor]) -> Any:
        """The guide with these unconstrained parameters in place of those that a module reads past any handler: its plain
        ones. It asks ``pyro.param`` for its others."""
        if not isinstance(self.guide, torch.nn.Module):
            return self.guide
        names = {id(p): name for name, p in pyro.get_param_store().named_parameters() if name in pieces}
        own = {path: names[id(p)] for path, p in self.guide.named_parameters() if id(p) in names}
        plain = {path: pieces[name] for path, name in own.items() if not path.endswith("_unconstrained")}
        return lambda *args, **kwargs: functional_call(self.guide, plain, args, kwargs)

    def _pieces(self, flat: Tensor) -> dict[str, Tensor]:
        sizes = [shape.numel() for shape in self.shapes.values()]
        return {n: piece.reshape(s) for (n, s), piece in zip(self.shapes.items(), flat.split(sizes), strict=True)}

    def _value(self, flat: Tensor, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        """ELBO and entropy at these parameters."""
        pieces = self._pieces(flat)
        with self._handled(pieces):
            return self._mean(self._with(pieces), tensors)

    def _mean(self, guide: Any, tensors: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """ELBO and entropy, means over particles."""
        fresh = iter(tensors)
        args = tuple(next(fresh) if isinstance(a, Tensor) else a for a in self.args)
        terms = [self._particle(guide, args) for _ in range(self.particles)]
        elbo, entropy = (sum(t[1:], t[0]) / self.particles for t in zip(*terms, strict=True))
        return elbo, entropy.detach()

    def _check_sites(self) -> None:
        """Run the guide, for its parameters and the names of its sites, and the model for its own."""
        guide = poutine.trace(self.guide).get_trace(*self.args, **self.kwargs)
        model = poutine.trace(poutine.replay(self.model, guide)).get_trace(*self.args, **self.kwargs)
        latents = {name for name, msg in model.nodes.items() if is_latent(msg)}
        if missing := latents - guide.nodes.keys():
            raise ModelError(
                f"the guide gives no value to the model's sites {sorted(missing)}: sample each latent site in it under the "
                "model's name"
            )

    def _plain(self, flat: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Guide and model themselves, by autograd."""
        if isinstance(self.guide, torch.nn.Module):
            return self._by_store(flat, *tensors)
        leaf = flat.detach().clone().requires_grad_()
        with torch.enable_grad():
            elbo, entropy = self._value(leaf, *tensors)
            (gradient,) = torch.autograd.grad(elbo, leaf)
        return elbo.detach(), entropy, gradient

    def _by_store(self, flat: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        """For guides that are modules: autograd to the parameters in Pyro's store, where the module finds them."""
        with torch.enable_grad(), self.parameters(flat):
            elbo, entropy = self._mean(self.guide, tensors)
            leaves = dict(pyro.get_param_store().named_parameters())
            gradients = torch.autograd.grad(elbo, [leaves[n] for n in self.shapes], allow_unused=True)
        parts = [flat.new_zeros(s) if g is None else g for g, s in zip(gradients, self.shapes.values(), strict=True)]
        return elbo.detach(), entropy, torch.cat([g.reshape(-1) for g in parts])

    def _taken(self, graph: Any, flat: Tensor, tensors: tuple[Tensor, ...]) -> Callable[..., tuple[Tensor, ...]] | None:
        """The graph of another start, if it gives the values that guide and model have from here."""
        if not isinstance(graph, fx.GraphModule | Compiled):
            return None
        inputs = (flat, *(t.detach() for t in tensors))
        with torch.no_grad(), same_noise(flat.device):
            self.traced = same_outputs(graph(*inputs), self._plain, inputs)
        return graph if self.traced else None

    def _trace(self, flat: Tensor, tensors: tuple[Tensor, ...]) -> Callable[..., tuple[Tensor, ...]]:
        self.traced = False

        def whole(flat: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
            gradient, (elbo, entropy) = grad_and_value(self._value, has_aux=True)(flat, *tensors)
            return elbo, entropy, gradient

        inputs = (flat, *(t.detach() for t in tensors))
        try:
            with torch.no_grad(), same_noise(flat.device):
                graph = trace(whole, inputs)
                if graph.meta["reads"]:  # of draws, or of rows that change: a number read once is not true for ever
                    return self._plain
                graph = simplify(graph, inputs)
                self.traced = same_outputs(graph(*inputs), self._plain, inputs)
        except (Untraceable, RuntimeError):  # a guide or model that cannot be traced: control flow on values
            return self._plain
        if not self.traced:
            return self._plain
        if self.compile is True or self._pays(graph, inputs):
            return Compiled(graph, asked=self.compile is True)
        return in_place(graph, inputs)

    @property
    def compiled(self) -> bool:
        """Whether calls go through compiled code."""
        return any(isinstance(g, Compiled) and g.call is not g.graph for g in self.graphs.values())

    def _pays(self, graph: fx.GraphModule, inputs: tuple[Tensor, ...]) -> bool:
        if not callable(self.compile):
            return False
        with torch.no_grad(), same_noise(inputs[0].device):
            Shapes(graph).run(*inputs)
        return self.compile(graph)

    def _particle(self, q: Any, args: tuple[Any, ...]) -> tuple[Tensor, Tensor]:
        """ELBO and entropy of the guide q at one draw."""
        with self.handler(), Unvalidated():
            guide = poutine.trace(q).get_trace(*args, **self.kwargs)
            model = poutine.trace(poutine.replay(self.model, guide)).get_trace(*args, **self.kwargs)
        elbo, entropy = self.start.new_zeros(()), self.start.new_zeros(())
        for name, site in model.nodes.items():
            if site["type"] == "sample" and not site_is_subsample(site) and name not in guide.nodes:
                elbo = elbo + scaled(site, site["fn"].log_prob(site["value"]))
        for name, site in guide.nodes.items():
            if site["type"] != "sample" or site_is_subsample(site):
                continue
            own = entropy_of(site["fn"])
            part = -scaled(site, site["fn"].log_prob(site["value"])) if own is None else scaled(site, own)
            entropy = entropy + part
            if name in model.nodes:  # the others are auxiliary sites of the guide
                elbo = elbo + energy_and_entropy(site, model.nodes[name], own)
            else:
                elbo = elbo - scaled(site, site["fn"].log_prob(site["value"]))
        return elbo, entropy
