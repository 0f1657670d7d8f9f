"""Models of Pyro's and NumPyro's tutorials: their log joint and its gradient at points."""

from contextlib import nullcontext

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import init_to_value
from pyro.infer.mcmc.util import initialize_model
from tutorial_models import CASES, X3, Y3

import bnn_zoo as bz
from bnn_zoo._scope import factory, seeded
from bnn_zoo.density import LogJoint
from bnn_zoo.types import ModelError

CPU = torch.device("cpu")
SLOWER = {"hidden Markov chain, DiscreteHMM"}
"""Run one chain after the other, and said: Pyro's ``safe_log`` is an autograd function that torch cannot batch."""


def spots(dim, dtype=torch.float64):
    """Three sets of positions ``[3 chains, dim]`` around the origin."""
    g = torch.Generator().manual_seed(dim)
    return [(size * torch.randn(3, dim, generator=g, dtype=torch.float64)).to(dtype) for size in (0.2, 0.5, 1.0)]


@pytest.fixture(scope="module")
def joint():
    """The log joint of a case in float64, built once for three chains."""
    built = {}

    def get(name):
        if name not in built:
            log_joint = LogJoint(CASES[name].model, CASES[name].data, dtype=torch.float64)
            with pytest.warns(UserWarning, match="slower, and right") if name in SLOWER else nullcontext():
                log_joint.build(3)
            built[name] = log_joint
        return built[name]

    return get


class Potential:
    """Pyro's own negative log density of unconstrained sites, which its NUTS uses, as a function of a flat position."""

    def __init__(self, case, joint):
        self.sites = joint.sites
        values = joint.constrain(torch.full((joint.dim,), 0.1, dtype=torch.float64))
        with factory(CPU, torch.float64), seeded(0, CPU):
            start = init_to_value(values=values)
            _, self.potential, self.transforms, _ = initialize_model(
                case.model, case.data, {}, init_strategy=start, max_plate_nesting=2
            )

    def parts(self, u):
        """The flat position as a dictionary of each site's unconstrained values."""
        sizes = [site.size for site in self.sites]
        return {s.name: p.reshape(s.flat_shape) for s, p in zip(self.sites, u.split(sizes), strict=True)}

    def log_joint(self, u):
        """Value and gradient by autograd at ``u [dim]``."""
        u = u.clone().requires_grad_()
        with factory(CPU, torch.float64), pyro.validation_enabled(False):
            value = -self.potential(self.parts(u))
            (gradient,) = torch.autograd.grad(value, u)
        return value.detach(), gradient

    def values(self, u):
        """Site values as arrays, and the log-Jacobian."""
        parts = self.parts(u)
        values = {k: self.transforms[k].inv(v) for k, v in parts.items()}
        jacobian = sum(-self.transforms[k].log_abs_det_jacobian(values[k], v).sum() for k, v in parts.items())
        return {k: v.numpy() for k, v in values.items()}, float(jacobian)


LONG = {
    "stochastic volatility, a site a step",
    "batting averages, a beta for each player",
    "counts, gamma-Poisson",
    "regression, Student's t noise",
    "multinomial votes",
    "censored survival times",
}
"""Of kinds that others stand for."""


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in LONG else n for n in CASES])
def test_log_joint(name, joint):
    """Value and gradient for three chains at three points are Pyro's own; the value is also SciPy's."""
    case, ours = CASES[name], joint(name)
    pyros = Potential(case, ours)
    for position in spots(ours.dim):
        value, gradient = ours(position)
        for chain, u in enumerate(position):
            wanted, slope = pyros.log_joint(u)
            torch.testing.assert_close(value[chain], wanted, rtol=1e-10, atol=1e-8)
            torch.testing.assert_close(gradient[chain], slope, rtol=1e-8, atol=1e-8)
            if case.density is not None:
                sites, jacobian = pyros.values(u)
                assert float(value[chain]) == pytest.approx(float(case.density(sites)) + jacobian, rel=1e-9, abs=1e-8)


