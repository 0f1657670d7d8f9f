"""Fewer passes over large tensors in a traced graph.

Backward passes repeat what the forward pass has computed, and add up products that were written to memory first. Without a
compiler, which fuses them, each of these calls reads and writes all weights: a mean-field step makes some forty of them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx

from .sums import FACTORS, SUMS, VIEWS, _number

aten = torch.ops.aten
LARGE, WIDE = 4096, 64
"""Numbers in a tensor, and in its last axis, from which on a pass over it counts."""
PRODUCTS = (aten.mul.Tensor, aten.mul.Scalar)


def once(graph: fx.GraphModule) -> None:
    """Compute what is computed twice once: calls of one function with the same arguments, random ones aside."""
    known: dict[Any, fx.Node] = {}
    for node in list(graph.graph.nodes):
        tags = getattr(node.target, "tags", ())
        if node.op != "call_function" or torch.Tag.nondeterministic_seeded in tags or _writes(node.target):
            continue
        key = (node.target, _frozen(node.args), _frozen(node.kwargs))
        first = known.setdefault(key, node)
        if first is not node:
            node.replace_all_uses_with(first)
            graph.graph.erase_node(node)


def norms(graph: fx.GraphModule, seen: dict[fx.Node, Any]) -> None:
    """``Σ x²`` as the sum of its rows' squared norms, which writes nothing of its size, and ``Σ (x² + y²)`` as two sums."""
    for node in list(graph.graph.nodes):
        if node.target in SUMS and not node.kwargs and seen[node].is_floating_point():
            for part in _parts(graph, node, seen):
                _norm(graph, part, seen)


def _parts(graph: fx.GraphModule, node: fx.Node, seen: dict[fx.Node, Any]) -> list[fx.Node]:
    """The sum itself, or the two sums that a sum of two squares now is."""
    both = node.args[0]
    if not _once(both) or both.target is not aten.add.Tensor or both.kwargs or not _alike(both.args, both, seen):
        return [node]
    if seen[both].numel() < LARGE or not all(_square(x) for x in both.args):
        return [node]
    with graph.graph.inserting_before(node):
        parts = [graph.graph.call_function(node.target, (x, *node.args[1:])) for x in both.args]
        total = graph.graph.call_function(aten.add.Tensor, tuple(parts))
    seen[total] = seen[node]
    seen.update(zip(parts, (seen[node], seen[node]), strict=True))
    node.replace_all_uses_with(total)
    graph.graph.erase_node(node)
    graph.graph.erase_node(both)
    return parts


def _norm(graph: fx.GraphModule, node: fx.Node, seen: dict[fx.Node, Any]) -> None:
    source = square = node.args[0]
    while _once(square) and square.target in VIEWS:
        square = square.args[0]
    if not _once(square) or not _square(square):
        return
    x, own = square.args[0], seen[source]
    first, here = seen[x].shape[:1], seen[node].shape
    dims = {d % own.dim() for d in node.args[1]} if len(node.args) > 1 and node.args[1] else set(range(own.dim()))
    whole = len(dims) == own.dim()
    if not (whole or (dims == set(range(1, own.dim())) and own.shape[:1] == first)) or here not in (first, ()):
        return
    if seen[x].dim() < 2 or seen[x].numel() < LARGE or seen[x].shape[-1] < WIDE or seen[x].stride(-1) != 1:
        return
    rest = list(range(0 if whole else 1, seen[x].dim() - 1))
    with graph.graph.inserting_before(node):
        new = graph.graph.call_function(aten.linalg_vector_norm.default, (x, 2, [-1]))
        new = graph.graph.call_function(aten.pow.Tensor_Scalar, (new, 2))
        new = graph.graph.call_function(aten.sum.dim_IntList, (new, rest)) if rest else new
    seen[new] = seen[node]
    node.replace_all_uses_with(new)
    graph.graph.erase_node(node)


def _square(node: Any) -> bool:
    return isinstance(node, fx.Node) and node.target is aten.pow.Tensor_Scalar and node.args[1] == 2


