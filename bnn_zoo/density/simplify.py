"""Taking out of a traced graph what is not arithmetic on its inputs.

Tracing a Pyro model leaves much that does not depend on the position: the scales of priors and their logarithms, zeros
from the Jacobians of identity maps, views that change nothing. On small networks these calls cost more than the network.
"""

from __future__ import annotations

import copy
import operator
from typing import Any

import torch
from torch import Tensor, fx

from .agreement import close
from .convolution import chain_by_chain
from .layout import rows_last
from .noise import same_noise
from .passes import once
from .sums import SUMS, VIEWS, constants_out

aten = torch.ops.aten
BY_STRIDES = {
    *SUMS,
    *VIEWS,
    aten.alias.default,
    aten.detach.default,
    aten.expand.default,
    aten.permute.default,
    aten.select.int,
    aten.slice.Tensor,
    aten.squeeze.dim,
    aten.t.default,
    aten.transpose.int,
    aten.unsqueeze.default,
}
"""Besides elementwise calls, those that read a tensor by its strides."""
LARGEST = 1_000_000
"""Constants of more elements than this are left to be computed."""


def simplify(graph: fx.GraphModule, inputs: tuple[Tensor, ...]) -> fx.GraphModule:
    """The same function with constants folded, no-op calls dropped and dead calls removed.

    The first input is the position, ``[chain, dim]`` where the function is batched over chains. The result is run once on
    ``inputs`` and compared with the graph that it came from, which is returned where they differ; random numbers in a graph
    are the same numbers in both runs.
    """
    before = fx.GraphModule(graph, copy.deepcopy(graph.graph))
    before.meta = graph.meta
    with same_noise(inputs[0].device):
        shapes = Values(graph)
        wanted = shapes.run(*inputs)
        _rewrite(graph, shapes.seen, chains=inputs[0].shape[0] if inputs[0].dim() == 2 else 1)
        try:
            got = _Mended(graph).run(*inputs)
        except RuntimeError:
            return before
    slack = 1e-9 if inputs[0].dtype == torch.float64 else 1e-3
    pairs = zip(got, wanted, strict=True) if isinstance(wanted, tuple | list) else [(got, wanted)]
    return graph if all(close(a, b, slack) for a, b in pairs) else before


def _rewrite(graph: fx.GraphModule, seen: dict[fx.Node, Any], chains: int) -> None:
    _fold(graph, seen)
    _drop(graph, seen)
    constants_out(graph, seen)
    rows_last(graph, seen)
    bury(graph)
    once(graph)
    chain_by_chain(graph, seen, chains)
    bury(graph)
    graph.delete_all_unused_submodules()
    graph.graph.lint()
    graph.recompile()


def bury(graph: fx.GraphModule) -> None:
    """Remove dead calls, and draws that nobody uses."""
    graph.graph.eliminate_dead_code(is_impure_node=lambda node: node.op in ("placeholder", "output"))


class _Mended(fx.Interpreter):
    """Runs the graph once, and turns a view whose argument now has other strides into a reshape."""

    def run(self, *inputs: Any) -> Any:
        out = super().run(*inputs)
        self.module.recompile()
        return out

    def run_node(self, n: fx.Node) -> Any:
        if n.target not in VIEWS:
            return super().run_node(n)
        try:
            return super().run_node(n)
        except RuntimeError:
            n.target = aten.reshape.default
            return super().run_node(n)


class Values(fx.Interpreter):
    """Runs the graph once and keeps every node's value."""

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph, garbage_collect_values=False)
        self.seen: dict[fx.Node, Any] = {}

    def run_node(self, n: fx.Node) -> Any:
        self.seen[n] = super().run_node(n)
        return self.seen[n]


def _fold(graph: fx.GraphModule, seen: dict[fx.Node, Any]) -> None:
    """Replace what depends on no input by its value."""
    constant: set[fx.Node] = set()
    for node in list(graph.graph.nodes):
        if node.op == "get_attr":
            constant.add(node)
        if node.op != "call_function" or not isinstance(seen[node], Tensor) or seen[node].numel() > LARGEST:
            continue
        if torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()):
            continue
        made = node.target in (aten.ones_like.default, aten.zeros_like.default, aten.full_like.default)
        if not made and (not all(n in constant for n in node.all_input_nodes) or node.target is operator.getitem):
            continue
        name = f"_folded_{node.name}"
        flat = all(_elementwise(user) for user in node.users)
        graph.register_buffer(name, _compact(seen[node].detach()) if flat else _dense(seen[node].detach()))
        with graph.graph.inserting_before(node):
            new = graph.graph.get_attr(name)
        node.replace_all_uses_with(new)
        seen[new] = getattr(graph, name)
        constant.add(new)
        graph.graph.erase_node(node)


def _elementwise(node: fx.Node) -> bool:
    """Whether a call reads its arguments by their strides, so that one number may stand for many in memory. Fused kernels,
    such as that of an LSTM, read past it."""
    return node.target in BY_STRIDES or torch.Tag.pointwise in getattr(node.target, "tags", ())


def _dense(constant: Tensor) -> Tensor:
    return constant.clone(memory_format=torch.contiguous_format) if 0 in constant.stride() else constant.clone()


def _compact(constant: Tensor) -> Tensor:
    """A copy; of one number in memory where all are the same, such as a prior's scale expanded to its weights."""
    if constant.numel() < 2 or not bool((constant == constant.reshape(-1)[0]).all()):
        return constant.clone()
    return constant.reshape(-1)[0].clone().expand(constant.shape)


def _drop(graph: fx.GraphModule, seen: dict[fx.Node, Any]) -> None:
    """Drop calls that return their argument, and additions of zero."""
    for node in list(graph.graph.nodes):
        if node.op != "call_function" or not isinstance(seen.get(node), Tensor):
            continue
        same = _same_as(node, seen)
        if same is not None:
            node.replace_all_uses_with(same)
            graph.graph.erase_node(node)


def _same_as(node: fx.Node, seen: dict[fx.Node, Any]) -> fx.Node | None:
    """The argument that ``node`` only repeats, if it does."""
    first = node.args[0] if node.args else None
    if not isinstance(first, fx.Node) or not isinstance(seen.get(first), Tensor):
        return None
    same_shape = seen[first].shape == seen[node].shape and seen[first].dtype == seen[node].dtype
    if node.target in (aten.view.default, aten.expand.default, aten._unsafe_view.default) and same_shape:
        return first
    if node.target in SUMS and seen[first].dim() == 0 and same_shape:
        return first
    if node.target is aten.mul.Scalar and node.args[1] == 1 and same_shape:
        return first
    if node.target is aten.pow.Tensor_Scalar and node.args[1] == 1.0 and same_shape:
        return first
    if node.target is aten.add.Tensor and not node.kwargs and isinstance(node.args[1], fx.Node):
        for kept, zero in (node.args, node.args[::-1]):
            fits = seen[kept].shape == seen[node].shape and seen[kept].dtype == seen[node].dtype
            if fits and zero.op == "get_attr" and not bool(seen[zero].any()):
                return kept
    if node.target is aten.sub.Tensor and not node.kwargs and isinstance(node.args[1], fx.Node):
        zero = node.args[1]
        if same_shape and zero.op == "get_attr" and not bool(seen[zero].any()):
            return first
    if node.target is aten.mul.Tensor and isinstance(node.args[1], fx.Node):
        for kept, one in (node.args, node.args[::-1]):
            fits = seen[kept].shape == seen[node].shape and seen[kept].dtype == seen[node].dtype
            if fits and one.op == "get_attr" and bool((seen[one] == 1).all()):
                return kept
    return None
