"""What NUTS makes of the models of Pyro's and NumPyro's tutorials, and their way into ArviZ."""

import math
import warnings

import numpy as np
import pyro
import pytest
import torch
from pyro.infer import MCMC
from pyro.infer import NUTS as PyroNUTS
from tutorial_models import CASES

import bnn_zoo as bz
from bnn_zoo._scope import factory, seeded
from bnn_zoo.density import LogJoint
from bnn_zoo.posterior import Posterior
from bnn_zoo.types import Draws

CPU = torch.device("cpu")
ENUMERATED = {"mixture, classes enumerated"}
"""Discrete sites are summed out, so rows have no law of their own: their groups are left out, and that is said."""


@pytest.mark.parametrize("name", CASES)
def test_export(name):
    """A posterior of a few points in its support: every group of ArviZ's, and the summary."""
    case = CASES[name]
    log_joint = LogJoint(case.model, case.data)
    g = torch.Generator().manual_seed(0)
    positions = 0.3 * torch.randn(2, 6, log_joint.dim, generator=g, dtype=torch.float64)
    draws = Draws(log_joint.constrain(positions.to(log_joint.dtype)))
    posterior = Posterior(case.model, case.data, draws)
    if name in ENUMERATED:
        with pytest.warns(UserWarning, match="left out"):
            idata = posterior.to_inference_data()
    else:
        idata = posterior.to_inference_data()
    for site, value in draws.sites.items():
        got = idata["posterior"][site].values
        assert got.shape == tuple(value.shape)
        np.testing.assert_allclose(got, value.numpy(), rtol=1e-6)
    table = posterior.summary()
    assert set(draws.sites) <= set(table.index)


def batch_means(x, batches):
    """Mean of ``x [chain, draw, k]`` and its Monte Carlo error ``[k]``, from means of stretches of each chain."""
    cut = x[:, : x.shape[1] // batches * batches]
    means = cut.reshape(len(x) * batches, -1, x.shape[-1]).mean(1)
    return x.mean((0, 1)), means.std(0, ddof=1) / len(means) ** 0.5


def moments(x, batches):
    """Mean and standard deviation of ``[chain, draw, k]``, each with its Monte Carlo error."""
    mean, error = batch_means(x, batches)
    variance, spread = batch_means((x - mean) ** 2, batches)
    sd = variance**0.5
    return (mean, error), (sd, spread / (2 * np.where(sd > 0, sd, 1.0)))  # entries that are constant have no spread


def flat(x):
    x = np.asarray(x, dtype=float)
    return x.reshape(*x.shape[:2], -1)


def pyro_draws(case, count):
    """Draws ``{site: [1, draw, …]}`` of Pyro's NUTS in float64."""
    pyro.clear_param_store()
    with factory(CPU, torch.float64), seeded(1, CPU), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mcmc = MCMC(PyroNUTS(case.model), num_samples=count, warmup_steps=300, num_chains=1, disable_progbar=True)
        mcmc.run(*case.data)
        return mcmc.get_samples(group_by_chain=True)


def figures(name):
    """The worst distance of means and standard deviations in Monte Carlo errors, and the largest error in sds."""
    case = CASES[name]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*slower, and right", UserWarning)
        posterior = bz.fit(
            case.model, case.data, bz.NUTS(chains=4, warmup=400, draws=500 * case.long, compile=False), progress=False
        )
    ours = posterior.draws.sites
    if case.moments is not None:
        wanted = {site: ((np.ravel(m), 0.0), (np.ravel(sd), 0.0)) for site, (m, sd) in case.moments().items()}
    else:
        pyros = pyro_draws(case, 600 * case.long)
        positive = {site for site, v in pyros.items() if bool((v > 0).all()) and bool((ours[site] > 0).all())}
        logged = {site: v.log() if site in positive else v for site, v in pyros.items() if site in ours}
        ours = {site: v.log() if site in positive else v for site, v in ours.items()}
        # entries that are constant, such as the zeros of a triangle, say nothing
        wanted = {site: moments(flat(v), 20) for site, v in logged.items()}
    worst = {"mean": 0.0, "sd": 0.0, "error": 0.0}
    for site, ((mean, mean_error), (sd, sd_error)) in wanted.items():
        (m, e), (s, f) = moments(flat(ours[site]), 10)
        told = np.asarray(sd) > 1e-9
        z = np.abs(m - mean)[told] / np.hypot(e, mean_error)[told]
        zs = np.abs(s - sd)[told] / np.hypot(f, sd_error)[told]
        worst["mean"] = max(worst["mean"], float(z.max()))
        worst["sd"] = max(worst["sd"], float(zs.max()))
        worst["error"] = max(worst["error"], float((np.hypot(e, mean_error)[told] / np.asarray(sd)[told]).max()))
    return worst, posterior


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", CASES)
def test_posterior(name):
    """Means and standard deviations within five Monte Carlo errors of closed forms, quadrature or Pyro's own NUTS."""
    worst, posterior = figures(name)
    print(name, {k: round(v, 2) for k, v in worst.items()})
    assert worst["mean"] < 5 and worst["sd"] < 5, worst
    assert worst["error"] < 0.25, worst  # else the comparison says nothing
    assert all(math.isfinite(float(v.float().mean())) for v in posterior.draws.sites.values())
    posterior.to_inference_data()
    posterior.summary()
