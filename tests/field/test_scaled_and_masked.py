"""Models under ``poutine.scale`` and ``poutine.mask``: every backend samples the law that the weighed log joint defines.

Closed forms: for w ~ N(0, 1) with weight a, n rows y ~ N(w, s²) with weight b each, the posterior is normal with precision
P = a + b n / s² and mean (b / s²) Σy / P.
"""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer.autoguide import AutoDiagonalNormal, AutoNormal

import bnn_zoo as bz
from bnn_zoo.density import LogJoint

S = 0.5
Y = torch.tensor([[1.2, -0.4], [0.7, 0.1], [1.0, -0.6], [9.0, 9.0]])
SEEN = torch.tensor([True, True, True, False])


def rows_masked(y):
    """The last row is hidden, the prior counts half."""
    with poutine.scale(scale=0.5):
        w = pyro.sample("w", dist.Normal(0.0, 1.0).expand([1, 2]).to_event(2))
    with pyro.plate("rows", len(y)), poutine.mask(mask=SEEN):
        pyro.sample("y", dist.Normal(w[0], S).to_event(1), obs=y)


def prior_masked(y):
    """The prior says nothing."""
    with poutine.mask(mask=False):
        w = pyro.sample("w", dist.Normal(0.0, 1.0).expand([1, 2]).to_event(2))
    with pyro.plate("rows", 3):
        pyro.sample("y", dist.Normal(w[0], S).to_event(1), obs=y[:3])


def exact(prior, overall):
    """Mean ``[2]`` and standard deviation of the posterior."""
    precision = overall * (prior + 3 / S**2)
    return overall * Y[:3].sum(0) / S**2 / precision, precision**-0.5


SHORT = {"chains": 4, "warmup": 150, "draws": 250}
STEPS = {"chains": 8, "steps": 4_000, "warmup": 1_000, "thinning": 3}
EXACT = {
    "NUTS": bz.NUTS(**SHORT, max_tree_depth=4),
    "HMC": bz.HMC(**SHORT),
    "MCLMC": bz.MCLMC(chains=4, warmup=800, draws=400, thinning=3),
    "AdjustedMCLMC": bz.AdjustedMCLMC(**SHORT),
    "ChEES": bz.ChEES(chains=8, warmup=150, draws=120),
    "RandomWalk": bz.RandomWalk(chains=8, warmup=500, draws=250, thinning=8),
    "MeanField": bz.MeanField(steps=600, draws=2_000),
    "MeanField, AutoNormal": bz.MeanField(steps=600, draws=2_000, guide=AutoNormal),
    "MeanField, AutoDiagonalNormal": bz.MeanField(steps=600, draws=2_000, guide=AutoDiagonalNormal),
    "Laplace": bz.Laplace(steps=400, draws=2_000, step_size=bz.schedules.cosine(0.1)),
    "DiagonalLaplace": bz.DiagonalLaplace(steps=400, draws=2_000, step_size=bz.schedules.cosine(0.1)),
}
LANGEVIN = {"SGLD": bz.SGLD, "PSGLD": bz.PSGLD, "SGHMC": bz.SGHMC, "SGNHT": bz.SGNHT}
POINTS = {
    "MAP": bz.MAP(chains=2, steps=400, step_size=bz.schedules.cosine(0.1)),
    "DeepEnsemble": bz.DeepEnsemble(chains=3, steps=400, step_size=bz.schedules.cosine(0.1)),
    "MCDropout": bz.MCDropout(rate=0.0, sites=("w",), steps=600, draws=2, learning_rate=bz.schedules.cosine(0.05)),
    "SWAG": bz.SWAG(chains=2, steps=600, step_size=2e-3),
}
CASES = {
    "scaled by 10, a row masked": (poutine.scale(rows_masked, scale=10.0), exact(0.5, 10.0)),
    "masked prior": (prior_masked, exact(0.0, 1.0)),
}


def fast_pairs(pairs, quick):
    """The pairs, those that are not ``quick`` marked slow: each family has one that runs always."""
    return [p if p in quick else pytest.param(*p, marks=pytest.mark.slow) for p in pairs]


FIRST = next(iter(CASES))
ALWAYS = {"NUTS", "MeanField", "Laplace", "SGLD", "MAP", "MCDropout"}


def both(names):
    """Name and case; the second case always for NUTS and mean field alone."""
    pairs = [(n, c) for n in names for c in CASES]
    quick = [(n, c) for n, c in pairs if n in ALWAYS and (c == FIRST or n in ("NUTS", "MeanField"))]
    return pytest.mark.parametrize("name, case", fast_pairs(pairs, quick))


def moments(model, backend):
    w = bz.fit(model, (Y,), backend, progress=False).draws.sites["w"].reshape(-1, 2).double()
    return w.mean(0), w.std(0)


