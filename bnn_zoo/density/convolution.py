"""Convolutions of a batch of chains, on a CPU: one after the other.

``vmap`` over the weights makes of the chains' convolutions one with a group for each chain. The CPU's kernels for grouped
convolution are slow where groups are few and thin: for LeNet-5 and five chains the loop over chains takes half of the time.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx

aten = torch.ops.aten


def chain_by_chain(graph: fx.GraphModule, seen: dict[fx.Node, Any], chains: int) -> None:
    """Replace convolutions over ``chains`` times as many groups as the model's by a loop over the chains."""
    loops = {aten.convolution.default: _convolution, aten.convolution_backward.default: _backward}
    for node in graph.graph.nodes:
        if node.target not in loops or chains < 2:
            continue
        transposed, _, groups = node.args[6:9] if node.target is aten.convolution.default else node.args[7:10]
        if groups % chains == 0 and not transposed and seen[node.args[0]].device.type == "cpu":
            node.target, node.args = loops[node.target], (chains, *node.args)


def _convolution(chains: int, x: Tensor, weight: Tensor, bias: Tensor | None, *geometry: Any) -> Tensor:
    """``aten.convolution`` of ``x [n, chains · in, …]`` and ``weight [chains · out, in / groups, …]``."""
    *how, groups = geometry
    biases = [None] * chains if bias is None else bias.chunk(chains)
    pieces = zip(x.chunk(chains, 1), weight.chunk(chains), biases, strict=True)
    return torch.cat([aten.convolution(a, w, b, *how, groups // chains) for a, w, b in pieces], 1)


def _backward(
    chains: int, gradient: Tensor, x: Tensor, weight: Tensor, bias_sizes: list[int] | None, *geometry: Any
) -> tuple[Tensor | None, ...]:
    """``aten.convolution_backward``: gradients by ``x``, ``weight`` and bias, those that its mask asks for."""
    *how, groups, mask = geometry
    sizes = None if bias_sizes is None else [bias_sizes[0] // chains]
    pieces = zip(gradient.chunk(chains, 1), x.chunk(chains, 1), weight.chunk(chains), strict=True)
    each = [aten.convolution_backward(g, a, w, sizes, *how, groups // chains, mask) for g, a, w in pieces]
    joined = zip(zip(*each, strict=True), mask, (1, 0, 0), strict=True)
    return tuple(torch.cat(parts, dim) if wanted else None for parts, wanted, dim in joined)
