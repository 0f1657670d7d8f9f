"""Tracing a function of tensors into a plain ATen graph, and saying in words why that cannot be done."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx
from torch.func import functionalize

from .._interrupt import gently
from .._scope import seeded
from .._torch import Reads, make_fx
from ..types import ModelError
from .messengers import Progress

BatchedFn = Callable[..., tuple[Tensor, ...]]
aten = torch.ops.aten
SLICE: tuple[Any, ...] = (0, 0, None, 1)
"""What ``slice_scatter`` takes for its dimension, start, end and step where they are left out."""


class Untraceable(Exception):
    """A function could not be traced this way; another way may do. The message says why, and names the last site."""


@gently()
def trace(f: BatchedFn, inputs: tuple[Tensor, ...]) -> fx.GraphModule:
    """``f`` as a graph for inputs of these shapes; ``graph.meta["reads"]`` are the inputs that numbers were read from, −1
    for random numbers, each with the site after which it was read first.

    A number that the function reads (``int(group.max())``) is a constant of the graph. Raises Untraceable.
    """
    progress = Progress()
    reads = Reads(lambda: progress.last)

    def reading(*flat: Tensor) -> tuple[Tensor, ...]:
        with reads:
            return f(*flat)

    with progress, quiet():
        try:
            graph = make_fx(functionalize(reading))(*inputs)  # no writing in place, so constants stay constant
        except torch.linalg.LinAlgError:  # of this point, not of the model
            raise
        except (RuntimeError, NotImplementedError) as error:
            what = f"at or after {progress.last} torch cannot trace and batch the model over chains"
            raise Untraceable(f"{what} ({brief(str(error))})") from error
    for name, constant in [*graph.named_parameters(recurse=False), *graph.named_buffers(recurse=False)]:
        delattr(graph, name)  # a parameter of somebody's module: no gradient of it is asked for
        graph.register_buffer(name, constant.detach())
    placeholders = [node for node in graph.graph.nodes if node.op == "placeholder"]
    graph.meta["reads"] = {}
    for read, where in reads.nodes:
        for source in _sources(read):
            graph.meta["reads"].setdefault(placeholders.index(source) if source in placeholders else -1, where)
    return graph


@contextmanager
def quiet() -> Iterator[None]:
    """Without torch's own remarks on how it batches an op: what comes of it is compared with the model itself."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "There is a performance drop", UserWarning)
        yield


def _sources(node: fx.Node) -> set[fx.Node]:
    """The placeholders and random calls that a node depends on."""
    seen: set[fx.Node] = set()
    todo, found = [node], set()
    while todo:
        here = todo.pop()
        if here in seen:
            continue
        seen.add(here)
        if here.op == "placeholder" or _is_random(here):
            found.add(here)
        todo += here.all_input_nodes
    return found


def _is_random(node: fx.Node) -> bool:
    return torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ())


def refuse_random(graph: fx.GraphModule, inputs: tuple[Tensor, ...]) -> None:
    """Raise ModelError where a value of the graph depends on random numbers.

    An op that may draw some, such as attention with dropout, does not where its probability is 0: two seeds tell.
    """
    if not any(_is_random(node) for node in graph.graph.nodes):
        return
    outputs = []
    for seed in (1, 2):
        with seeded(seed, inputs[0].device):
            outputs.append(graph(*inputs))
    if not all(torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in zip(*outputs, strict=True)):
        raise ModelError(random_numbers("the model"))


def random_numbers(where: str) -> str:
    return (
        f"{where} draws random numbers outside pyro.sample (dropout in training mode?): the log joint would change from "
        "call to call; call net.eval(), or make the noise a site"
    )


def control_flow(last: str) -> str:
    return (
        f"after {last} the model's control flow depends on the value of a site (an if, a loop, .item() or float(); or a law "
        "with validate_args=True): write the choice as torch.where, or sum over the branches"
    )


def brief(error: str) -> str:
    """The first sentence of a message of torch's."""
    return error.split("Trace Shapes")[0].strip().split("\n")[0].split(". ")[0][:200]


def batchable(graph: fx.GraphModule) -> fx.GraphModule:
    """A functional graph of one chain in the form in which torch can batch it, in place.

    Writing in place leaves ``copy`` nodes, which only repeat their second argument, and slices that end at the largest
    integer or count from the end, on which torch's rule for ``slice_scatter`` stumbles. Memory formats such as channels last
    exist for tensors of four axes only, and change no value. One number written where a mask says, ``x[x < 0] = 0``, is a
    choice between the two, which can be batched where the mask depends on the chain.
    """
    for node in list(graph.graph.nodes):
        if node.target is aten.copy.default and _alike(*node.args[:2]):
            node.replace_all_uses_with(node.args[1])
        elif node.target is aten.slice_scatter.default:
            base, source = node.args[:2]
            where = list(node.args[2:])
            dim, start, end, step = where + list(SLICE[len(where) :])
            size = base.meta["kind"][0][dim]
            node.args = (base, source, dim, *slice(start, end, step).indices(size))
        elif node.target is aten.index_put.default and _one_number_where(*node.args[1:]):
            _choice(graph, node)
        elif node.target in (aten.view.default, aten._unsafe_view.default):
            node.target = aten.reshape.default  # its argument may have other strides now
        if node.kwargs.get("memory_format") in (torch.channels_last, torch.channels_last_3d):
            node.kwargs = node.kwargs | {"memory_format": torch.contiguous_format}
    graph.graph.eliminate_dead_code(is_impure_node=lambda node: node.op in ("placeholder", "output"))
    graph.recompile()
    return graph


def _alike(a: Any, b: Any) -> bool:
    return isinstance(a, fx.Node) and isinstance(b, fx.Node) and a.meta["kind"] == b.meta["kind"]


def _one_number_where(indices: Any, value: Any, accumulate: bool = False) -> bool:
    mask = indices[0]
    alone = len(indices) == 1 and not accumulate and isinstance(mask, fx.Node) and mask.meta["kind"][1] == torch.bool
    return alone and isinstance(value, fx.Node) and value.meta["kind"][0] == ()


def _choice(graph: fx.GraphModule, node: fx.Node) -> None:
    """``x[mask] = number`` as ``where(mask, number, x)``; the mask covers the first axes of x."""
    base, (mask,), value = node.args[:3]
    shape = mask.meta["kind"][0] + (1,) * (len(base.meta["kind"][0]) - len(mask.meta["kind"][0]))
    with graph.graph.inserting_before(node):
        wide = graph.graph.call_function(aten.reshape.default, (mask, list(shape)))
        new = graph.graph.call_function(aten.where.self, (wide, value, base))
    wide.meta["kind"], new.meta["kind"] = (torch.Size(shape), torch.bool), node.meta["kind"]
    node.replace_all_uses_with(new)


def value_and_gradient(f: Callable[[Tensor], Tensor], at: Tensor) -> tuple[Tensor, Tensor]:
    """``f(at)`` and its gradient by autograd, with no tracing and no batching."""
    u = at.detach().clone().requires_grad_()
    with torch.enable_grad():
        value = f(u)
        slope = torch.autograd.grad(value, u, allow_unused=True)[0] if value.requires_grad else None
    return value.detach(), torch.zeros_like(u).detach() if slope is None else slope


class Shapes(fx.Interpreter):
    """Runs a graph once and notes each tensor's shape and dtype on its node, as ``meta["kind"]``."""

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if isinstance(value, Tensor):
            n.meta["kind"] = (value.shape, value.dtype)
        else:
            n.meta["kind"] = object()
        return value
