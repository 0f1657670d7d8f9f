"""The no-U-turn sampler, all chains in lockstep. Hoffman & Gelman 2014; multinomial form: Betancourt 2017, appendix A.

A transition doubles a trajectory until it turns back, diverges or is ``2^max_tree_depth`` steps long. A doubling of
depth j is a run of 2^j leapfrog steps in one direction. Whether one of its subtrees turns is seen without recursion: at
an odd leaf i, the subtrees that end there start at leaves i − 2^k + 1 for k = 1 … (trailing ones of i), and the first
leaves of the subtrees still open form a stack. All chains are at the same leaf, so the stack is a Python list; chains
that have finished are masked. Leaves come in blocks of 2^b, each one graph where the log joint compiles; what is said of
leaves then holds for blocks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.linalg import vecdot

from ..types import LogJointFn, Randomness
from .hmc import DIVERGENCE, Dynamics, HMCState, _column, init
from .integrators import Phase, inline, limit_of, one_step, select, unroll
from .metric import Metric, kinetic


class NUTSInfo(NamedTuple):
    """Per chain, ``[chain]``, under ArviZ's names; ``acceptance_rate`` is averaged over the trajectory."""

    acceptance_rate: Tensor
    energy: Tensor
    energy_error: Tensor
    diverging: Tensor
    n_steps: Tensor
    tree_depth: Tensor
    reached_max_treedepth: Tensor


class Tree(NamedTuple):
    """A stretch of trajectory: proposal, log of its summed weights exp(H₀ − H), sum of momenta, who may still grow."""

    proposal: HMCState
    energy_error: Tensor
    log_weight: Tensor
    p_sum: Tensor
    growing: Tensor
    diverging: Tensor
    rate_sum: Tensor
    n_steps: Tensor


def _turning(v_first: Tensor, v_last: Tensor, p_first: Tensor, p_last: Tensor, p_sum: Tensor) -> Tensor:
    """Generalised U-turn: an end's velocity points back along the summed momentum ρ. Betancourt 2017, appendix A.4.2.

    The ends count half in ρ, which makes it a trapezoid rule for the displacement and keeps the check from missing a
    turn between two subtrees.
    """
    rho = p_sum.sub(p_first + p_last, alpha=0.5)
    return (vecdot(v_first, rho) <= 0) | (vecdot(v_last, rho) <= 0)


@cache
def leaves(metric: type, count: int) -> Callable[..., tuple[Tensor, ...]]:
    """The next ``count = 2^b`` leaves, a subtree in themselves, as a function of tensors.

    For each a leapfrog step, a choice between it and the proposal, and the U-turns of the subtrees that end there and began
    within. ``(log_joint, *metric, step, limit, q, p, gradient, H₀, gumbel [count, chain], Σp, growing, *chosen)`` to
    ``(q, p, log joint, gradient, velocity, first p, first velocity, H − H₀ [count, chain], seen [count, chain], Σp, growing,
    *chosen)`` with ``chosen = (q, log joint, gradient, H − H₀, score)``. Only the first ``limit [1]`` leaves count, a power
    of two. A leaf is drawn with probability ∝ exp(H₀ − H): the largest score H₀ − H + Gumbel noise.
    """
    leap = one_step(metric)

    def grow(log_joint: LogJointFn, *tensors: Tensor) -> tuple[Tensor, ...]:
        *parts, step, limit, q, p, gradient, energy, gumbel, p_sum, growing, q1, value1, gradient1, error, best = tensors
        velocity = metric(*parts).velocity
        phase: Phase = (q, p, error, gradient)
        firsts: list[tuple[Tensor, Tensor, Tensor]] = []  # (p, velocity, Σp before it) of each leaf
        deltas, seen = [], []
        for i in range(count):
            new = leap(log_joint, *parts, step, phase[0], phase[1], phase[3])
            on = i < limit
            phase = new if i == 0 else select(on, new, phase)
            q, p, value, gradient = phase
            v = velocity(p)
            firsts.append((p, v, p_sum))
            growing_here = growing if i == 0 else growing & on
            delta = (0.5 * (p * v).sum(-1) - value - energy).nan_to_num(nan=torch.inf, posinf=torch.inf)
            deltas.append(delta)
            seen.append(growing_here)
            score = gumbel[i] - delta
            take = growing_here & (score > best)
            rows = take.unsqueeze(-1)
            q1, gradient1 = torch.where(rows, q, q1), torch.where(rows, gradient, gradient1)
            value1, error = torch.where(take, value, value1), torch.where(take, delta, error)
            best = torch.where(growing_here, torch.maximum(score, best), best)
            p_sum = p_sum + (p if i == 0 else torch.where(on.unsqueeze(-1), p, 0.0))
            stop = delta > DIVERGENCE
            for k in range(1, _trailing_ones(i) + 1):
                p0, v0, before = firsts[i + 1 - 2**k]
                stop = stop | _turning(v0, v, p0, p, p_sum - before)
            growing = growing & ~(stop if i == 0 else stop & on)
        p0, v0, _ = firsts[0]
        sums = (torch.stack(deltas), torch.stack(seen), p_sum, growing)
        return *phase, v, p0, v0, *sums, q1, value1, gradient1, error, best

    return grow


