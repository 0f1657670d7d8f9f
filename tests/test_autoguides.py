"""Pyro's autoguides through ``MeanField``: on a traced graph, with the ELBO, gradient and optimum that Pyro has."""

from contextlib import ExitStack
from functools import partial

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import SVI, Trace_ELBO, autoguide
from targets import NOISE, correlated_design, orthogonal_design, regression, regression_posterior
from torch.distributions import transform_to

import bnn_zoo as bz
from bnn_zoo.density import Elbo
from bnn_zoo.density.noise import same_noise

GUIDES = {
    "normal": autoguide.AutoNormal,
    "diagonal": autoguide.AutoDiagonalNormal,
    "multivariate": autoguide.AutoMultivariateNormal,
    "low rank": partial(autoguide.AutoLowRankMultivariateNormal, rank=2),
    "delta": autoguide.AutoDelta,
    "gaussian": autoguide.AutoGaussian,
}
FLOW = "autoregressive flow"


def positive(x, y=None, *, size=None):
    """A regression with a site on the positive line: its Jacobian is a term of the ELBO."""
    noise = pyro.sample("noise", dist.LogNormal(0.0, 0.5))
    w = pyro.sample("w", dist.Normal(torch.zeros(x.shape[1], dtype=x.dtype), 1.0).to_event(1))
    with pyro.plate("data", size or len(x), subsample=x):
        pyro.sample("y", dist.Normal(x @ w, noise), obs=y)


def autoregressive(model, init_loc_fn):
    return autoguide.AutoIAFNormal(model, hidden_dim=[5])


def scoped(x):
    """Pyro's store, validation off, and the dtype of x, as in a run."""
    stack = ExitStack()
    for scope in (pyro.get_param_store().scope(), pyro.validation_enabled(False), bz._scope.factory(x.device, x.dtype)):
        stack.enter_context(scope)
    torch.manual_seed(0)
    return stack


def of_pyro(guide, model, rows, names):
    """Value and gradient of Pyro's own ELBO, with the parameters that the store has."""
    loss = Trace_ELBO().differentiable_loss(model, guide, *rows, size=16)
    leaves = dict(pyro.get_param_store().named_parameters())
    gradients = torch.autograd.grad(loss, [leaves[n] for n in names])
    return -loss.detach(), -torch.cat([g.reshape(-1) for g in gradients])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("name", [*GUIDES, FLOW])
def test_value_and_gradient_are_those_of_pyro(name, dtype):
    """Point by point, under the same random numbers, at parameters far from the start and on other rows."""
    x, y = correlated_design(16, dtype=dtype)
    family = autoregressive if name == FLOW else GUIDES[name]
    with scoped(x):
        guide = family(positive, init_loc_fn=autoguide.init_to_median)
        elbo = Elbo(positive, guide, (x[:8], y[:8]), {"size": 16})
        for rows, moved in (((x[:8], y[:8]), 0.0), ((x[8:], y[8:]), 0.3)):
            flat = elbo.start + moved * torch.sin(1.0 + torch.arange(len(elbo.start)).to(x))
            with torch.no_grad(), same_noise(x.device):
                value, _, gradient = elbo(flat, *rows)
            assert elbo.traced
            elbo.parameters(flat)
            with same_noise(x.device):
                wanted, slope = of_pyro(guide, positive, rows, elbo.shapes)
            close = 1e-9 if dtype == torch.float64 else 1e-4
            assert abs(float(value - wanted)) < close * (1.0 + abs(float(wanted)))
            assert (gradient - slope).abs().max() < 10 * close * (1.0 + slope.abs().max())


def evidence(x, y):
    covariance = x @ x.T + NOISE**2 * torch.eye(len(x), dtype=x.dtype)
    return dist.MultivariateNormal(torch.zeros_like(y), covariance).log_prob(y)


