"""The ways to compute a batched log joint, from the fastest to the surest, and the choice of the first that is right.

1. value and gradient of all chains traced through ``vmap`` and rewritten (``simplify``);
2. one chain traced, and that graph batched: for models that write into tensors in place, which ``vmap`` cannot batch;
3. as 1, neither rewritten nor laid out anew;
4. one chain traced, its graph run chain after chain;
5. the model itself, run by autograd chain after chain.

Each is compared with 5, at the positions of ``agreement.points``, when it is built. torch's rules for batching an op are
many, some of them are wrong, and fused kernels read memory past them: what is compared cannot be wrong without a word.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, fx
from torch.func import grad_and_value, vmap

from .._interrupt import safe_point
from .._torch import autograd_works
from ..types import ModelError
from .agreement import Values, disagreement, points
from .graph import (
    Shapes,
    Untraceable,
    batchable,
    brief,
    control_flow,
    quiet,
    random_numbers,
    refuse_random,
    trace,
)
from .layout import RowsLast
from .simplify import simplify

CHEAP = 10_000_000
"""Rows × dimensions × chains below which three positions are compared; above, the first alone, the start of the chains."""

Way = Callable[..., Values]


@dataclass(frozen=True)
class Target:
    """A log joint to be built: ``value(position [dim], *tensors)`` is a scalar, ``plain`` gives it by autograd."""

    value: Callable[..., Tensor]
    plain: Callable[..., Values]
    rows_per_chain: bool
    checked: bool  # ``plain`` needs no autograd: it is a graph that was compared before
    fixed: bool  # the tensors are the same in every call, so that numbers read from them stay true


class ChainByChain:
    """A graph of one chain, called for one chain after the other."""

    def __init__(self, graph: fx.GraphModule, rows_per_chain: bool) -> None:
        self.graph, self.rows_per_chain = graph, rows_per_chain

    def __call__(self, position: Tensor, *tensors: Tensor) -> Values:
        each = [self.graph(u, *of_chain(tensors, c, self.rows_per_chain)) for c, u in enumerate(position)]
        return torch.stack([value for value, _ in each]), torch.stack([gradient for _, gradient in each])


def of_chain(tensors: tuple[Tensor, ...], chain: int, rows_per_chain: bool) -> tuple[Tensor, ...]:
    return tuple(t[chain] for t in tensors) if rows_per_chain else tensors


def choose(target: Target, position: Tensor, tensors: tuple[Tensor, ...]) -> Way:
    """The first way that agrees with the model itself; a warning where that costs time. Raises ModelError."""
    reasons: list[str] = []
    comparing = target.checked or autograd_works()
    if not comparing:
        warnings.warn(
            "autograd does not work in this process, a fork of one that had used it: the traced log joint is not compared "
            "with the model itself; fit before forking, or start processes by spawn",
            stacklevel=5,
        )
    for make, slow in _ways(target, position, tensors):
        safe_point()
        try:
            way = make()
            why = _compare(target, way, position, tensors) if comparing else None
        except Untraceable as error:
            why = str(error)
        if why is None:
            if slow:
                warnings.warn(f"{reasons[0]}: {slow}, which is slower, and right", stacklevel=5)
            return way
        reasons.append(why)
    raise ModelError(f"the model's log joint changes from call to call: {reasons[-1]}")


def _ways(target: Target, position: Tensor, tensors: tuple[Tensor, ...]) -> Iterator[tuple[Callable[[], Way], str]]:
    """How to make each way, and what to say of it where it is slow."""
    inputs = (position, *tensors)
    yield partial(_batched, target, inputs, True), ""
    yield partial(_through_one, target, inputs), ""
    yield partial(_batched, target, inputs, False), "its graph is used as it was traced"
    yield partial(_looped, target, inputs), "chains are evaluated one after the other"
    yield partial(_itself, target), "the model itself is run for one chain after the other"


def _single(target: Target) -> Callable[..., Values]:
    """``(position [dim], *tensors) -> (value, gradient [dim])``."""

    def single(position: Tensor, *tensors: Tensor) -> Values:
        gradient, value = grad_and_value(target.value)(position, *tensors)
        return value, gradient

    return single


def _dims(target: Target, inputs: tuple[Tensor, ...]) -> tuple[int | None, ...]:
    return (0, *((0 if target.rows_per_chain else None) for _ in inputs[1:]))


def _batched(target: Target, inputs: tuple[Tensor, ...], rewritten: bool) -> fx.GraphModule:
    single, chains = _single(target), len(inputs[0])

    def alone(position: Tensor, *tensors: Tensor) -> Values:  # no vmap: the graph of a plain forward and backward pass
        value, gradient = single(position[0], *of_chain(tensors, 0, target.rows_per_chain))
        return value[None], gradient[None]

    f = alone if chains == 1 else vmap(single, in_dims=_dims(target, inputs), randomness="same")
    if not rewritten:
        return _accept(target, _traced(target, f, inputs), inputs)
    with RowsLast():
        graph = _traced(target, f, inputs)
    return _accept(target, simplify(graph, inputs), inputs)


def _traced(target: Target, f: Callable[..., Values], inputs: tuple[Tensor, ...]) -> fx.GraphModule:
    """The graph of ``f``. Where it cannot be traced, the graph of one chain tells whether that is for control flow on sites,
    which raises ModelError, or for something that another way can do."""
    try:
        return trace(f, inputs)
    except Untraceable:
        _accept(target, _alone(target, inputs), _first(target, inputs))
        raise


def _first(target: Target, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The inputs of the first chain."""
    return (inputs[0][0], *of_chain(inputs[1:], 0, target.rows_per_chain))


