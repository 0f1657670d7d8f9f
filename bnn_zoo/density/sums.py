"""Taking constants out of sums and products of a traced graph.

The log density of a normal prior is traced as ``sum(−x² / 2σ² − log σ − ½ log 2π)``, five passes over all weights.
As ``−sum(x²) / 2σ² − n (log σ + ½ log 2π)`` it is two. Without a compiler, which fuses such passes, that is what a network's
prior costs. Values are the same up to rounding.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, fx

aten = torch.ops.aten
SUMS = (aten.sum.dim_IntList, aten.sum.default)
VIEWS = (aten.view.default, aten._unsafe_view.default, aten.reshape.default)
SHIFTS = (aten.add.Tensor, aten.sub.Tensor)
FACTORS = (aten.mul.Tensor, aten.mul.Scalar, aten.div.Tensor, aten.div.Scalar)


def constants_out(graph: fx.GraphModule, seen: dict[fx.Node, Any]) -> None:
    """Move factors and terms that are one number out of sums, and join two such factors of a product into one."""
    for node in list(graph.graph.nodes):
        if node.target in SUMS and not node.kwargs and seen[node].is_floating_point():
            while (outer := _hoist(graph, node, seen)) is not None:
                node = outer
        elif node.target is aten.mul.Tensor:
            _join(graph, node, seen)


def _number(x: Any, seen: dict[fx.Node, Any]) -> float | None:
    """The value of a constant that is one finite number, however often it is repeated."""
    if isinstance(x, fx.Node):
        value = seen.get(x)
        if x.op != "get_attr" or not isinstance(value, Tensor) or not value.is_floating_point():
            return None
        if value.numel() != 1 and any(value.stride()):
            return None
        x = value.reshape(-1)[0].item() if value.numel() else None
    return float(x) if isinstance(x, int | float) and math.isfinite(x) else None


def _split(node: fx.Node, seen: dict[fx.Node, Any]) -> tuple[fx.Node, int, float] | None:
    """The tensor of ``node = f(tensor, number)``, at which place it stands, and the number."""
    if node.kwargs or len(node.args) != 2:
        return None
    for place, (tensor, other) in enumerate((node.args, node.args[::-1])):
        number = _number(other, seen)
        like = isinstance(tensor, fx.Node) and isinstance(seen.get(tensor), Tensor)
        if number is not None and like and _number(tensor, seen) is None:
            same = seen[tensor].shape == seen[node].shape and seen[tensor].dtype == seen[node].dtype
            return (tensor, place, number) if same else None
    return None


def _hoist(graph: fx.GraphModule, node: fx.Node, seen: dict[fx.Node, Any]) -> fx.Node | None:
    """``sum(f(a))`` to ``f'(sum(a))``; the new sum, or None where there is nothing to move."""
    inner, views = node.args[0], []
    while inner.target in VIEWS and len(inner.users) == 1:
        views.append(inner)
        inner = inner.args[0]
    if inner.op != "call_function" or len(inner.users) != 1 or not seen[node].numel():
        return None
    split = _split(inner, seen)
    if inner.target is aten.neg.default:
        a, place, number = inner.args[0], 0, -1.0
    elif split and (
        inner.target in SHIFTS or (inner.target in FACTORS and (split[1] == 0 or inner.target is aten.mul.Tensor))
    ):
        a, place, number = split
    else:
        return None
    if not seen[a].is_floating_point() or (inner.target in FACTORS and number == 0.0):
        return None
    count = seen[inner].numel() / seen[node].numel()
    with graph.graph.inserting_before(node):
        source = a
        for view in reversed(views):
            source = graph.graph.call_function(aten.reshape.default, (source, view.args[1]))  # strides may be others
            seen[source] = seen[view]
        total = graph.graph.call_function(node.target, (source, *node.args[1:]))
        if inner.target is aten.neg.default:
            args: tuple[Any, ...] = (total,)
        else:
            scalar = number * count if inner.target in SHIFTS else number
            args = (total, scalar) if place == 0 else (scalar, total)
        new = _apply(graph, inner.target, args)
    seen[new] = seen[total] = seen[node]
    node.replace_all_uses_with(new)
    for dead in (node, *views, inner):  # or its argument would have two users
        graph.graph.erase_node(dead)
    return total


def _apply(graph: fx.GraphModule, target: Any, args: tuple[Any, ...]) -> fx.Node:
    if target is aten.sub.Tensor and not isinstance(args[0], fx.Node):  # number − tensor
        return graph.graph.call_function(aten.rsub.Scalar, args[::-1])
    return graph.graph.call_function(target, args if isinstance(args[0], fx.Node) else args[::-1])


def _join(graph: fx.GraphModule, node: fx.Node, seen: dict[fx.Node, Any]) -> None:
    """``c · (k · a)`` to ``(c k) · a``."""
    outer = _split(node, seen)
    inner = _split(outer[0], seen) if outer and outer[0].target in (aten.mul.Scalar, aten.mul.Tensor) else None
    if outer and inner and len(outer[0].users) == 1:
        with graph.graph.inserting_before(node):
            new = graph.graph.call_function(aten.mul.Tensor, (inner[0], inner[2] * outer[2]))
        seen[new] = seen[node]
        node.replace_all_uses_with(new)
