"""A chain that is stuck or lost must not take the others with it, nor leave unnoticed."""

import pytest
import torch

import bnn_zoo as bz
from bnn_zoo._random import OneStream
from bnn_zoo.kernels.adaptation import DualAveraging
from bnn_zoo.kernels.hmc import Dynamics

RULES = [bz.DiagonalMass, bz.FisherMass, bz.DenseMass, bz.DenseFisherMass, bz.LowRankFisherMass]
DIM, CHAINS, DRAWS = 5, 4, 400
SCALES = torch.tensor([0.1, 1.0, 10.0, 0.5, 3.0])


def seen_by(rule, spoil, dtype):
    """What the rule saw of N(0, diag(scales²)) in four chains of which the second was spoilt."""
    generator = torch.Generator().manual_seed(0)
    seen = rule.estimator()
    for _ in range(DRAWS):
        draw = torch.randn(CHAINS, DIM, generator=generator, dtype=dtype) * SCALES.to(dtype)
        gradient = -draw / SCALES.to(dtype) ** 2
        draw[1], gradient[1] = spoil, -spoil
        seen.update(draw, gradient)
    return seen


def variances(metric):
    """``M⁻¹``'s diagonal, ``[chain, dim]``, from its action on unit vectors."""
    return torch.stack([metric.velocity(torch.eye(DIM)[i].to(metric[0]).expand(CHAINS, -1))[:, i] for i in range(DIM)], 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("spoilt", [0.0, torch.nan, torch.inf], ids=["stuck", "NaN", "infinite"])
@pytest.mark.parametrize("pooled", [True, False], ids=["pooled", "each"])
@pytest.mark.parametrize("rule", RULES)
def test_one_spoilt_chain_leaves_the_mass_matrix_right(rule, pooled, spoilt, dtype):
    """The variances of the law itself, 0.01 to 100, for every chain: the spoilt one takes the others'."""
    rule = rule(pooled=pooled)
    metric = rule.estimate(seen_by(rule, torch.full((DIM,), spoilt, dtype=dtype), dtype))
    ratio = variances(metric) / SCALES.to(dtype) ** 2
    assert ((ratio > 0.7) & (ratio < 1.4)).all(), ratio
    like = torch.zeros(CHAINS, DIM, dtype=dtype)
    momentum = metric.sample(OneStream(torch.Generator().manual_seed(0), like=like))
    assert momentum.dtype == dtype and momentum.isfinite().all()


@pytest.mark.parametrize("pooled", [True, False], ids=["pooled", "each"])
@pytest.mark.parametrize("rule", RULES)
def test_where_no_chain_moved_the_mass_matrix_stays_as_it_was(rule, pooled):
    rule = rule(pooled=pooled)
    position, seen = torch.ones(CHAINS, DIM), rule.estimator()
    for _ in range(20):
        seen.update(position, -position)
    torch.testing.assert_close(variances(rule.estimate(seen)), torch.ones(CHAINS, DIM))


@pytest.mark.parametrize("pooled", [True, False], ids=["pooled", "each"])
def test_a_coordinate_that_never_moved_leaves_a_dense_mass_matrix_positive_definite(pooled):
    rule, generator = bz.DenseMass(pooled=pooled), torch.Generator().manual_seed(0)
    seen = rule.estimator()
    for _ in range(100):
        draw = torch.randn(CHAINS, DIM, generator=generator)
        draw[:, 2] = 7.0
        seen.update(draw, -draw)
    assert (torch.linalg.eigvalsh(rule.estimate(seen).covariance) > 0.1).all()


def test_a_dense_mass_matrix_of_directions_equal_to_rounding():
    """Correlation 1 to float32's last digit, in units a million apart: no Cholesky factor without more shrinkage."""
    rule, generator = bz.DenseMass(), torch.Generator().manual_seed(0)
    seen = rule.estimator()
    for _ in range(2000):
        draw = torch.randn(CHAINS, 1, generator=generator) * torch.logspace(-3, 3, 40)
        seen.update(draw, -draw)
    metric = rule.estimate(seen)
    assert metric.cholesky.isfinite().all()
    torch.testing.assert_close(metric.covariance[0].diagonal().log(), 2 * torch.logspace(-3, 3, 40).log(), atol=0.1, rtol=0)


@pytest.mark.parametrize("rule", [*RULES[4:], *(pytest.param(r, marks=pytest.mark.slow) for r in RULES[:4])])
def test_a_run_with_a_chain_that_cannot_move_samples_with_the_others(rule):
    """For the last chain the density is zero everywhere but at its start: every proposal is refused."""
    target = torch.distributions.Normal(torch.zeros(3), torch.tensor([0.2, 1.0, 4.0]))

    def log_joint(position):
        value, gradient = target.log_prob(position).sum(1), -position / target.variance
        elsewhere = (torch.arange(4) == 3) & (position != 0.0).any(1)
        return torch.where(elsewhere, -torch.inf, value), gradient

    position, mass = torch.zeros(4, 3), rule(pooled=False)
    random = OneStream(torch.Generator().manual_seed(0), like=position)
    kernel, stepper = bz.NUTS(max_tree_depth=4).kernel, DualAveraging(0.8, pooled=False)
    state, metric, seen = kernel.init(position, log_joint, random), mass.start(position), mass.estimator()
    stepper.restart(torch.full((4,), 0.3))
    kept = []
    for i in range(350):
        state, info = kernel.step(log_joint, state, Dynamics(metric, stepper.step_size), random)
        stepper.update(info.acceptance_rate)
        seen.update(state.position, state.gradient)
        if i == 100:
            metric = mass.estimate(seen)
        if i > 150:
            kept.append(state.position)
    draws = torch.stack(kept, 1)
    assert (draws[3] == 0).all()
    assert (draws[:3].std((0, 1)) / target.stddev - 1).abs().max() < 0.3


def test_a_step_size_that_nothing_accepts_stays_a_number():
    for rate in (0.0, 1.0):
        stepper = DualAveraging(0.8)
        stepper.restart(torch.ones(2))
        for _ in range(20_000):
            stepper.update(torch.full((2,), rate))
        assert ((stepper.step_size > 0) & stepper.step_size.isfinite()).all()
