"""The engine: a Pyro model as a batched function of flat unconstrained vectors, with its gradient.

The log joint of an unconstrained vector u with sites z = T(u) is

    log p(u, data) = Σ_sites scale · log p(site | earlier sites) + Σ_latent log |det ∂T/∂u|

as Pyro counts it: observed and latent sites, ``pyro.factor``, plate scaling, ``poutine.scale`` and masks included. It is
traced once, for each number of chains and shape of rows, through ``vmap(grad_and_value)`` with ``make_fx`` into a plain
graph of ATen calls, so that no Pyro handler runs inside a sampler's loop. What was traced is compared with the model itself
(``ways.py``).
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from math import prod
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.distributions.util import scale_and_mask
from torch import Tensor
from torch.func import grad, jacrev, vmap

from .._scope import factory, seeded
from .._torch import autograd_works
from ..native import suits
from ..types import DataError, Model
from .agreement import close
from .compiled import Compiled, Inlined, prepare
from .enumeration import enumerated, marginal
from .graph import quiet, value_and_gradient
from .in_place import in_place
from .messengers import Constrained, Subsampled, Unconstrained, Unvalidated
from .sites import look
from .ways import Target, Way, choose, of_chain

PATIENCE = 3000
"""Calls of the log joint before its graph is compiled: starting points and guesses of a step size do not need that."""

WIDE = 100_000
"""Products of weights and rows from which a graph is ``torch.compile``'s, as a rule."""
LOOPED, SIMPLE = 2_500_000, 2_000
"""Products of weights and rows, and operations of the graph, up to which steps of one chain after the other become C: longer
ones take seconds to trace once more, for one chain, and calls are no great part of their time."""
UNROLL, CHEAP = 4, 10_000_000
"""Steps in one graph, where rows × dimensions × chains are few: a call costs a quarter of a millisecond, whatever is in it,
and that is what the gradient of a network takes at a million."""


