"""Whether ``compile=None`` compiles: an estimate that measures nothing, as draws depend on it."""

from __future__ import annotations

import torch
from torch import fx

from ..density import LogJoint

OPERATION = 5e-6
"""Seconds from one small operation of a traced graph to the next: 5.5 to 6 µs on an idle core."""
NUMBER = 2.5e-10
"""Seconds that an elementwise operation takes for each number that it writes, on one core."""
WAIT, LARGE = 40.0, 100_000_000
"""Seconds that operations take in all from which a run is compiled (compiling takes 5 to 25), and products of weights and
rows beyond which arithmetic takes the time, not the operations between."""


def pays(log_joint: LogJoint, chains: int, gradients: int, between: int = 0) -> bool:
    """Whether compiling saves a run of so many gradients of so many chains together more time than it takes; ``between`` are
    operations of the kernel for each gradient.

    A function of model, data and settings alone: compiled sums differ in their last bits, and chains that differ in a last
    bit are soon different chains.
    """
    work = log_joint.dim * max((row.seen for row in log_joint.rows), default=1) * chains
    if log_joint.device.type != "cpu" or work > LARGE:
        return False
    joined = operations(log_joint, chains)
    return joined > 0 and gradients * (joined + between) * OPERATION > WAIT


def operations(log_joint: LogJoint, chains: int) -> int:
    """Operations of the traced graph for so many chains that compiling could join: none of a network that convolves, and
    none where chains, or the model itself, are run one by one."""
    log_joint.build(chains)
    graph = log_joint.graph(torch.zeros(chains, log_joint.dim, dtype=log_joint.dtype, device=log_joint.device))
    if not isinstance(graph, fx.GraphModule):
        return 0
    return len(_calls(graph))


def saved(graph: fx.GraphModule) -> float:
    """Seconds of a call of a graph, about, that compiling would save: what is between its operations, and the passes over
    tensors that are elementwise. Its nodes know their shapes (``density.graph.Shapes``)."""
    passes = [n.meta["kind"][0].numel() for n in _calls(graph) if torch.Tag.pointwise in getattr(n.target, "tags", ())]
    return len(_calls(graph)) * OPERATION + sum(passes) * NUMBER


def saves(graph: fx.GraphModule, calls: int, device: torch.device) -> bool:
    """Whether compiling saves so many calls of this graph more time than it takes: asked of graphs that run alone."""
    return device.type == "cpu" and saved(graph) * calls > WAIT


def _calls(graph: fx.GraphModule) -> list[fx.Node]:
    """Operations that compiling could join: none of a network that convolves."""
    calls = [node for node in graph.graph.nodes if node.op == "call_function"]
    return [] if any("convolution" in str(node.target) for node in calls) else calls