def _pick(mask: Tensor, new: HMCState, old: HMCState) -> HMCState:
    return HMCState(*(torch.where(_column(mask, b), a, b) for a, b in zip(new, old, strict=True)))


def _trailing_ones(i: int) -> int:
    return (~i & (i + 1)).bit_length() - 1


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
        energy = kinetic(metric, p) - state.log_joint
        left = right = (state.position, p, state.log_joint, state.gradient)
        zero, no = torch.zeros_like(energy), torch.zeros_like(energy, dtype=torch.bool)
        tree = Tree(state, zero, zero, p, ~no, no, zero, zero)
        depth = torch.zeros_like(energy)
        for j in range(self.max_tree_depth):
            forward = random.uniform() < 0.5
            ends = select(forward, right, left)
            step = torch.where(forward, step_size, -step_size).unsqueeze(-1)
            last, new = self._double(j, target, metric, step, ends, tree.growing, energy, random)
            depth += tree.growing
            whole = new.growing  # neither turned nor diverged inside
            left = select(whole & ~forward, last, left)
            right = select(whole & forward, last, right)
            p_sum = torch.where(whole.unsqueeze(-1), tree.p_sum + new.p_sum, tree.p_sum)
            take = whole & (random.uniform().log() < new.log_weight - tree.log_weight)
            turned = _turning(metric.velocity(left[1]), metric.velocity(right[1]), left[1], right[1], p_sum)
            tree = Tree(
                _pick(take, new.proposal, tree.proposal),
                torch.where(take, new.energy_error, tree.energy_error),
                torch.where(whole, torch.logaddexp(tree.log_weight, new.log_weight), tree.log_weight),
                p_sum,
                whole & ~turned,
                tree.diverging | new.diverging,
                tree.rate_sum + new.rate_sum,
                tree.n_steps + new.n_steps,
            )
            if not bool(tree.growing.any()):
                break
        info = NUTSInfo(
            tree.rate_sum / tree.n_steps.clamp(min=1),
            energy + tree.energy_error,
            tree.energy_error,
            tree.diverging,
            tree.n_steps,
            depth,
            tree.growing,
        )
        return tree.proposal, info

    @staticmethod
    def _double(
        j: int,
        target: LogJointFn,
        metric: Metric,
        step: Tensor,
        phase: Phase,
        growing: Tensor,
        energy: Tensor,
        random: Randomness,
    ) -> tuple[Phase, Tree]:
        """2^j leapfrog steps from ``phase``; returns the last point of each chain and the subtree."""
        at_once = unroll(target, len(energy))
        limit = limit_of(min(2**j, at_once), energy.device)
        grow = inline(target, leaves(type(metric), at_once))
        gumbel = -(-random.uniform(2**j).mT.contiguous().log()).log()
        if 2**j < at_once:
            gumbel = torch.cat([gumbel, gumbel.new_zeros(at_once - 2**j, len(energy))])
        q, p, value, gradient = phase
        zeros = torch.zeros_like(energy)
        chosen = [q, value, gradient, zeros, torch.full_like(energy, -torch.inf)]
        p_sum = torch.zeros_like(p)
        stack: list[tuple[Tensor, Tensor, Tensor]] = []  # (p, velocity, p_sum before it) of open subtrees' first leaves
        errors, alive = [], []
        for i, noise in enumerate(gumbel.split(at_once)):
            before = p_sum
            q, p, value, gradient, v, p0, v0, delta, seen, p_sum, growing, *chosen = grow(
                *metric, step, limit, q, p, gradient, energy, noise, p_sum, growing, *chosen
            )
            errors.append(delta)
            alive.append(seen)
            if i % 2 == 0:
                stack.append((p0, v0, before))
            else:
                ones = _trailing_ones(i)
                for p0, v0, before0 in stack[-ones:]:
                    growing = growing & ~_turning(v0, v, p0, p, p_sum - before0)
                del stack[len(stack) - ones + 1 :]
            if not bool(growing.any()):
                break
        delta, seen = torch.cat(errors), torch.cat(alive)
        weight = torch.where(seen, -delta, -torch.inf)
        return (q, p, value, gradient), Tree(
            HMCState(*chosen[:3]),
            chosen[3],
            torch.logsumexp(weight, 0),
            p_sum,
            growing,
            (seen & (delta > DIVERGENCE)).any(0),
            weight.exp().clamp(max=1.0).sum(0),
            seen.sum(0).to(energy.dtype),
        )
