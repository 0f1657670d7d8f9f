"""The no-U-turn sampler. Hoffman & Gelman 2014; multinomial form: Betancourt 2017, appendix A.

A transition doubles a trajectory until it turns back, diverges or is ``2^max_tree_depth`` steps long. A doubling of
depth j, its subtree, is a run of 2^j leapfrog steps in one direction. Whether a part of it turns is seen without
recursion: leaf i begins the parts of 2^k leaves for which 2^k divides i, and ends those for which 2^k divides i + 1. So
one leaf after the other is added by the same few operations, with all that is known of the trajectory in two tensors, and
each chain is at a doubling of its own: chains wait for each other at the end of a transition only. Where the log joint
compiles, a leaf is one graph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.linalg import vecdot
from torch.nn.functional import pad

from ..types import LogJointFn, Randomness
from .hmc import DIVERGENCE, Dynamics, HMCState, init
from .integrators import bind, inline, is_plain, limit_of, one_step

PORTION = 8
"""Leaves for which a chain draws its random numbers at a time."""
FEW, USUAL = 3, 10
"""Levels of a tree that memory is made for at a time; in a graph, depth up to which all trees have the same size."""


class NUTSInfo(NamedTuple):
    """Per chain, ``[chain]``, under ArviZ's names; ``acceptance_rate`` is averaged over the trajectory."""

    acceptance_rate: Tensor
    energy: Tensor
    energy_error: Tensor
    diverging: Tensor
    n_steps: Tensor
    tree_depth: Tensor
    reached_max_treedepth: Tensor


class Vectors(NamedTuple):
    """What a trajectory knows ``[chain, …, dim]``; in one tensor, with these sizes of its second dimension."""

    left: Tensor
    """Its end back in time: position, momentum, gradient, velocity."""
    right: Tensor
    proposal: Tensor
    """Position and gradient."""
    subproposal: Tensor
    """That of the doubling under way."""
    p_sum: Tensor
    """Sum of the momenta up to that doubling."""
    sub_sum: Tensor
    """And in it."""
    firsts: Tensor
    """Of its parts with 2, 4, 8, … leaves: momentum and velocity of the first leaf, and ``sub_sum`` before that."""


class Numbers(NamedTuple):
    """What a trajectory knows ``[chain]``; log weights are of exp(H₀ − H), sums of points, yes is 1."""

    growing: Tensor
    size: Tensor
    """Leaves of the doubling under way, in all and made."""
    leaf: Tensor
    forward: Tensor
    log_joint: Tensor
    error: Tensor
    log_weight: Tensor
    """Of the proposal log joint and H − H₀, and the weight of all points from which it was drawn."""
    sub_log_joint: Tensor
    sub_error: Tensor
    sub_log_weight: Tensor
    diverging: Tensor
    capped: Tensor
    depth: Tensor
    rate_sum: Tensor
    n_steps: Tensor


def _parts(vectors: Tensor, levels: int) -> Vectors:
    return Vectors(*vectors.split([4, 4, 2, 2, 1, 1, 3 * levels], dim=1))


def _turning(v_first: Tensor, v_last: Tensor, p_first: Tensor, p_last: Tensor, p_sum: Tensor) -> Tensor:
    """Generalised U-turn: an end's velocity points back along the summed momentum ρ. Betancourt 2017, appendix A.4.2.

    The ends count half in ρ, which makes it a trapezoid rule for the displacement and keeps the check from missing a
    turn between two subtrees.
    """
    rho = p_sum - 0.5 * (p_first + p_last)
    return (vecdot(v_first, rho) <= 0) | (vecdot(v_last, rho) <= 0)