def test_a_tensor_read_before_it_is_written_is_refused_by_name():
    """Autograd itself cannot do that, so neither can Pyro; what to write instead works."""

    def decay(y, written):
        rate = pyro.sample("rate", dist.Beta(2.0, 2.0))
        level = torch.ones(len(y))
        levels = [level[0]]
        for t in range(1, len(y)):
            if written:
                level[t] = level[t - 1] * rate
            levels.append(levels[-1] * rate)
        mean = level if written else torch.stack(levels)
        with pyro.plate("rows", len(y)):
            pyro.sample("y", dist.Normal(mean, 0.1), obs=y)

    y = 0.7 ** torch.arange(5.0, dtype=torch.float64)
    with pytest.raises(ModelError, match=r"read must not be written into afterwards.*torch\.stack"):
        LogJoint(decay, (y, True)).build(2)
    joint = LogJoint(decay, (y, False))
    u = torch.tensor([[0.4], [-0.3]], dtype=torch.float64)
    rate = torch.sigmoid(u)
    powers = torch.arange(5.0, dtype=torch.float64)
    wanted = dist.Normal(rate**powers, 0.1).log_prob(y).sum(-1) + (6 * (rate * (1 - rate)) * rate * (1 - rate)).log()[:, 0]
    torch.testing.assert_close(joint(u)[0], wanted)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_laws_made_in_another_dtype(dtype):
    """A law of the module keeps the dtype of the moment when it was made; sites have that of the data."""
    law = dist.Normal(torch.zeros(3, dtype=torch.float32), 1.0).to_event(1)

    def model(x, y):
        w = pyro.sample("w", law)
        with pyro.plate("rows", len(x)):
            pyro.sample("y", dist.Normal(x @ w, 0.5), obs=y)

    x, y = X3.to(dtype), Y3.to(dtype)
    posterior = bz.fit(model, (x, y), bz.NUTS(chains=2, warmup=100, draws=200, compile=False, processes=1), progress=False)
    assert posterior.draws.sites["w"].dtype == dtype
    covariance = torch.linalg.inv(torch.eye(3, dtype=dtype) + x.T @ x / 0.25)
    mean, sd = covariance @ x.T @ y / 0.25, covariance.diagonal() ** 0.5
    got = posterior.draws.sites["w"].flatten(0, 1)
    torch.testing.assert_close(got.mean(0) / sd, mean / sd, rtol=0, atol=0.3)
    torch.testing.assert_close(got.std(0) / sd, torch.ones_like(sd), rtol=0.2, atol=0)


def test_missing_covariates():
    """NaN that the model fills in by sites is taken; NaN that reaches the density is not."""

    def filled(x, y):
        w = pyro.sample("w", dist.Normal(0.0, 1.0))
        hole = pyro.sample("hole", dist.Normal(0.0, 1.0))
        with pyro.plate("rows", len(x)):
            pyro.sample("y", dist.Normal(w * torch.where(torch.isnan(x), hole, x), 1.0), obs=y)

    def taken_as_it_is(x, y):
        w = pyro.sample("w", dist.Normal(0.0, 1.0))
        pyro.factor("y", -(((y - w * x) ** 2).sum()))
        pyro.sample("z", dist.Normal(0.0, 1.0), obs=torch.zeros(()))

    x, y = torch.tensor([1.0, torch.nan, 2.0]), torch.tensor([0.5, 0.1, 1.2])
    value, gradient = LogJoint(filled, (x, y))(torch.tensor([[0.3, -0.4], [0.1, 0.2]]))
    w, hole = torch.tensor([0.3, 0.1]), torch.tensor([-0.4, 0.2])
    full = torch.stack([torch.ones(2), hole, 2 * torch.ones(2)], -1)
    wanted = dist.Normal(w[:, None] * full, 1.0).log_prob(y).sum(-1)
    wanted = wanted + dist.Normal(0.0, 1.0).log_prob(w) + dist.Normal(0.0, 1.0).log_prob(hole)
    torch.testing.assert_close(value, wanted)
    assert bool(torch.isfinite(gradient).all())
    with pytest.raises(ModelError, match="argument 0 of the data has NaN values: drop or impute them"):
        LogJoint(taken_as_it_is, (x, y))