def _accept(target: Target, graph: fx.GraphModule, inputs: tuple[Tensor, ...]) -> fx.GraphModule:
    """The graph, if what it holds constant is: raises ModelError for control flow on sites and for random numbers."""
    reads = graph.meta["reads"]
    if -1 in reads:
        raise ModelError(random_numbers("the model"))
    if 0 in reads:
        raise ModelError(control_flow(reads[0]))
    if reads and not target.fixed:
        raise Untraceable("the model reads numbers from its rows, which change from call to call")
    refuse_random(graph, inputs)
    return graph


def _alone(target: Target, inputs: tuple[Tensor, ...]) -> fx.GraphModule:
    """The graph of one chain."""
    first = _first(target, inputs)
    graph = trace(_single(target), first)
    Shapes(graph).run(*first)
    return graph


def _through_one(target: Target, inputs: tuple[Tensor, ...]) -> fx.GraphModule:
    """The value of one chain traced first: in its graph nothing is written in place, and gradients have no views to undo."""
    first = _first(target, inputs)
    one = trace(lambda *flat: (target.value(*flat),), first)
    Shapes(one).run(*first)
    value = batchable(one)
    functional = replace(target, value=lambda *flat: value(*flat)[0])
    graph = trace(vmap(_single(functional), in_dims=_dims(target, inputs), randomness="same"), inputs)
    graph.meta["reads"] |= one.meta["reads"]
    return _accept(target, simplify(graph, inputs), inputs)


def _looped(target: Target, inputs: tuple[Tensor, ...]) -> ChainByChain:
    first = _first(target, inputs)
    graph = _accept(target, _alone(target, inputs), first)
    return ChainByChain(graph, target.rows_per_chain)


def _itself(target: Target) -> Way:
    return lambda position, *tensors: target.plain(position, *tensors)[:2]


def _compare(target: Target, way: Way, position: Tensor, tensors: tuple[Tensor, ...]) -> str | None:
    """How ``way`` differs from the model itself, or None."""
    rows = max((len(t) for t in tensors if t.dim()), default=1)
    several = rows * position.numel() <= CHEAP
    plain = partial(_plainly, target.plain, tensors)
    try:
        with quiet():
            for at in points(position, several):
                if why := disagreement(lambda u: way(u, *tensors), plain, at):
                    return f"traced for all chains at once {why}"
    except RuntimeError as error:
        _need_gradient(plain, position)
        return f"what was traced does not run ({brief(str(error))})"
    return None


def _need_gradient(plain: Callable[[Tensor], Values], position: Tensor) -> None:
    """Raise ModelError where torch cannot differentiate the model itself."""
    try:
        plain(position)
    except RuntimeError as error:
        raise ModelError(
            f"torch cannot differentiate the model's log joint: {brief(str(error))}. A tensor that is read must not be "
            "written into afterwards: keep the values in a list, and torch.stack them"
        ) from error


def _plainly(plain: Callable[..., Values], tensors: tuple[Tensor, ...], position: Tensor) -> Values:
    return plain(position, *tensors)
