"""Whether ``compile=None`` compiles: an estimate that measures nothing, as draws depend on it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx

from ..density import LogJoint
from ..native import suits

OPERATION = 5e-6
"""Seconds from one small operation of a traced graph to the next: 5.5 to 6 µs on an idle core."""
NUMBER = 2.5e-10
"""Seconds that an elementwise operation takes for each number that it writes, on one core."""
WAIT, WAIT_SMALL, LARGE = 40.0, 2.0, 100_000_000
"""Seconds that operations take in all from which a run is compiled (``torch.compile`` takes 5 to 25, C for a small graph
about one), and products of weights and rows beyond which arithmetic takes the time, not the operations between."""
PER_SECOND, MOST = 2_000, 4_000
"""Operations that the C compiler does in a second, and beyond which ``torch.compile`` takes many minutes: a loop in Python
of many steps is a long graph."""
TINY_STEP, TINY_TRAJECTORY = 200_000, 20_000
"""Products of weights, rows and chains up to which a compiled step takes at most some 100 µs, as the calls around it do; and
up to which a whole trajectory does so, where that is one call."""


def pays(log_joint: LogJoint, chains: int, gradients: int, between: int = 0, chainwise: bool = False) -> bool:
    """Whether compiling saves a run of so many gradients of so many chains together more time than it takes; ``between`` are
    operations of the kernel for each gradient; ``chainwise``: steps of one chain
    after the other are C where the gradient of one is small.

    A function of model, data and settings alone: compiled sums differ in their last bits, and chains that differ in a last
    bit are soon different chains.
    """
    work = log_joint.dim * max((row.seen for row in log_joint.rows), default=1) * chains
    if log_joint.device.type != "cpu" or work > LARGE:
        return False
    joined = operations(log_joint, chains)
    seconds = gradients * (joined + between) * OPERATION
    if joined == 0 or seconds <= WAIT_SMALL + joined / PER_SECOND:
        return False
    return (seconds > WAIT and joined <= MOST) or becomes_c(log_joint, chains) or (chainwise and log_joint.loops(chains))


def tiny(log_joint: LogJoint, chains: int, chainwise: int = 0) -> bool:
    """Whether a compiled call takes less time than what is between calls: then all chains stay in one process. A call is a
    step of all chains, or, up to ``chainwise`` products of weights, rows and chains, steps of one chain after the other."""
    work = log_joint.dim * max((row.seen for row in log_joint.rows), default=1) * chains
    small = log_joint.device.type == "cpu" and work <= (chainwise or TINY_STEP)
    return small and (log_joint.loops(chains) if chainwise else becomes_c(log_joint, chains))


def operations(log_joint: LogJoint, chains: int) -> int:
    """Operations of the traced graph for so many chains that compiling could join: none of a network that convolves, and
    none where chains, or the model itself, are run one by one."""
    graph = _traced(log_joint, chains)[0]
    return len(_calls(graph)) if isinstance(graph, fx.GraphModule) else 0


def becomes_c(log_joint: LogJoint, chains: int) -> bool:
    """Whether the graph for so many chains is small, and of operations that C is written for. Found out once."""
    graph, inputs = _traced(log_joint, chains)
    if not isinstance(graph, fx.GraphModule):
        return False
    if "becomes C" not in graph.meta:
        graph.meta["becomes C"] = suits(graph, inputs)
    found: bool = graph.meta["becomes C"]
    return found


def _traced(log_joint: LogJoint, chains: int) -> tuple[Any, tuple[Tensor, ...]]:
    """The graph for so many chains, and inputs for it."""
    log_joint.build(chains)
    position = torch.zeros(chains, log_joint.dim, dtype=log_joint.dtype, device=log_joint.device)
    return log_joint.graph(position), (position, *log_joint.tensors)


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