@cache
def leaf(metric: type) -> Callable[..., tuple[Tensor, ...]]:
    """The next leaf of all trajectories that still grow, as a function of tensors.

    ``(log_joint, *metric, step [chain, 1], H₀ [chain], deepest [1], parts [level], uniform [3, chain], vectors, numbers)``
    to ``(vectors, numbers, furthest [2])``. ``deepest`` is the depth at which a trajectory ends, ``parts`` are the sizes
    2, 4, 8, … of the parts of a doubling; ``furthest`` says whether any chain grows, and the largest doubling under way.
    """
    leap = one_step(metric)

    def grow(log_joint: LogJointFn, *tensors: Tensor) -> tuple[Tensor, ...]:
        *mass, step, energy, deepest, parts, u, vectors, numbers = tensors
        velocity = metric(*mass).velocity
        known, n = _parts(vectors, len(parts)), Numbers(*numbers.unbind(0))
        on, forward = n.growing > 0, n.forward > 0
        # one step of the end that moves; a chain at its end takes a step of size 0
        q, p, gradient, _ = torch.where(_rows(forward), known.right, known.left).unbind(1)
        along = step * (n.growing * (2.0 * n.forward - 1.0)).unsqueeze(-1)
        q, p, log_joint_here, gradient = leap(log_joint, *mass, along, q, p, gradient)
        v = velocity(p)
        end = torch.stack([q, p, gradient, v], 1)
        left, right = torch.where(_rows(forward), known.left, end), torch.where(_rows(forward), end, known.right)
        # the doubling's proposal: a point is drawn with probability ∝ exp(H₀ − H)
        error = (0.5 * vecdot(p, v) - log_joint_here - energy).nan_to_num(nan=torch.inf, posinf=torch.inf)
        sub_log_weight = torch.logaddexp(n.sub_log_weight, -error)
        take = on & (u[0].log() < -error - sub_log_weight)
        subproposal = torch.where(_rows(take), torch.stack([q, gradient], 1), known.subproposal)
        sub_log_joint = torch.where(take, log_joint_here, n.sub_log_joint)
        sub_error = torch.where(take, error, n.sub_error)
        # turns of the parts that end here
        begin, close = (torch.remainder(i.unsqueeze(-1), parts) == 0 for i in (n.leaf, n.leaf + 1.0))
        here = torch.stack([p, v, known.sub_sum.squeeze(1)], 1).unsqueeze(2)
        firsts = torch.where(begin[:, None, :, None], here, known.firsts.unflatten(1, (3, len(parts))))
        p0, v0, before = firsts.unbind(1)
        sub_sum = known.sub_sum + p.unsqueeze(1)
        turned = (close & _turning(v0, v.unsqueeze(1), p0, p.unsqueeze(1), sub_sum - before)).any(-1)
        diverged = on & (error > DIVERGENCE)
        inside = on & ~turned & ~diverged
        # a doubling that is complete joins the trajectory. Biased progressive sampling
        whole = inside & (n.leaf + 1.0 >= n.size)
        take = whole & (u[1].log() < sub_log_weight - n.log_weight)
        p_sum = torch.where(_rows(whole), known.p_sum + sub_sum, known.p_sum)
        (_, p_left, _, v_left), (_, p_right, _, v_right) = left.unbind(1), right.unbind(1)
        open_ended = whole & ~_turning(v_left, v_right, p_left, p_right, p_sum.squeeze(1))
        depth = n.depth + (on & (whole | ~inside))
        further = open_ended & (depth < deepest)
        new = Numbers(
            forward=torch.where(whole, (u[2] < 0.5).to(energy.dtype), n.forward),
            leaf=torch.where(whole, 0.0, n.leaf + 1.0),
            size=torch.where(whole, 2.0 * n.size, n.size),
            log_joint=torch.where(take, sub_log_joint, n.log_joint),
            error=torch.where(take, sub_error, n.error),
            log_weight=torch.where(whole, torch.logaddexp(n.log_weight, sub_log_weight), n.log_weight),
            sub_log_joint=sub_log_joint,
            sub_error=sub_error,
            sub_log_weight=torch.where(whole, -torch.inf, sub_log_weight),
            growing=((inside & ~whole) | further).to(energy.dtype),
            diverging=torch.where(diverged, 1.0, n.diverging),
            capped=torch.where(open_ended & ~further, 1.0, n.capped),
            depth=depth,
            rate_sum=n.rate_sum + n.growing * torch.exp(-error).clamp(max=1.0),
            n_steps=n.n_steps + n.growing,
        )
        numbers = torch.stack(new)
        furthest = numbers[:2].amax(1)
        vectors = torch.cat(
            [
                left,
                right,
                torch.where(_rows(take), subproposal, known.proposal),
                subproposal,
                p_sum,
                torch.where(_rows(whole), 0.0, sub_sum),
                firsts.flatten(1, 2),
            ],
            1,
        )
        return vectors, numbers, furthest

    return grow