def test_at_the_posterior_each_draw_has_the_evidence():
    """Of a conjugate regression, whose posterior the family holds: log p(y, w) − log q(w) is log p(y) whatever w is."""
    x, y = correlated_design()
    mean, covariance = regression_posterior(x, y)
    root = torch.linalg.cholesky(covariance)
    best = {"loc": mean, "scale": root.diagonal(), "scale_tril": root / root.diagonal()[:, None]}
    with scoped(x):
        elbo = Elbo(regression, autoguide.AutoMultivariateNormal(regression), (x, y), {})
        values = {name: best[name.rsplit(".")[-1]] for name in elbo.shapes}
        pieces = [transform_to(elbo.constraints[n]).inv(v).reshape(-1) for n, v in values.items()]
        with torch.no_grad():
            value, entropy, _ = elbo(torch.cat(pieces))
    assert elbo.traced and abs(float(value - evidence(x, y))) < 1e-8
    assert abs(float(entropy - dist.MultivariateNormal(mean, covariance).entropy())) < 1e-8


QUICK = "multivariate", "delta"


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in GUIDES])
def test_draws_predictions_and_export(name):
    x, y = orthogonal_design(16)
    settings = bz.MeanField(chains=2, steps=12, draws=6, guide=GUIDES[name], particles=2)
    posterior = bz.fit(regression, (x, y), settings, seed=1, progress=False)
    again = settings.run(regression, (x, y), seed=1, progress=False)
    assert posterior.draws.attrs["traced"] and torch.equal(posterior.draws.sites["w"], again.sites["w"])
    assert posterior.predict(x[:3]).mean.shape == (3,)
    assert posterior.to_inference_data()["posterior"]["w"].shape == (2, 6, 4)


def test_log_q_is_the_density_of_the_draws():
    """Of the full covariance: the mean of log q over draws is minus the entropy, which the history has at the last step."""
    x, y = correlated_design(16)
    settings = bz.MeanField(steps=1, draws=400, guide=autoguide.AutoMultivariateNormal, learning_rate=1e-9)
    draws = settings.run(regression, (x, y), progress=False)
    log_q = draws.stats["log_q"].double()
    assert abs(float(log_q.mean() + draws.history["entropy"][0, -1])) < 5 * float(log_q.std()) / 20


@pytest.mark.slow
@pytest.mark.parametrize("name", ["normal", "diagonal", "multivariate", "delta"])
def test_optimum_is_that_of_svi_and_of_algebra(name):
    """ELBO at the end as ``pyro.infer.SVI`` has it; mean and covariance those of the posterior, or the best of the family:
    independent normals have its mean and the inverse diagonal of its precision."""
    x, y = correlated_design()
    mean, covariance = regression_posterior(x, y)
    steps, sd = 2000, covariance.diagonal().sqrt()
    rate = bz.schedules.cosine(0.05)
    settings = bz.MeanField(steps=steps, draws=4000, guide=GUIDES[name], learning_rate=rate, particles=8)
    draws = settings.run(regression, (x, y), progress=False)
    w = draws.sites["w"][0]
    assert ((w.mean(0) - mean) / sd).abs().max() < 0.15
    if name == "multivariate":
        assert ((torch.cov(w.T) - covariance) / torch.outer(sd, sd)).abs().max() < 0.2
    elif name != "delta":
        assert (w.std(0) * torch.linalg.inv(covariance).diagonal().sqrt() - 1.0).abs().max() < 0.15
    with scoped(x):
        guide = GUIDES[name](regression)
        optimiser = pyro.optim.PyroLRScheduler(
            torch.optim.lr_scheduler.CosineAnnealingLR,
            {"optimizer": torch.optim.Adam, "optim_args": {"lr": 0.05}, "T_max": steps},
        )
        svi = SVI(regression, guide, optimiser, Trace_ELBO())
        losses = []
        for _ in range(steps):
            losses.append(svi.step(x, y))
            optimiser.step()
    one = bz.MeanField(steps=steps, draws=1, guide=GUIDES[name], learning_rate=rate)  # one draw a step, as theirs
    theirs = -torch.tensor(losses[-300:]).double()
    ours = one.run(regression, (x, y), progress=False).history["elbo"][0, -300:].double()
    error = float(((theirs.var() + ours.var()) / 300).sqrt())
    assert abs(float(ours.mean() - theirs.mean())) < 5 * error + 0.2, (ours.mean(), theirs.mean(), error)
