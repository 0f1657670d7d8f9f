"""NUTS against the same trajectory walked naively: each chain alone, every part of a doubling summed anew for its U-turn."""

import math

import numpy as np
import pytest
import torch

from bnn_zoo import kernels
from bnn_zoo._random import OneStream
from bnn_zoo.kernels import nuts
from bnn_zoo.kernels.hmc import Dynamics
from bnn_zoo.kernels.metric import Dense, Diagonal

PRECISION = np.array([[4.0, 1.5, 0.0], [1.5, 1.0, 0.2], [0.0, 0.2, 0.5]])
STEPS = [0.06, 0.5, 0.3, 1.6]
"""Of four chains: long trees, short ones, and one that is unstable and diverges."""
VARIANCE = np.array([0.3, 1.0, 2.0])
COVARIANCE = np.array([[0.6, -0.5, 0.1], [-0.5, 1.4, -0.3], [0.1, -0.3, 2.0]])


def value(q):
    """A normal law with a quartic term, so that step sizes of 1.6 are too large."""
    return -0.5 * q @ PRECISION @ q - 0.05 * np.sum(q**4)


def slope(q):
    return -PRECISION @ q - 0.2 * q**3


def target(q):
    """The same for tensors ``[chain, dim]``."""
    matrix = torch.as_tensor(PRECISION, dtype=q.dtype)
    return -0.5 * ((q @ matrix) * q).sum(-1) - 0.05 * q.pow(4).sum(-1), -(q @ matrix) - 0.2 * q.pow(3)


def turning(points, inverse_mass):
    """ρ is the sum of momenta with the ends counted half. Betancourt 2017, appendix A.4.2."""
    momenta = [p for _, p in points]
    rho = np.sum(momenta, 0) - 0.5 * (momenta[0] + momenta[-1])
    return any((inverse_mass @ p) @ rho <= 0 for p in (momenta[0], momenta[-1]))


def transition(q, p, uniform, step, inverse_mass, deepest):
    """``(position, steps, depth, diverged, capped)`` from ``uniform [leaf, 3]``."""

    def energy(point):
        return 0.5 * point[1] @ inverse_mass @ point[1] - value(point[0])

    def leap(point, epsilon):
        q, p = point
        p = p + 0.5 * epsilon * slope(q)
        q = q + epsilon * inverse_mass @ p
        return q, p + 0.5 * epsilon * slope(q)

    tree, chosen, start = [(q, p)], q, energy((q, p))
    log_weight, steps, forward = 0.0, 0, uniform[0][0] < 0.5
    for depth in range(deepest):
        part, sub_log_weight, proposal = [], -math.inf, None
        at = tree[-1] if forward else tree[0]
        for i in range(2**depth):
            u = uniform[steps]
            at = leap(at, step if forward else -step)
            part.append(at)
            steps += 1
            error = energy(at) - start
            if not error <= 1000:
                return chosen, steps, depth + 1, True, False
            sub_log_weight = np.logaddexp(sub_log_weight, -error)
            if u[0] < math.exp(-error - sub_log_weight):
                proposal = at[0]
            ends = [2**k for k in range(1, depth + 1) if (i + 1) % 2**k == 0]
            if any(turning(part[-size:], inverse_mass) for size in ends):
                return chosen, steps, depth + 1, False, False
        if u[1] < math.exp(min(sub_log_weight - log_weight, 0.0)):
            chosen = proposal
        log_weight = np.logaddexp(log_weight, sub_log_weight)
        tree = tree + part if forward else part[::-1] + tree
        if turning(tree, inverse_mass):
            return chosen, steps, depth + 1, False, False
        forward = u[2] < 0.5
    return chosen, steps, deepest, False, True


@pytest.mark.parametrize("dense", [False, True], ids=["diagonal", "dense"])
@pytest.mark.parametrize("deepest", [1, 3, 7])
def test_transitions_are_those_of_the_naive_walk(dense, deepest):
    chains, dim = len(STEPS), len(VARIANCE)
    inverse_mass = COVARIANCE if dense else np.diag(VARIANCE)
    position = torch.linspace(-1, 1, chains * dim, dtype=torch.float64).reshape(chains, dim)
    if dense:
        covariance = torch.as_tensor(COVARIANCE).expand(chains, -1, -1).contiguous()
        metric = Dense(covariance, torch.linalg.cholesky(covariance))
    else:
        metric = Diagonal(torch.as_tensor(VARIANCE).expand(chains, -1).contiguous())
    kernel, step_size = kernels.NUTS(deepest), torch.tensor(STEPS, dtype=torch.float64)
    told = OneStream(torch.Generator().manual_seed(deepest), like=position)
    state = kernel.init(position, target, told)
    seen = set()
    for _ in range(12):
        shadow = OneStream(torch.Generator(), like=position)
        shadow.generator.set_state(told.generator.get_state())
        momenta = metric.sample(shadow).numpy()
        portions = [shadow.uniform(3 * nuts.PORTION) for _ in range(2**deepest // nuts.PORTION + 1)]
        uniform = torch.cat(portions, 1).reshape(chains, -1, 3).numpy()
        before = state.position.numpy()
        state, info = kernel.step(target, state, Dynamics(metric, step_size), told)
        for c, step in enumerate(STEPS):
            q, steps, depth, diverged, capped = transition(before[c], momenta[c], uniform[c], step, inverse_mass, deepest)
            np.testing.assert_allclose(state.position[c], q, rtol=1e-9, atol=1e-9)
            found = (info.n_steps[c], info.tree_depth[c], info.diverging[c], info.reached_max_treedepth[c])
            assert tuple(map(float, found)) == (steps, depth, diverged, capped)
            seen |= {("depth", depth), ("diverged", diverged), ("capped", capped)}
    torch.testing.assert_close((state.log_joint, state.gradient), target(state.position))
    assert ("diverged", not dense) in seen and ("capped", deepest < 7) in seen and ("depth", min(deepest, 5)) in seen
