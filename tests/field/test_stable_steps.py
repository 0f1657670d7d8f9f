"""Step sizes of the Langevin samplers that a posterior does not bear: lowered in burn-in to what its curvature allows."""

import warnings

import pytest
import torch
from targets import correlated_design, regression, regression_posterior

import bnn_zoo as bz

pytestmark = pytest.mark.filterwarnings("ignore:.*temperature of the draws")
SAMPLERS = [bz.SGLD, bz.SGHMC, bz.SGNHT]
X, Y = correlated_design()
LARGEST = float(torch.linalg.eigvalsh(torch.linalg.inv(regression_posterior(X, Y)[1]))[-1])
"""Curvature of −log posterior along its stiffest direction: the largest eigenvalue of the precision."""


def fit(backend, model=regression, data=(X, Y), seed=0):
    return bz.fit(model, data, backend, seed=seed, progress=False).draws


@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda s: s.__name__)
@pytest.mark.parametrize("times", [4, 100])
def test_a_step_that_is_too_large_is_lowered_to_two_over_the_curvature(sampler, times):
    with pytest.warns(UserWarning, match=f"{sampler.__name__}: step_size=.* is not stable on this posterior"):
        draws = fit(sampler(chains=2, steps=200, step_size=times / LARGEST))
    assert torch.isfinite(draws.sites["w"]).all()
    torch.testing.assert_close(
        draws.stats["step_size"], torch.full_like(draws.stats["step_size"], 2 / LARGEST), rtol=0.05, atol=0
    )


@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda s: s.__name__)
def test_a_step_that_is_not_is_left_alone(sampler):
    with warnings.catch_warnings():
        warnings.filterwarnings("error", ".*not stable")
        draws = fit(sampler(chains=2, steps=200, step_size=1.5 / LARGEST))
    assert (draws.stats["step_size"] == 1.5 / LARGEST).all()


def test_a_schedule_is_lowered_where_it_is_too_large():
    with pytest.warns(UserWarning, match="not stable"):
        draws = fit(bz.SGLD(chains=1, steps=400, thinning=1, step_size=lambda t: (10 if t < 300 else 1) / LARGEST))
    steps = draws.stats["step_size"][0] * LARGEST
    torch.testing.assert_close(steps[:100], torch.full_like(steps[:100], 2.0), rtol=0.05, atol=0)
    assert torch.allclose(steps[100:], torch.ones_like(steps[100:]))


def test_minibatches_from_a_data_set():
    data = torch.utils.data.TensorDataset(X, Y)
    with pytest.warns(UserWarning, match="not stable"):
        draws = fit(bz.SGLD(chains=2, steps=200, batch_size=32, step_size=20 / LARGEST), data=data)
    assert torch.isfinite(draws.sites["w"]).all() and (draws.stats["step_size"] < 4 / LARGEST).all()


@pytest.fixture(scope="module")
def diabetes():
    from sklearn.datasets import load_diabetes

    x, y = (torch.tensor(a, dtype=torch.float32)[:350] for a in load_diabetes(return_X_y=True, scaled=True))
    return x * 21, (y - y.mean()) / y.std()


@pytest.mark.filterwarnings("ignore:.*not stable")
@pytest.mark.parametrize("init", [bz.density.from_prior, bz.density.Adam(steps=50)], ids=["prior", "optimised"])
@pytest.mark.parametrize("sampler", [bz.SGLD, pytest.param(bz.SGHMC, marks=pytest.mark.slow)], ids=["SGLD", "SGHMC"])
def test_a_network_on_real_data_from_the_prior_at_one_over_n(sampler, init, diabetes):
    """A start with a small noise has curvatures thousands of times those of the posterior, and chains leave it."""
    model = bz.BNN(bz.nets.MLP(10, 1, hidden=(20,)), bz.priors.Normal(bz.priors.fan_in), bz.likelihoods.Gaussian())
    draws = fit(sampler(chains=4, steps=300, step_size=1 / 350, init=init), model, diabetes, seed=3)
    assert ((draws.sites["noise"][:, -50:] > 0.5) & (draws.sites["noise"][:, -50:] < 1.0)).all()
