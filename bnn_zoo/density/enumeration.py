"""Discrete latent sites summed out of the log joint, as Pyro enumerates them.

    log p(y, z) = log Σ_k p(k) p(y, z | k)

over all values k of sites with finite support (the class of a mixture's row, the states of a ``pyro.markov`` chain), each
in its plate. The sum is exact: Pyro's contraction over plates (Obermeyer et al. 2019), with sums that can be batched.
"""

from __future__ import annotations

from collections import OrderedDict
from math import prod
from typing import Any

import torch
from pyro import poutine
from pyro.infer import config_enumerate
from pyro.ops.contract import contract_to_tensor
from pyro.ops.rings import LogRing
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from ..types import Model, ModelError


def enumerated(model: Model, nesting: int) -> Model:
    """``model`` with its discrete latent sites enumerated, to the left of ``nesting`` dimensions of plates."""
    return poutine.enum(config_enumerate(model, default="parallel"), first_available_dim=-1 - nesting)


def nesting(nodes: Any) -> int:
    """The dimensions that the plates of a trace take."""
    frames = [f for msg in nodes.values() for f in msg.get("cond_indep_stack", ()) if f.vectorized]
    return max((-f.dim for f in frames), default=0)


def marginal(trace: Any, nesting: int) -> Tensor:
    """Log density of a trace of an enumerated model, enumerated sites summed out. Raises ModelError under a scale."""
    for name, msg in trace.nodes.items():
        if msg["type"] == "sample" and not (isinstance(msg["scale"], float | int) and msg["scale"] == 1):
            raise ModelError(
                f"site {name!r} is scaled (a minibatch, or poutine.scale) in a model with discrete latent sites: the sum "
                "over their values cannot be scaled site by site; use all rows and no scale"
            )
    trace.compute_log_prob()
    trace.pack_tensors()
    symbols = trace.plate_to_symbol
    factors: OrderedDict[frozenset[str], list[Tensor]] = OrderedDict()
    for msg in trace.nodes.values():
        if msg["type"] == "sample" and not site_is_subsample(msg):
            plates = frozenset(symbols[f.name] for f in msg["cond_indep_stack"] if f.vectorized)
            factors.setdefault(plates, []).append(msg["packed"]["log_prob"])
    summed = set(trace.symbol_to_dim) - set(symbols.values())
    return contract_to_tensor(factors, summed, ring=_Sums())


class _Sums(LogRing):
    """Sums of products of log factors, dimension after dimension. Pyro's own pass through an ``autograd.Function`` that
    cannot be batched over chains."""

    def sumproduct(self, terms: list[Any], dims: set[str]) -> Any:
        """The log of the sum over ``dims`` of the product of ``terms``, whose dimensions are named in ``_pyro_dims``."""
        left = [(term._pyro_dims, term) for term in terms]
        sizes = {d: term.shape[i] for names, term in left for i, d in enumerate(names)}
        todo = {d for d in dims if d in sizes}
        while todo:
            reach = {d: sorted(set().union(*(names for names, _ in left if d in names))) for d in todo}
            d = min(sorted(todo), key=lambda d: prod(sizes[name] for name in reach[d]))  # leaves the smallest tensor
            names = "".join(reach[d])
            total = torch.stack(torch.broadcast_tensors(*(_along(names, own, t) for own, t in left if d in own))).sum(0)
            least = torch.finfo(total.dtype).min / 1e4  # −∞ of all values has no gradient
            total = torch.logsumexp(total.clamp(min=least), names.index(d))
            left = [(own, term) for own, term in left if d not in own] + [(names.replace(d, ""), total)]
            todo.remove(d)
        output = "".join(sorted(set().union(*(names for names, _ in left))))
        result: Any = sum(_along(output, names, term) for names, term in left)
        result._pyro_dims = output
        return result


def _along(names: str, own: str, term: Tensor) -> Tensor:
    """``term``, whose dimensions are ``own``, with the dimensions ``names`` in their order, of size 1 where it has none."""
    term = term.permute([own.index(d) for d in names if d in own])
    return term.reshape([term.shape["".join(d for d in names if d in own).index(d)] if d in own else 1 for d in names])
