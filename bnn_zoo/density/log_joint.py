"""The engine: a Pyro model as a batched function of flat unconstrained vectors, with its gradient.

The log joint of an unconstrained vector u with sites z = T(u) is

    log p(u, data) = Σ_sites scale · log p(site | earlier sites) + Σ_latent log |det ∂T/∂u|

as Pyro counts it: observed and latent sites, ``pyro.factor``, plate scaling, ``poutine.scale`` and masks included. It is
traced once, for each number of chains and shape of rows, through ``vmap(grad_and_value)`` with ``make_fx`` into a plain
graph of ATen calls, so that no Pyro handler runs inside a sampler's loop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any

import pyro
import torch
from pyro import poutine
from torch import Tensor, fx
from torch.func import grad, grad_and_value, jacrev, vmap

from .._scope import factory, seeded
from ..types import Model
from .graph import Compiled, Inlined, prepare, trace
from .layout import RowsLast
from .messengers import Constrained, Unconstrained
from .sites import look

PATIENCE = 3000
"""Calls of the log joint before its graph is compiled: starting points and guesses of a step size do not need that."""

UNROLL, CHEAP = 4, 10_000_000
"""Steps in one graph, where rows × dimensions × chains are few: a call costs a quarter of a millisecond, whatever is in it,
and that is what the gradient of a network takes at a million."""


class LogJoint:
    """Log joint of ``model(*args, **kwargs)`` as a function of positions ``[chain, dim]``.

    Calling it gives the log joint ``[chain]`` and its gradient ``[chain, dim]``. Tensor arguments of the model are inputs
    of the graph: ``log_joint(position, *rows)`` evaluates it on other rows of the same shape (a minibatch); with
    ``rows_per_chain=True`` those have a leading chain dimension. ``compile=True`` passes the graph to ``torch.compile``.

    Attributes: ``sites`` (list of ``Site``), ``dim``, ``rows`` (the plates of the data), ``dtype``, ``device`` and
    ``evaluations``, the number of gradients of single chains so far.

    Raises ModelError (discrete latents, control flow on values, BatchNorm, randomness besides the sites) and DataError
    (observed values outside their support, NaN, wrong shapes) when built.
    """

    def __init__(
        self,
        model: Model,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        rows_per_chain: bool = False,
        compile: bool = False,
    ) -> None:
        self.model, self.args, self.kwargs = model, tuple(args), dict(kwargs or {})
        tensors = [a for a in self.args if isinstance(a, Tensor)]
        floating = [a.dtype for a in tensors if a.is_floating_point()]
        self.dtype = dtype or (floating[0] if floating else torch.get_default_dtype())
        self.device = torch.device(device or (tensors[0].device if tensors else "cpu"))
        self.rows_per_chain, self.compile = rows_per_chain, compile
        self.evaluations = 0
        if compile and self.device.type == "cpu":
            prepare()
        with self._scope(validate=True), seeded(0, self.device):
            self.sites, self.rows = look(self.model, self.args, self.kwargs)
        self.dim = sum(site.size for site in self.sites)
        self._graphs: dict[Any, Any] = {}
        self._traced: dict[int, fx.GraphModule] = {}
        self._inlined: dict[Callable[..., Any], Inlined] = {}

    def __call__(self, position: Tensor, *rows: Tensor) -> tuple[Tensor, Tensor]:
        tensors = rows or self._tensors(self.args)
        key = (position.shape[0], *(t.shape for t in rows))
        self.evaluations += position.shape[0]
        try:
            if key not in self._graphs:
                graph = self.graph(position) if not rows else self._build(position, tensors)
                self._graphs[key] = Compiled(graph, PATIENCE) if self.compile else graph
            return self._graphs[key](position, *tensors)
        except torch.linalg.LinAlgError:
            return self._one_by_one(position, rows)

    def inline(self, f: Callable[..., tuple[Tensor, ...]]) -> Callable[..., tuple[Tensor, ...]]:
        """``f(log_joint, *tensors) -> tensors`` as ``(*tensors) -> tensors``: with ``compile``, one graph of both.

        For the inner step of a sampler: f is pure, calls the log joint at positions ``[chain, dim]`` a fixed number of
        times, and is a function of a module, not made anew for each call. Without ``compile`` f runs as it is.
        """
        if not self.compile:
            return partial(f, self)
        return self._inlined.setdefault(f, Inlined(self, f))

    def unroll(self, chains: int) -> int:
        """Steps that a sampler's compiled graph should make in one call: several only where a gradient is cheap."""
        rows = max((row.seen for row in self.rows), default=1)
        return UNROLL if self.compile and rows * self.dim * chains <= CHEAP else 1

    def value(self, position: Tensor) -> Tensor:
        """Log joint ``[…]`` of positions ``[…, dim]``, without gradient."""
        return self._map(lambda parts: {"": self._log_joint(parts, *self._tensors(self.args))[0]}, position)[""]

    def hessian(self, position: Tensor, index: Tensor, *rows: Tensor) -> Tensor:
        """Second derivatives ``[k, k]`` of the log joint at one position ``[dim]`` in the coordinates ``index [k]``.

        ``rows`` are the model's tensor arguments, by default its own. Memory: k times that of a gradient.
        """
        tensors = tuple(rows) or self._tensors(self.args)

        def value(block: Tensor) -> Tensor:
            return self._log_joint(self._split(position.index_put((index,), block)), *tensors)[0]

        with self._scope(), torch.no_grad():
            return jacrev(grad(value))(position[index])

    def log_jacobian(self, position: Tensor) -> Tensor:
        """``Σ log |det ∂T/∂u|`` of positions ``[…, dim]``: log density here minus log density in the sites' space."""
        data = self._tensors(self.args)
        return self._map(lambda parts: {"": self._log_joint(parts, *data)[1].log_jacobian}, position)[""]

    def constrain(self, position: Tensor) -> dict[str, Tensor]:
        """Positions ``[…, dim]`` to site values ``{name: […, *shape]}``."""
        if all(site.transform for site in self.sites):
            parts = self._split(position)
            return {s.name: s.transform(parts[s.name]) for s in self.sites if s.transform}
        return self._map(lambda parts: self._log_joint(parts, *self._tensors(self.args))[1].reached, position)

    def unconstrain(self, values: Mapping[str, Tensor]) -> Tensor:
        """Site values ``{name: […, *shape]}`` to positions ``[…, dim]``."""
        first = self.sites[0]
        batch = values[first.name].shape[: values[first.name].dim() - len(first.shape)]
        values = {s.name: values[s.name].to(self.device, self.dtype) for s in self.sites}
        if all(site.transform for site in self.sites):
            flat = {s.name: s.transform.inv(values[s.name]) for s in self.sites if s.transform}
        else:
            rows = {k: v.reshape(-1, *v.shape[len(batch) :]) for k, v in values.items()}
            with self._scope():
                flat = vmap(lambda one: self._run(Constrained(one), self._tensors(self.args)).reached)(rows)
        return torch.cat([flat[s.name].reshape(*batch, s.size) for s in self.sites], -1)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """The tensors among the model's arguments."""
        return self._tensors(self.args)

    def graph(self, position: Tensor) -> fx.GraphModule:
        """The traced graph ``(position, *tensors) -> (value, gradient)`` for positions of this shape, not compiled."""
        key = position.shape[0]
        if key not in self._traced:
            self._traced[key] = self._build(position, self.tensors)
        return self._traced[key]

    # ------------------------------------------------------------------ inside

    def _one_by_one(self, position: Tensor, rows: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """A matrix of some chain is not positive definite there: NaN for that chain, which samplers reject."""
        if position.shape[0] == 1:
            return position.new_full((1,), torch.nan), torch.zeros_like(position)
        singles = [tuple(r[c : c + 1] for r in rows) if self.rows_per_chain else rows for c in range(position.shape[0])]
        self.evaluations -= position.shape[0]
        values, gradients = zip(*(self(position[c : c + 1], *single) for c, single in enumerate(singles)), strict=True)
        return torch.cat(values), torch.cat(gradients)

    def _scope(self, validate: bool = False) -> ExitStack:
        """Model runs happen in our dtype and device, and (but for the first) without Pyro's validation."""
        scopes = ExitStack()
        scopes.enter_context(factory(self.device, self.dtype))
        scopes.enter_context(pyro.validation_enabled(validate))
        return scopes

    @staticmethod
    def _tensors(args: tuple[Any, ...]) -> tuple[Tensor, ...]:
        return tuple(a for a in args if isinstance(a, Tensor))

    def _split(self, position: Tensor) -> dict[str, Tensor]:
        pieces = position.split([site.size for site in self.sites], -1)
        batch = position.shape[:-1]
        return {s.name: p.reshape((*batch, *s.flat_shape)) for s, p in zip(self.sites, pieces, strict=True)}

    def _run(self, messenger: Any, tensors: tuple[Tensor, ...]) -> Any:
        """Run the model under ``messenger`` with ``tensors`` for its tensor arguments; the trace is left on it."""
        fresh = iter(tensors)
        args = tuple(next(fresh) if isinstance(a, Tensor) else a for a in self.args)
        with messenger:
            messenger.trace = poutine.trace(self.model).get_trace(*args, **self.kwargs)
        return messenger

    def _log_joint(self, parts: Mapping[str, Tensor], *tensors: Tensor) -> tuple[Tensor, Unconstrained]:
        """Scalar log joint of one point, Jacobian included."""
        run = self._run(Unconstrained(parts), tensors)
        return run.trace.log_prob_sum() + run.log_jacobian, run

    def _map(self, f: Callable[[Mapping[str, Tensor]], dict[str, Tensor]], position: Tensor) -> dict[str, Tensor]:
        """``f`` of every position, vectorised in chunks so that memory stays bounded."""
        batch = position.shape[:-1]
        with self._scope(), torch.no_grad():
            out = vmap(f, chunk_size=64)(self._split(position.reshape(-1, self.dim)))
        return {k: v.reshape(batch + v.shape[1:]) for k, v in out.items()}

    def _build(self, position: Tensor, tensors: tuple[Tensor, ...]) -> fx.GraphModule:
        """Trace the batched value and gradient for this number of chains and these shapes of rows."""
        one = grad_and_value(lambda parts, *t: self._log_joint(parts, *t)[0])
        chains, names = position.shape[0], [s.name for s in self.sites]
        dims = (0, *((0 if self.rows_per_chain else None) for _ in tensors))
        mapped = vmap(one, in_dims=dims)

        def batched(position: Tensor, *tensors: Tensor) -> tuple[Tensor, Tensor]:
            parts = self._split(position)
            if chains == 1:  # no vmap: the graph of a plain forward and backward pass
                squeezed = [t[0] for t in tensors] if self.rows_per_chain else tensors
                grads, value = one({k: v[0] for k, v in parts.items()}, *squeezed)
                grads, value = {k: g[None] for k, g in grads.items()}, value[None]
            else:
                grads, value = mapped(parts, *tensors)
            return value, torch.cat([grads[name].reshape(chains, -1) for name in names], 1)

        with self._scope(), RowsLast():
            tensors = tuple(t.detach() for t in tensors)  # the same tensor given twice is two inputs
            check = partial(mapped, self._split(position), *tensors)
            return trace(batched, (position, *tensors), check=check)