class LogJoint:
    """Log joint of ``model(*args, **kwargs)`` as a function of positions ``[chain, dim]``.

    Calling it gives the log joint ``[chain]`` and its gradient ``[chain, dim]``. Tensor arguments of the model are inputs
    of the graph: ``log_joint(position, *rows)`` evaluates it on other rows of the same shape (a minibatch); with
    ``rows_per_chain=True`` those have a leading chain dimension. ``compile=True`` passes the graph to ``torch.compile``.

    Attributes: ``sites`` (list of ``Site``), ``dim``, ``rows`` (the plates of the data), ``dtype``, ``device`` and
    ``evaluations``, the number of gradients of single chains so far; ``subsampled``, the plates that draw rows of their own
    (``subsample_size=``), with the rows that the first run drew: the log joint is that of these rows, scaled; ``discrete``,
    names of the discrete latent sites, which are summed out (``enumeration.py``).

    Positions of another dtype are taken in the log joint's own. Raises ModelError (discrete latents that cannot be listed,
    control flow on values, BatchNorm, randomness besides the sites) and DataError (observed values outside their support,
    NaN, wrong shapes) when built.
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
        self.rows_per_chain, self.compile, self.asked = rows_per_chain, compile, True
        self.evaluations = 0
        autograd_works()
        with self._scope(validate=True), seeded(0, self.device):
            seen = look(self.model, self.args, self.kwargs)
        self.sites, self.rows, self.subsampled = seen.sites, seen.rows, seen.subsampled
        self.discrete, self._nesting = seen.discrete, seen.nesting
        self._inferred = enumerated(model, seen.nesting) if seen.discrete else model
        self.dim = sum(site.size for site in self.sites)
        self._own = self._tensors(self.args)
        self._graphs: dict[Any, Any] = {}
        self._traced: dict[int, Way] = {}
        self._inlined: dict[Callable[..., Any], Inlined] = {}
        self._patience = PATIENCE

    def __call__(self, position: Tensor, *rows: Tensor) -> tuple[Tensor, Tensor]:
        if (
            not isinstance(position, Tensor)
            or position.dtype != self.dtype
            or position.device != self.device
            or position.dim() != 2
        ):
            return self._converted(position, *rows)
        tensors = rows or self._tensors(self.args)
        key = (position.shape[0], *((t.shape, t.dtype, t.device) for t in rows))
        self.evaluations += position.shape[0]
        try:
            if key not in self._graphs:
                self._check(position, rows)
                graph = self.graph(position) if not rows else self._build(position, tensors)
                self._graphs[key] = self._made(graph, (position, *tensors))
            return self._graphs[key](position, *tensors)
        except torch.linalg.LinAlgError:
            return self._one_by_one(position, rows)

    @property
    def calls(self) -> int:
        """Calls of single gradients since ``anew``, as far as they count: after so many they are compiled."""
        waiting = [g.patience for g in self._graphs.values() if isinstance(g, Compiled)]
        return PATIENCE - max(min(waiting, default=self._patience), -1)

    def anew(self, calls: int = 0) -> None:
        """A run begins, or goes on after so many ``calls``: what is compiled in it does not depend on what came before."""
        self._patience = PATIENCE - calls
        for graph in self._graphs.values():
            if isinstance(graph, Compiled):
                graph.patience = self._patience

    def compile_quietly(self) -> None:
        """As with ``compile=True``, but nobody asked for it: where no compiler works, nothing is said."""
        self.compile, self.asked = True, False
        self._graphs.clear()

    def look_ahead(self) -> None:
        """Where the graph of a step will be too large to become C, let torch's compiler get ready while it is traced."""
        rows = max((row.seen for row in self.rows), default=1)
        if self.device.type == "cpu" and rows * self.dim > WIDE:
            prepare()

    @property
    def compiled(self) -> bool:
        """Whether calls go through compiled code: asked for, worth the wait so far, and agreeing with the graph."""
        inlined = [made[0] for step in self._inlined.values() for made in step.graphs.values() if made]
        looped = any(step.looped for step in self._inlined.values())
        graphs = (*self._graphs.values(), *inlined)
        return looped or any(isinstance(g, Compiled) and g.call is not g.graph for g in graphs)

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

    def loops(self, chains: int) -> bool:
        """Whether many steps of a sampler should be one call of C, chain after chain: where the gradient of one chain is a
        small graph. Found out once."""
        rows = max((row.seen for row in self.rows), default=1)
        one, all_of_them = (torch.zeros(n, self.dim, dtype=self.dtype, device=self.device) for n in (1, chains))
        whole = self.graph(all_of_them) if self.device.type == "cpu" and rows * self.dim <= LOOPED else None
        if not isinstance(whole, torch.fx.GraphModule) or len(whole.graph.nodes) > SIMPLE:
            return False
        graph = self.graph(one)
        if not isinstance(graph, torch.fx.GraphModule):
            return False
        if "loops in C" not in graph.meta:
            graph.meta["loops in C"] = suits(graph, (one, *self.tensors), alone=True)
        found: bool = graph.meta["loops in C"]
        return found

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
            rows, count = {k: v.reshape(-1, *v.shape[len(batch) :]) for k, v in values.items()}, prod(batch)
            with self._scope():
                each = [self._run(Constrained({k: v[i] for k, v in rows.items()}), self._own).reached for i in range(count)]
                flat = {s.name: torch.stack([one[s.name] for one in each]) for s in self.sites}
        return torch.cat([flat[s.name].reshape(*batch, s.size) for s in self.sites], -1)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """The tensors among the model's arguments."""
        return self._tensors(self.args)

    def graph(self, position: Tensor) -> Way:
        """``(position, *tensors) -> (value, gradient)`` for positions of this shape, not compiled: the traced graph, or,
        where tracing fails or gives other values than the model, a function that runs chain after chain."""
        key = position.shape[0]
        if key not in self._traced:
            self._traced[key] = self._build(position, self._own)
        return self._traced[key]

    # ------------------------------------------------------------------ inside

    def plain(self, position: Tensor, *tensors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The model itself by autograd, one chain after the other: no tracing, no batching, no rewriting.

        Value ``[chain]``, gradient ``[chain, dim]`` and the sum of the sizes of the log joint's terms ``[chain]``. A chain
        with a matrix that is not positive definite has NaN.
        """
        with self._scope():
            each = [self._plainly(u, of_chain(tensors, c, self.rows_per_chain)) for c, u in enumerate(position)]
        value, gradient, size = (torch.stack(parts) for parts in zip(*each, strict=True))
        return value, gradient, size

    def build(self, chains: int) -> None:
        """Build what positions of so many chains need: before forking, as autograd does not work in every fork."""
        at = torch.arange(chains * self.dim, dtype=self.dtype, device=self.device).reshape(chains, self.dim)
        before = self.evaluations
        self(0.3 * torch.sin(1.0 + at))
        self.evaluations = before

    def _by_graph(self, position: Tensor, *tensors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As ``plain``, by a graph for another number of chains that was compared with the model: for forks."""
        chains, way = next(iter(self._traced.items()))
        padded = torch.cat([position, position[:1].expand(-len(position) % chains, -1)])
        value, gradient = (torch.cat(parts) for parts in zip(*(way(u, *tensors) for u in padded.split(chains)), strict=True))
        return value[: len(position)], gradient[: len(position)], value[: len(position)].abs()

    def _plainly(self, position: Tensor, tensors: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, Tensor]:
        seen: list[Any] = []

        def value_at(u: Tensor) -> Tensor:
            value, run = self._log_joint(self._split(u), *tensors)
            seen[:] = [msg for msg in run.trace.nodes.values() if msg["type"] == "sample"]
            return value

        try:
            value, gradient = value_and_gradient(value_at, position)
        except torch.linalg.LinAlgError:
            return position.new_full((), torch.nan), torch.zeros_like(position), position.new_zeros(())
        with torch.no_grad():
            terms = [scale_and_mask(msg["fn"].log_prob(msg["value"]), msg["scale"], msg["mask"]) for msg in seen]
            size = sum((torch.as_tensor(t).detach().abs().sum() for t in terms), position.new_zeros(()))
        return value, gradient, size

    def _converted(self, position: Tensor, *rows: Tensor) -> tuple[Tensor, Tensor]:
        """At a position of another dtype or device, whose own the results get."""
        self._check(position, rows)
        value, gradient = self(position.to(self.device, self.dtype), *rows)
        return value.to(position), gradient.to(position)

    def _check(self, position: Any, rows: tuple[Tensor, ...]) -> None:
        """Raise ValueError for what is no position, DataError for rows that are not as the model's own."""
        if not isinstance(position, Tensor) or position.dim() != 2 or position.shape[1] != self.dim:
            got = tuple(position.shape) if isinstance(position, Tensor) else type(position).__name__
            raise ValueError(f"a position must be a tensor [chain, dim] with dim = {self.dim}, got {got}")
        if not position.is_floating_point():
            raise ValueError(f"a position must be real, in {self.dtype}, got {position.dtype}: write position.float()")
        own = self._tensors(self.args)
        kinds = [(t.dtype, t.device) for t in own]
        if rows and [(t.dtype, t.device) for t in rows] != kinds:
            raise DataError(
                f"rows must be tensors as the model's own, {[str(k[0]) for k in kinds]} on {self.device}, got "
                f"{[str(t.dtype) for t in rows]} on {sorted({str(t.device) for t in rows})}"
            )

    def _made(self, graph: Any, inputs: tuple[Tensor, ...]) -> Any:
        """What is called for this graph: compiled, or with as few new tensors as it can do with."""
        if not isinstance(graph, torch.fx.GraphModule):
            return graph
        return Compiled(graph, self._patience, self.asked) if self.compile else in_place(graph, inputs)

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
        with messenger, Subsampled(self.subsampled), Unvalidated():
            messenger.trace = poutine.trace(self._inferred).get_trace(*args, **self.kwargs)
        return messenger

    def _log_joint(self, parts: Mapping[str, Tensor], *tensors: Tensor) -> tuple[Tensor, Unconstrained]:
        """Scalar log joint of one point, Jacobian included."""
        run = self._run(Unconstrained(parts), tensors)
        value = marginal(run.trace, self._nesting) if self.discrete else run.trace.log_prob_sum()
        return value + run.log_jacobian, run

    def _map(self, f: Callable[[Mapping[str, Tensor]], dict[str, Tensor]], position: Tensor) -> dict[str, Tensor]:
        """``f`` of every position: vectorised in chunks so that memory stays bounded, or, where torch has no rule or a wrong
        one for an op of the model, one after the other."""
        batch, flat = position.shape[:-1], position.to(self.device, self.dtype).reshape(-1, self.dim)
        with self._scope(), torch.no_grad(), quiet():
            first = f({k: v[0] for k, v in self._split(flat[:1]).items()})
            try:
                out = vmap(f, chunk_size=64)(self._split(flat))
            except (RuntimeError, NotImplementedError):
                out = {}
            slack = 1e-9 if self.dtype == torch.float64 else 1e-4
            if not out or not all(close(out[k][0], v, slack) for k, v in first.items()):
                parts = [self._split(u[None]) for u in flat]
                each = [f({k: v[0] for k, v in part.items()}) for part in parts]
                out = {k: torch.stack([one[k] for one in each]) for k in first}
        return {k: v.reshape(batch + v.shape[1:]) for k, v in out.items()}

    def _build(self, position: Tensor, tensors: tuple[Tensor, ...]) -> Way:
        """The fastest right way to value and gradient for this number of chains and these shapes of rows."""
        again = multiprocessing.parent_process() is not None and bool(self._traced) and not self.rows_per_chain
        target = Target(
            lambda u, *t: self._log_joint(self._split(u), *t)[0],
            self._by_graph if again else self.plain,
            self.rows_per_chain,
            checked=again,
            fixed=tensors is self._own,
        )
        with self._scope(), seeded(0, self.device):
            return choose(target, position, tuple(t.detach() for t in tensors))  # the same tensor twice is two inputs