def joined(graph: fx.GraphModule, seen: dict[fx.Node, Any]) -> None:
    """``x + c a`` and ``x + c a b`` as one call each, where the product is used nowhere else."""
    for node in list(graph.graph.nodes):
        if node.target in (aten.add.Tensor, aten.sub.Tensor) and not node.kwargs and _alike(node.args, node, seen):
            sign = -1.0 if node.target is aten.sub.Tensor else 1.0
            x, y = node.args
            if not _join(graph, node, x, y, sign, seen) and sign > 0:
                _join(graph, node, y, x, sign, seen)


def _join(graph: fx.GraphModule, node: fx.Node, x: Any, y: Any, sign: float, seen: dict[fx.Node, Any]) -> bool:
    """``node = x ± y`` as ``add(x, a, alpha=c)`` or ``addcmul(x, a, b, value=c)``; whether y is such a product."""
    with graph.graph.inserting_before(node):
        if scaled := _scaled(y, seen):
            a, c = scaled
            new = graph.graph.call_function(aten.add.Tensor, (x, a), {"alpha": sign * c})
        elif factors := _product(y, seen):
            a, b, c = factors
            new = graph.graph.call_function(aten.addcmul.default, (x, a, b), {"value": sign * c})
        else:
            return False
    seen[new] = seen[node]
    node.replace_all_uses_with(new)
    graph.graph.erase_node(node)
    for dead in (y, *y.all_input_nodes):  # or what they read would seem to have two users
        if not dead.users and dead.op == "call_function":
            graph.graph.erase_node(dead)
    return True


def _scaled(node: Any, seen: dict[fx.Node, Any]) -> tuple[fx.Node, float] | None:
    """``(a, c)`` where the node is ``c a`` with a number c, and its value is used once."""
    if not _once(node):
        return None
    if node.target is aten.neg.default:
        return node.args[0], -1.0
    if node.target not in FACTORS or node.kwargs:
        return None
    pairs = (node.args, node.args[::-1]) if node.target in PRODUCTS else (node.args,)
    for a, other in pairs:
        c = _number(other, seen)
        if c is not None and c != 0.0 and _alike((a,), node, seen):
            return a, c if node.target in PRODUCTS else 1.0 / c
    return None


def _product(node: Any, seen: dict[fx.Node, Any]) -> tuple[fx.Node, fx.Node, float] | None:
    """``(a, b, c)`` where the node is ``c a b``, and its value is used once."""
    if not _once(node) or node.target is not aten.mul.Tensor or node.kwargs:
        return None
    a, b = node.args
    if not all(isinstance(x, fx.Node) and seen[x].dtype == seen[node].dtype for x in (a, b)):
        return None
    for x, other in ((a, b), (b, a)):
        if scaled := _scaled(x, seen):
            return scaled[0], other, scaled[1]
    return a, b, 1.0


def _once(node: Any) -> bool:
    return isinstance(node, fx.Node) and node.op == "call_function" and len(node.users) == 1


def _alike(args: Any, node: fx.Node, seen: dict[fx.Node, Any]) -> bool:
    """Whether all of ``args`` are real tensors of the node's own shape and dtype."""
    own = seen.get(node)
    if not isinstance(own, Tensor) or not own.is_floating_point():
        return False
    tensors = [seen.get(x) if isinstance(x, fx.Node) else None for x in args]
    return all(isinstance(t, Tensor) and t.shape == own.shape and t.dtype == own.dtype for t in tensors)


def _writes(target: Any) -> bool:
    schema = getattr(target, "_schema", None)
    return schema is not None and schema.is_mutable


def _frozen(x: Any) -> Any:
    """Arguments as something that can be looked up: 1, 1.0 and True differ."""
    if isinstance(x, tuple | list):
        return tuple(map(_frozen, x))
    if isinstance(x, dict):
        return tuple((k, _frozen(v)) for k, v in sorted(x.items()))
    return x if isinstance(x, fx.Node) else (type(x), repr(x))
