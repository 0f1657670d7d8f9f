"""The count of gradients to known second moments and its parts; AdjustedMCLMC's warm-up; the funnel, non-centred."""

import math
import sys
from pathlib import Path

import pytest
import torch

import bnn_zoo as bz
from bnn_zoo.density import LogJoint
from bnn_zoo.diagnostics import ess_mean
from bnn_zoo.kernels.hmc import HMCState
from bnn_zoo.kernels.scale_adaptation import ScaleState
from bnn_zoo.run.loop import Run

sys.path.insert(0, str(Path(__file__).parent / "benchmarks"))
from _referee_targets import DATA, TARGETS, funnel, gaussian, rosenbrock
from referee import crossing, exact


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", TARGETS)
def test_second_moments_are_those_of_exact_draws(name):
    target = TARGETS[name]()
    squares = target.exact(40_000, seeded()).square()
    off = (squares.mean(0) - target.second) / (target.variance / len(squares)).sqrt()
    assert off.abs().max() < 4.5 and 0.6 < off.square().mean() < 1.5  # of the variances as well


def test_exact_draws_have_the_density_that_is_sampled():
    """Rosenbrock and a Gaussian: the log joint is that of the pairs in closed form, up to a constant."""
    x, y = 1.5 * torch.randn(2, 5, 18, generator=seeded(), dtype=torch.float64)
    value, _ = LogJoint(rosenbrock().model, DATA)(torch.cat([x, y], 1))
    wanted = -0.5 * ((x - 1).square() + (y - x.square()).square() / 0.1).sum(1)
    torch.testing.assert_close(value - value[0], wanted - wanted[0])
    target = gaussian(1e5, dim=7)
    assert target.second.min() == pytest.approx(1e5**-0.5) and target.second.max() == pytest.approx(1e5**0.5)
    value, _ = LogJoint(target.model, DATA)(x[:, :7])
    wanted = -0.5 * (x[:, :7].square() / target.second).sum(1)
    torch.testing.assert_close(value - value[0], wanted - wanted[0])


def test_crossing_is_the_last_and_infinite_where_the_end_is_above():
    errors = torch.tensor([[0.5, 0.005, 0.02, 0.009, 0.008], [0.5, 0.005, 0.02, 0.009, 0.008]])
    assert crossing(errors) == 4.0
    assert crossing(errors[:, :3]) == math.inf and crossing(errors[:, 3:]) == 1.0
    lost = torch.cat([errors, torch.full((1, 5), torch.inf)])  # the median over chains
    assert crossing(lost) == 4.0


def test_independent_draws_need_a_hundred_for_the_mean():
    """E b² = 1 / n for the mean over coordinates; the maximum of 100 squared normals has the median 7.3."""
    mean, most = exact("gaussian", gaussian(1e2), chains=32, draws=1_000)
    assert 90 < mean["gradients"] < 120 and 650 < most["gradients"] < 850


# ---------------------------------------------------------------------------------------------------- the warm-up


def started(warmup, **settings):
    """A run of AdjustedMCLMC on a Gaussian with scales from 0.1 to 10."""
    target = gaussian(1e4, dim=10)
    log_joint = LogJoint(target.model, DATA)
    backend = bz.AdjustedMCLMC(chains=8, warmup=warmup, draws=1, **settings)
    going: Run = backend._ready(log_joint, None, 0, range(8))
    going.begin(torch.randn(8, 10, generator=seeded(), dtype=torch.float64))
    return target, going


def test_mclmc_hands_on_what_it_has_found():
    target, going = started(30)
    for _ in range(17):
        going.advance()
    before = going.carry.chains
    assert isinstance(before.inner, ScaleState) and before.inner.step == 170
    going.advance()
    after = going.carry.chains
    assert isinstance(after.inner, HMCState) and (after.position != before.position).all()
    value, gradient = going.target(after.position)
    torch.testing.assert_close((after.inner.log_joint, after.inner.gradient), (value, gradient))
    for _ in range(12):
        going.advance()
    last = going.carry.chains.parameters
    torch.testing.assert_close(last.metric.variance, after.parameters.metric.variance, rtol=0, atol=0)
    assert ((last.metric.variance / target.second).log().abs() < 1.0).all()
    assert last.length == after.parameters.length and 1.0 <= last.length <= 3.0
    assert (last.step_size == last.step_size[0]).all()


def test_a_length_that_is_given_stays():
    _, going = started(20, trajectory_length=1.7)
    for _ in range(20):
        going.advance()
    assert going.carry.chains.parameters.length == 1.7


def test_decoherence_length_does_not_depend_on_how_often_one_looks(monkeypatch):
    """On a standard Gaussian draws are nearly independent after two steps, so that every eighth says nothing of them."""
    monkeypatch.setattr("bnn_zoo.kernels.scale_adaptation.SNAPSHOTS", 20)
    backend = bz.MCLMC(chains=8, warmup=400, draws=1, thinning=1)
    assert backend.program(30, 8).kernel.every == 8
    draws = backend.run(gaussian(1.0, dim=30).model, DATA, progress=False)
    assert 2.5 < float(draws.stats["length"][0, 0]) < 5.5  # 0.4 ε τ, ε near 7 and τ near 1.5; with τ = 8 it is above 20


# ---------------------------------------------------------------------------------------------------- the funnel

FUNNEL = {
    "NUTS": bz.NUTS(chains=4, warmup=200, draws=300),
    "HMC": bz.HMC(chains=4, warmup=200, draws=800),
    "AdjustedMCLMC": bz.AdjustedMCLMC(chains=4, warmup=200, draws=800),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FUNNEL)
def test_a_funnel_of_101_dimensions_passes_non_centred(name):
    """Second moments within 4.5 standard errors of θ ~ N(0, 3²) and z exp(−θ / 2) ~ N(0, 1), from z as it is exported."""
    target = funnel(centred=False)
    posterior = bz.fit(target.model, DATA, FUNNEL[name], seed=1, progress=False)
    draws, exported = posterior.draws, posterior.to_inference_data().posterior
    theta, z = (torch.as_tensor(exported[site].values).double() for site in ("theta", "z"))
    squares = torch.cat([(theta / 3).unsqueeze(-1), z * (-theta / 2).exp().unsqueeze(-1)], -1).square()
    off = (squares.mean((0, 1)) - target.second) / (target.variance / ess_mean(squares)).sqrt()
    assert off.abs().max() < 4.5 and off.square().mean() < 1.5
    assert int(draws.attrs["divergences"]) == 0
