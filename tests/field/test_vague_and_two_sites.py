"""A vague hierarchical prior and two observed sites, for every backend from its default start, against closed forms.

With τ ~ Gamma(a, b), y_i ~ N(0, 1/τ) and counts k_j ~ Poisson(5 τ) the posterior of τ is Gamma(A, B),
A = a + n/2 + Σk, B = b + Σy²/2 + 5 m. On u = log τ its density has its mode at log(A/B) with curvature A, mean
ψ(A) − log B and variance ψ'(A). A draw of that prior, Gamma(1/4, 1/1600), lies anywhere between e^−40 and e^9.
"""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy.special import digamma, polygamma

import bnn_zoo as bz

Y = 0.7 * torch.randn(40, generator=torch.Generator().manual_seed(3))
COUNTS = torch.tensor([9.0, 11.0, 8.0, 12.0])
A = 0.25 + 20 + 40
B = 0.000625 + float(Y.square().sum()) / 2 + 20
SD = float(polygamma(1, A)) ** 0.5


def model(y, counts):
    tau = pyro.sample("tau", dist.Gamma(0.25, 0.000625))
    w = pyro.sample("w", dist.Normal(0.0, 1.0).expand([1, 2]).to_event(2))
    with pyro.plate("rows", len(y)):
        pyro.sample("y", dist.Normal(0.0, tau.rsqrt()), obs=y)
    with pyro.plate("counters", len(counts)):
        pyro.sample("counts", dist.Poisson(5.0 * tau), obs=counts)
    pyro.factor("pull", -0.5 * (w - 1.0).square().sum())


SHORT = {"chains": 4, "warmup": 300, "draws": 300}
STEPS = {"chains": 16, "steps": 2_500, "warmup": 1_000, "thinning": 5}
ADAM = bz.schedules.cosine(0.1)
SAMPLERS = {
    "NUTS": bz.NUTS(chains=4, warmup=200, draws=250, max_tree_depth=4),
    "HMC": bz.HMC(**SHORT),
    "MCLMC": bz.MCLMC(chains=4, warmup=2_000, draws=500, thinning=5),
    "AdjustedMCLMC": bz.AdjustedMCLMC(**SHORT),
    "ChEES": bz.ChEES(chains=8, warmup=300, draws=150),
    "RandomWalk": bz.RandomWalk(chains=8, warmup=1_000, draws=300, thinning=8),
    "SGLD": bz.SGLD(**STEPS, step_size=2e-3),
    "PSGLD": bz.PSGLD(**STEPS, step_size=3e-3),
    "SGHMC": bz.SGHMC(**STEPS, step_size=3e-4),
    "SGNHT": bz.SGNHT(**STEPS, step_size=3e-4),
}
NORMAL = {  # families of normals on log τ, with what each has for its mean and sd
    "MeanField": (bz.MeanField(steps=800, draws=800, particles=2), math.log(A / B) - 0.5 / A, A**-0.5),
    "Laplace": (bz.Laplace(steps=1_500, draws=2_000, step_size=ADAM), math.log(A / B), A**-0.5),
    "DiagonalLaplace": (bz.DiagonalLaplace(steps=1_500, draws=2_000, step_size=ADAM), math.log(A / B), A**-0.5),
}
POINTS = {
    "MAP": bz.MAP(steps=1_500, step_size=ADAM),
    "DeepEnsemble": bz.DeepEnsemble(chains=3, steps=1_500, step_size=ADAM),
    "MCDropout": bz.MCDropout(rate=0.0, sites=("w",), steps=1_500, draws=2, learning_rate=ADAM),
    "SWAG": bz.SWAG(chains=2, steps=3_000, step_size=2e-3),
}


def fast(names, quick):
    """The names, those that are not ``quick`` marked slow: each family has one that runs always."""
    return [n if n in quick else pytest.param(n, marks=pytest.mark.slow) for n in names]


def log_tau(backend):
    return bz.fit(model, (Y, COUNTS), backend, progress=False).draws.sites["tau"].double().log().flatten()


@pytest.mark.parametrize("name", fast(SAMPLERS, {"SGLD"}))
def test_samplers(name):
    u, loose = log_tau(SAMPLERS[name]), 2.0 if name.startswith(("SG", "PSG")) else 1.0
    assert abs(float(u.mean()) - (digamma(A) - math.log(B))) < 0.15 * loose * SD
    assert abs(float(u.std()) / SD - 1.0) < 0.12 * loose


@pytest.mark.parametrize("name", fast(NORMAL, set()))
def test_normal_families(name):
    backend, mean, sd = NORMAL[name]
    u = log_tau(backend)
    assert abs(float(u.mean()) - mean) < 0.15 * sd
    assert abs(float(u.std()) / sd - 1.0) < 0.1


@pytest.mark.parametrize("name", fast(POINTS, {"MAP"}))
def test_modes(name):
    """On log τ; for the points of MC dropout, a family on the sites themselves, of the density of τ."""
    mode = math.log((A - 1.0) / B) if name == "MCDropout" else math.log(A / B)
    assert abs(float(log_tau(POINTS[name]).mean()) - mode) < 0.12 * SD


def test_each_site_is_scored_by_its_own_law():
    """Log likelihoods of both sites, by SciPy's formula at one draw."""
    posterior = bz.fit(model, (Y, COUNTS), bz.MAP(steps=5), progress=False)
    tau = posterior.draws.sites["tau"][0, 0]
    found = posterior.log_likelihood()
    torch.testing.assert_close(found["y"][0, 0], 0.5 * tau.log() - 0.5 * tau * Y**2 - 0.5 * math.log(2 * math.pi))
    rate = 5.0 * tau
    torch.testing.assert_close(found["counts"][0, 0], COUNTS * rate.log() - rate - torch.lgamma(COUNTS + 1))