def _rows(mask: Tensor) -> Tensor:
    """``[chain]`` to select among ``[chain, …, dim]``."""
    return mask[:, None, None]


@cache
def _sizes(levels: int, like: torch.dtype, device: torch.device) -> Tensor:
    """2, 4, 8, …"""
    return torch.tensor([2.0 ** (k + 1) for k in range(levels)], dtype=like, device=device)


@dataclass(frozen=True)
class NUTS:
    """Multinomial NUTS with biased progressive sampling; trees of at most ``2^max_tree_depth`` leapfrog steps."""

    max_tree_depth: int = 10

    init = staticmethod(init)

    def step(
        self, target: LogJointFn, state: HMCState, parameters: Dynamics, random: Randomness
    ) -> tuple[HMCState, NUTSInfo]:
        """One transition of all chains."""
        metric, step_size = parameters
        p = metric.sample(random)
        v = metric.velocity(p)
        energy = 0.5 * vecdot(p, v) - state.log_joint
        grow = inline(target, leaf(type(metric)))
        levels = FEW if is_plain(grow) else max(USUAL, self.max_tree_depth) - 1
        grow = bind(grow, *metric, step_size.unsqueeze(-1), energy, limit_of(self.max_tree_depth, energy.device))
        uniforms = _uniforms(random)
        uniform = next(uniforms)
        vectors, numbers = _begin(state, p, v, uniform[0], levels)  # the first leaf is taken, whatever this number
        for _ in range(1, 2**self.max_tree_depth):
            parts = _sizes(levels, energy.dtype, energy.device)
            vectors, numbers, furthest = grow(parts, uniform, vectors, numbers)
            growing, size = furthest.tolist()
            if not growing:
                break
            if size > 2**levels:
                vectors, levels = _more(vectors, levels), levels + FEW
            uniform = next(uniforms)
        return _end(_parts(vectors, levels), Numbers(*numbers.unbind(0)), energy)


def _uniforms(random: Randomness) -> Iterator[Tensor]:
    """``[3, chain]`` for each leaf."""
    while True:
        yield from random.uniform(3 * PORTION).mT.contiguous().split(3)


def _begin(state: HMCState, p: Tensor, v: Tensor, uniform: Tensor, levels: int) -> tuple[Tensor, Tensor]:
    """A trajectory of one point, with the direction of its first doubling drawn."""
    q, value, gradient = state
    known = torch.stack([q, p, gradient, v] * 2 + [q, gradient] * 2 + [p], 1)
    zero = torch.zeros_like(value)
    one = zero + 1.0
    numbers = Numbers(*[zero] * len(Numbers._fields))._replace(
        forward=(uniform < 0.5).to(value.dtype), size=one, log_joint=value, sub_log_weight=zero - torch.inf, growing=one
    )
    return pad(known, (0, 0, 0, 1 + 3 * levels)), torch.stack(numbers)


def _more(vectors: Tensor, levels: int) -> Tensor:
    """``vectors`` for trees of more levels."""
    *known, firsts = _parts(vectors, levels)
    return torch.cat([*known, pad(firsts.unflatten(1, (3, levels)), (0, 0, 0, FEW)).flatten(1, 2)], 1)


def _end(known: Vectors, n: Numbers, energy: Tensor) -> tuple[HMCState, NUTSInfo]:
    q, gradient = known.proposal.unbind(1)
    info = NUTSInfo(
        acceptance_rate=n.rate_sum / n.n_steps,
        energy=energy + n.error,
        energy_error=n.error,
        diverging=n.diverging > 0,
        n_steps=n.n_steps,
        tree_depth=n.depth,
        reached_max_treedepth=n.capped > 0,
    )
    return HMCState(q.contiguous(), n.log_joint, gradient.contiguous()), info