@both(EXACT)
def test_moments(name, case):
    model, (mean, sd) = CASES[case]
    got, spread = moments(model, EXACT[name])
    torch.testing.assert_close(got, mean.double(), rtol=0, atol=0.15 * sd)
    torch.testing.assert_close(spread, torch.full_like(spread, sd), rtol=0.12, atol=0)


@both(LANGEVIN)
def test_moments_of_langevin_dynamics(name, case):
    model, (mean, sd) = CASES[case]
    step = {"PSGLD": 0.3 * sd**2, "SGHMC": 0.01 * sd**2, "SGNHT": 0.01 * sd**2}.get(name, 0.1 * sd**2)
    got, spread = moments(model, LANGEVIN[name](**STEPS, step_size=step))
    torch.testing.assert_close(got, mean.double(), rtol=0, atol=0.25 * sd)
    torch.testing.assert_close(spread, torch.full_like(spread, sd), rtol=0.2, atol=0)


@both(POINTS)
def test_modes(name, case):
    model, (mean, sd) = CASES[case]
    got, _ = moments(model, POINTS[name])
    torch.testing.assert_close(got, mean.double(), rtol=0, atol=0.1 * sd)


def test_every_backend_is_here():
    names = {name.split(",")[0] for name in (*EXACT, *LANGEVIN, *POINTS)}
    backends = {n for n in bz.__all__ if isinstance(getattr(bz, n), type) and hasattr(getattr(bz, n), "run")}
    assert names == backends - {"RowsOverRanks"}  # which is another one over ranks


@pytest.mark.slow
@pytest.mark.parametrize(
    "family",
    [bz.guides.MeanFieldNormal, pytest.param(AutoNormal, marks=pytest.mark.slow)],
    ids=["MeanFieldNormal", "AutoNormal"],
)
def test_a_positive_site_under_a_scale(family):
    """A rate with a gamma prior and Poisson counts: E[log joint] and the entropy of the log-normal q by hand."""
    counts = torch.tensor([3.0, 5.0, 4.0, 6.0])

    def model(y):
        rate = pyro.sample("rate", dist.Gamma(2.0, 0.5))
        with pyro.plate("rows", len(y)):
            pyro.sample("y", dist.Poisson(rate), obs=y)

    a, b, k = 2.0 + 18.0, 0.5 + 4.0, 5.0
    posterior = bz.fit(
        poutine.scale(model, scale=k),
        (counts,),
        bz.MeanField(steps=800, draws=1_500, particles=4, guide=family),
        progress=False,
    )
    # log joint = k ((a − 1) log r − b r): on u = log r, q = N(m, s²) maximises k ((a − 1) m − b exp(m + s²/2)) + log s + m,
    # so b exp(m + s²/2) = (a − 1) + 1/k and s² = 1 / (k b exp(m + s²/2))
    peak = (a - 1) + 1 / k
    s2 = 1 / (k * peak)
    m = math.log(peak / b) - s2 / 2
    u = posterior.draws.sites["rate"].double().log().flatten()
    assert abs(float(u.mean()) - m) < 0.15 * s2**0.5
    assert abs(float(u.std()) - s2**0.5) < 0.1 * s2**0.5


def test_mean_field_with_minibatches_of_a_scaled_model():
    def model(y, size=None):
        w = pyro.sample("w", dist.Normal(0.0, 1.0).expand([1, 2]).to_event(2))
        with pyro.plate("rows", size or len(y), subsample=y):
            pyro.sample("y", dist.Normal(w[0], S).to_event(1), obs=y)

    many = Y[:3].repeat(8, 1)
    precision = 0.1 * (1.0 + 24 / S**2)
    mean = 0.1 * many.sum(0) / S**2 / precision
    tempered = poutine.scale(model, scale=0.1)
    for backend in (bz.MeanField(steps=900, draws=1_000, batch_size=8), bz.MeanField(steps=500, draws=1_000)):
        w = (
            bz.fit(lambda y, size=None: tempered(y, size=size), (many,), backend, progress=False)
            .draws.sites["w"]
            .reshape(-1, 2)
        )
        torch.testing.assert_close(w.mean(0), mean, rtol=0, atol=0.15 * precision**-0.5)
        torch.testing.assert_close(w.std(0), torch.full([2], precision**-0.5), rtol=0.12, atol=0)


def test_masks_and_scales_of_the_log_joint_itself():
    """At a point, by hand."""
    u = torch.tensor([[0.3, -0.2]])
    joint = LogJoint(CASES["scaled by 10, a row masked"][0], (Y,))
    prior = dist.Normal(0.0, 1.0).log_prob(u).sum()
    rows = dist.Normal(u, S).log_prob(Y[:3]).sum()
    torch.testing.assert_close(joint(u)[0][0], 10.0 * (0.5 * prior + rows))
