"""The log joint against Pyro's own, with Jacobians from autodiff: values, gradients, batches, minibatches, failures."""

import math
import warnings
from dataclasses import dataclass
from functools import cache
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.distributions import constraints
from pyro.infer.reparam import LocScaleReparam
from pyro.poutine.messenger import Messenger
from torch.autograd.functional import jacobian

import bnn_zoo as bz
from bnn_zoo.bijections import bijection
from bnn_zoo.density import LogJoint, from_prior, from_support, graph
from bnn_zoo.density.sites import is_latent

# ---------------------------------------------------------------------------------------------------- coordinates


def coordinates(value, support):
    """As many numbers of a site's value as its support has dimensions: what its density is a density of."""
    while hasattr(support, "base_constraint"):
        support = support.base_constraint
    if support is constraints.simplex:
        return value[..., :-1]
    if support is constraints.sphere:
        raise NotImplementedError
    if support in (constraints.lower_cholesky, constraints.positive_definite):
        rows, columns = torch.tril_indices(value.shape[-1], value.shape[-1])
        return value[..., rows, columns]
    if support in (constraints.corr_cholesky, constraints.corr_matrix):
        rows, columns = torch.tril_indices(value.shape[-1], value.shape[-1], -1)
        return value[..., rows, columns]
    return value


SUPPORTS = {
    "real": (constraints.real, ()),
    "real, independent": (constraints.independent(constraints.real, 2), (3, 2)),
    "positive": (constraints.positive, ()),
    "positive, independent": (constraints.independent(constraints.positive, 1), (4,)),
    "nonnegative": (constraints.nonnegative, ()),
    "greater_than": (constraints.greater_than(1.5), ()),
    "less_than": (constraints.less_than(-1.0), (3,)),
    "interval": (constraints.interval(-1.0, 3.0), ()),
    "interval, independent": (constraints.independent(constraints.interval(0.0, 2.0), 1), (3,)),
    "unit interval": (constraints.unit_interval, (2,)),
    "simplex": (constraints.simplex, (4,)),
    "simplex, independent": (constraints.independent(constraints.simplex, 1), (3, 4)),
    "ordered": (constraints.ordered_vector, (4,)),
    "positive ordered": (constraints.positive_ordered_vector, (4,)),
    "lower_cholesky": (constraints.lower_cholesky, (3, 3)),
    "lower_cholesky, independent": (constraints.independent(constraints.lower_cholesky, 1), (2, 3, 3)),
    "positive_definite": (constraints.positive_definite, (3, 3)),
    "positive_definite, 1x1": (constraints.positive_definite, (1, 1)),
    "positive_definite, independent": (constraints.independent(constraints.positive_definite, 1), (2, 3, 3)),
    "corr_cholesky": (constraints.corr_cholesky, (4, 4)),
    "corr_cholesky, independent": (constraints.independent(constraints.corr_cholesky, 1), (2, 3, 3)),
    "corr_matrix": (constraints.corr_matrix, (4, 4)),
}


def flat_point(transform, shape, seed=0, batch=()):
    size = (*batch, *transform.inverse_shape(shape))
    return torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("name", SUPPORTS)
def test_bijection(name):
    """Into the support, back again, with the log-Jacobian that autodiff gives, alone and in batches."""
    support, shape = SUPPORTS[name]
    transform = bijection(support)
    u = flat_point(transform, shape)
    value = transform(u)
    assert value.shape == shape and support.check(value).all()
    torch.testing.assert_close(transform.inv(value), u)

    matrix = jacobian(lambda v: coordinates(transform(v), support).reshape(-1), u).reshape(-1, u.numel())
    assert matrix.shape[0] == matrix.shape[1]
    expected = torch.linalg.slogdet(matrix).logabsdet
    torch.testing.assert_close(transform.log_abs_det_jacobian(u, value).sum(), expected)

    many = flat_point(transform, shape, seed=1, batch=(5,))
    values = transform(many)
    each = torch.stack([transform.log_abs_det_jacobian(a, transform(a)).sum() for a in many])
    torch.testing.assert_close(transform.log_abs_det_jacobian(many, values).reshape(5, -1).sum(1), each)
    batched = torch.func.vmap(lambda a: transform.log_abs_det_jacobian(a, transform(a)).sum())(many)
    torch.testing.assert_close(batched, each)


def test_bijection_refuses_discrete_support():
    with pytest.raises(NotImplementedError):
        bijection(constraints.nonnegative_integer)


# ---------------------------------------------------------------------------------------------------- models

pytestmark = pytest.mark.filterwarnings("ignore:Singular sample detected")  # torch's Wishart says so of sound ones


@dataclass(frozen=True)
class Case:
    """A model, its arguments in float64, and how many numbers are inferred."""

    model: Any
    args: tuple
    dim: int


def numbers(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


X, Y = numbers(7, 2), numbers(7, seed=1)
LABELS = torch.tensor([0, 2, 1, 1, 0, 2, 2])


def bnn(prior, likelihood=None, outputs=1, hidden=()):
    net = bz.nets.MLP(2, outputs, hidden)
    return bz.BNN(net, prior, likelihood or bz.likelihoods.Gaussian())


def eight_schools(J, sigma, y):
    mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = pyro.sample("tau", dist.HalfCauchy(5.0))
    with pyro.plate("schools", J):
        theta = pyro.sample("theta", dist.Normal(mu, tau))
        pyro.sample("y", dist.Normal(theta, sigma), obs=y)


SCHOOLS = (
    8,
    torch.tensor([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0], dtype=torch.float64),
    torch.tensor([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0], dtype=torch.float64),
)


def nested_plates(y):
    items, groups = y.shape
    scale = pyro.sample("scale", dist.Gamma(2.0, 1.0))
    with pyro.plate("groups", groups, dim=-1):
        centre = pyro.sample("centre", dist.Normal(0.0, scale))
        spread = pyro.sample("spread", dist.HalfNormal(1.0))
        with pyro.plate("items", items, dim=-2):
            share = pyro.sample("share", dist.Beta(2.0, 2.0))
            pyro.sample("y", dist.Normal(centre + share, spread), obs=y)


def mixture(y):
    weights = pyro.sample("weights", dist.Dirichlet(torch.tensor([1.0, 2.0, 3.0])))
    with pyro.plate("parts", 3):
        law = pyro.sample("law", dist.Dirichlet(torch.ones(2)))
    with pyro.plate("rows", len(y)):
        parts = dist.Normal(law[:, 0].expand(len(y), 3), 1.0)
        pyro.sample("y", dist.MixtureSameFamily(dist.Categorical(weights), parts), obs=y)


def correlated(y):
    scales = pyro.sample("scales", dist.HalfNormal(1.0).expand([3]).to_event(1))
    factor = pyro.sample("factor", dist.LKJCholesky(3, 2.0))
    with pyro.plate("rows", len(y)):
        pyro.sample("y", dist.MultivariateNormal(torch.zeros(3), scale_tril=scales[:, None] * factor), obs=y)


def correlation_matrix():
    pyro.sample("correlation", dist.LKJ(3, 1.5))


def covariance(y):
    sigma = pyro.sample("sigma", dist.Wishart(torch.tensor(4.0), torch.eye(2)))
    with pyro.plate("rows", len(y)):
        pyro.sample("y", dist.MultivariateNormal(torch.zeros(2), covariance_matrix=sigma), obs=y)


def flat_cholesky(y):
    factor = pyro.sample("factor", dist.ImproperUniform(constraints.lower_cholesky, (), (2, 2)))
    with pyro.plate("rows", len(y)):
        pyro.sample("y", dist.MultivariateNormal(torch.zeros(2), scale_tril=factor), obs=y)


def ordinal(x, y):
    slope = pyro.sample("slope", dist.Normal(0.0, 1.0))
    cuts = pyro.sample("cuts", dist.ImproperUniform(constraints.ordered_vector, (), (2,)))
    pyro.factor("prior", dist.Normal(0.0, 3.0).log_prob(cuts).sum())
    below = torch.sigmoid(cuts - (slope * x).unsqueeze(-1))  # dist.OrderedLogistic writes in place: no vmap over that
    shares = torch.cat([below[:, :1], below.diff(dim=-1), 1 - below[:, -1:]], -1)
    with pyro.plate("rows", len(y)):
        pyro.sample("y", dist.Categorical(shares), obs=y)


def dynamic_support(y):
    top = pyro.sample("top", dist.Gamma(3.0, 1.0))
    low = pyro.sample("low", dist.Uniform(0.0, top))
    with pyro.plate("rows", len(y)):
        pyro.sample("y", dist.Normal(low, top), obs=y)


def flat_priors(y):
    mean = pyro.sample("mean", dist.ImproperUniform(constraints.real, (), ()))
    sd = pyro.sample("sd", dist.ImproperUniform(constraints.positive, (), ()))
    with pyro.plate("rows", len(y)):
        pyro.sample("y", dist.Normal(mean, sd), obs=y)


def factor_and_deterministic(y):
    a = pyro.sample("a", dist.Normal(torch.zeros(2), 1.0).to_event(1))
    b = pyro.deterministic("b", a.exp())
    pyro.factor("extra", -(b**2).sum())
    pyro.sample("y", dist.Normal(b.sum(), 1.0).expand(y.shape).to_event(1), obs=y)


def funnel():
    v = pyro.sample("v", dist.Normal(0.0, 3.0))
    pyro.sample("x", dist.Normal(torch.zeros(4), (v / 2).exp()).to_event(1))


def gaussian_process(x, y):
    length = pyro.sample("length", dist.LogNormal(0.0, 0.5))
    noise = pyro.sample("noise", dist.HalfNormal(1.0))
    distance = (x[:, None] - x[None, :]) / length
    kernel = (-0.5 * distance**2).exp() + (noise**2 + 1e-4) * torch.eye(len(x))
    pyro.sample("y", dist.MultivariateNormal(torch.zeros(len(x)), covariance_matrix=kernel), obs=y)


def masked(y):
    mean = pyro.sample("mean", dist.Normal(0.0, 1.0))
    with pyro.plate("rows", len(y)), poutine.mask(mask=torch.arange(len(y)) % 2 == 0):
        pyro.sample("y", dist.Normal(mean, 1.0), obs=y)


def imputed(y):
    mean = pyro.sample("mean", dist.Normal(0.0, 1.0))
    with pyro.plate("rows", len(y)):
        pyro.sample("y", dist.Normal(mean, 1.0), obs=y, obs_mask=torch.arange(len(y)) % 2 == 0)


PRIORS = bz.priors
HORSESHOE = bnn(PRIORS.Horseshoe(0.5))
DECENTRED = {name: LocScaleReparam(0.0) for name in ("0.weight", "0.bias")}

CASES = {
    "bnn, normal": Case(bnn(PRIORS.Normal(PRIORS.fan_in), hidden=(3,)), (X, Y), 13 + 1),
    "bnn, laplace, fixed noise": Case(bnn(PRIORS.Laplace(0.7), bz.likelihoods.Gaussian(0.3)), (X, Y), 3),
    "bnn, student-t, categorical": Case(bnn(PRIORS.StudentT(1.0, 4.0), bz.likelihoods.Categorical(), 3), (X, LABELS), 9),
    "bnn, hierarchical, bernoulli": Case(
        bnn(PRIORS.Normal(PRIORS.HalfCauchy(1.0)), bz.likelihoods.Bernoulli()), (X, LABELS % 2), 3 + 2
    ),
    "bnn, horseshoe, heteroscedastic": Case(
        bnn(PRIORS.Horseshoe(0.5), bz.likelihoods.HeteroscedasticGaussian(), 2), (X, Y), 6 + 6 + 2
    ),
    "bnn, horseshoe, decentred": Case(poutine.reparam(HORSESHOE, config=DECENTRED), (X, Y), 3 + 3 + 2 + 1),
    "bnn, half-normal weights, per site": Case(
        bnn(PRIORS.PerSite({"*.bias": PRIORS.HalfNormal(2.0), "*": PRIORS.Normal(PRIORS.HalfNormal(1.0))})),
        (X, Y),
        3 + 1 + 1,
    ),
    "bnn, tempered": Case(poutine.scale(bnn(PRIORS.Normal()), scale=0.25), (X, Y), 3 + 1),
    "eight schools": Case(eight_schools, SCHOOLS, 10),
    "nested plates": Case(nested_plates, (numbers(3, 2),), 1 + 2 + 2 + 6),
    "dirichlet, in a plate, mixture": Case(mixture, (Y,), 2 + 3),
    "lkj cholesky": Case(correlated, (numbers(5, 3),), 3 + 3),
    "lkj": Case(correlation_matrix, (), 3),
    "wishart": Case(covariance, (numbers(5, 2),), 3),
    "flat lower cholesky": Case(flat_cholesky, (numbers(5, 2),), 3),
    "ordered": Case(ordinal, (Y, LABELS), 3),
    "dynamic support": Case(dynamic_support, (Y,), 2),
    "flat priors": Case(flat_priors, (Y,), 2),
    "factor and deterministic": Case(factor_and_deterministic, (Y,), 2),
    "no data": Case(funnel, (), 5),
    "gaussian process": Case(gaussian_process, (X[:, 0], Y), 2),
    "masked": Case(masked, (Y,), 1),
    "imputed": Case(imputed, (Y,), 1 + 7),
}


class Reference(Messenger):
    """Runs a model at an unconstrained point, with the log-Jacobian of every site from autodiff."""

    def __init__(self, u):
        super().__init__()
        self.u, self.log_jacobian, self.values = u, torch.zeros((), dtype=u.dtype), {}

    def _pyro_sample(self, msg):
        if not is_latent(msg) or msg["done"]:
            return
        support = msg["fn"].support
        transform = bijection(support)
        shape = transform.inverse_shape(msg["fn"].shape())
        mine, self.u = self.u[: math.prod(shape)].reshape(shape), self.u[math.prod(shape) :]
        matrix = jacobian(lambda v: coordinates(transform(v), support).reshape(-1), mine, create_graph=True)
        self.log_jacobian = self.log_jacobian + torch.linalg.slogdet(matrix.reshape(mine.numel(), -1)).logabsdet
        self.values[msg["name"]] = msg["value"] = transform(mine)
        msg["done"] = True


def reference(case, u):
    """Log joint, gradient, site values and log-Jacobian at one float64 point, by Pyro's handlers and autodiff."""
    u = u.detach().requires_grad_()
    torch.set_default_dtype(torch.float64)
    try:
        with Reference(u) as run:
            trace = poutine.trace(case.model).get_trace(*case.args)
    finally:
        torch.set_default_dtype(torch.float32)
    assert run.u.numel() == 0
    value = trace.log_prob_sum() + run.log_jacobian
    return value.detach(), torch.autograd.grad(value, u)[0], run.values, run.log_jacobian.detach()


def cast(args, dtype):
    return tuple(a.to(dtype) if isinstance(a, torch.Tensor) and a.is_floating_point() else a for a in args)


@cache
def joint(name, dtype):
    """One log joint of a case for all tests: tracing is what takes time."""
    return LogJoint(CASES[name].model, cast(CASES[name].args, dtype), dtype=dtype)


LONG = {"bnn, horseshoe, heteroscedastic", "bnn, half-normal weights, per site", "bnn, hierarchical, bernoulli"}


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in LONG else n for n in CASES])
def test_value_and_gradient(name):
    """In float64 and float32, one chain and three: Pyro's own log joint plus Jacobians, and autodiff's gradient."""
    case = CASES[name]
    points = 0.7 * numbers(3, case.dim, seed=5)
    values, gradients, sites, jacobians = zip(*(reference(case, u) for u in points), strict=True)
    values, gradients, jacobians = torch.stack(values), torch.stack(gradients), torch.stack(jacobians)
    for dtype, tolerance in ((torch.float64, 1e-9), (torch.float32, 2e-4)):
        log_joint = joint(name, dtype)
        close = {"rtol": tolerance, "atol": tolerance * max(1.0, float(values.abs().max()))}
        assert (log_joint.dim, log_joint.dtype) == (case.dim, dtype)
        assert sum(site.size for site in log_joint.sites) == case.dim
        before = log_joint.evaluations
        for chains in (1, 3) if dtype is torch.float64 else (3,):
            value, gradient = log_joint(points[:chains].to(dtype))
            assert (value.shape, gradient.shape) == ((chains,), (chains, case.dim))
            assert value.dtype == gradient.dtype == dtype
            torch.testing.assert_close(value.double(), values[:chains], **close)
            torch.testing.assert_close(gradient.double(), gradients[:chains], **close)
        assert log_joint.evaluations - before == (4 if dtype is torch.float64 else 3)
        torch.testing.assert_close(log_joint.value(points.to(dtype)).double(), values, **close)
        torch.testing.assert_close(log_joint.log_jacobian(points.to(dtype)).double(), jacobians, **close)
        constrained = log_joint.constrain(points.to(dtype))
        assert list(constrained) == [site.name for site in log_joint.sites]
        for site in log_joint.sites:
            expected = torch.stack([s[site.name].detach() for s in sites])
            assert constrained[site.name].shape == (3, *site.shape)
            torch.testing.assert_close(constrained[site.name].double(), expected, rtol=1e-4, atol=1e-5)
    assert torch.get_default_dtype() == torch.float32


@pytest.mark.parametrize("name", CASES)
def test_constrain_and_back(name):
    """Round trip of positions with any leading dimensions; values lie in their supports."""
    log_joint = joint(name, torch.float64)
    position = 0.7 * numbers(2, 3, log_joint.dim, seed=6)
    values = log_joint.constrain(position)
    assert all(values[s.name].shape == (2, 3, *s.shape) for s in log_joint.sites)
    torch.testing.assert_close(log_joint.unconstrain(values), position)
    one = log_joint.constrain(position[0, 0])
    torch.testing.assert_close(log_joint.unconstrain(one), position[0, 0])


@pytest.mark.parametrize("start", [from_prior, from_support])
@pytest.mark.parametrize("name", CASES)
def test_starting_points(name, start):
    """Finite, apart from each other, the same for the same seed, and global random state is left alone."""
    log_joint = joint(name, torch.float64)
    before = torch.get_rng_state()
    first, again = (start(log_joint, 3, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(before, torch.get_rng_state())
    assert first.shape == (3, log_joint.dim) and first.dtype == torch.float64
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    value, gradient = log_joint(first)
    assert value.isfinite().all() and gradient.isfinite().all()
    assert len(first.unique(dim=0)) == 3


def test_start_from_support_is_uniform():
    log_joint = joint("no data", torch.float64)
    position = from_support(log_joint, 200, torch.Generator().manual_seed(0))
    assert position.abs().max() <= 2 and position.abs().max() > 1.9 and position.mean().abs() < 0.2


def test_no_starting_point():
    def impossible():
        a = pyro.sample("a", dist.Normal(0.0, 1.0))
        pyro.factor("never", a - math.inf)

    with pytest.raises(bz.ModelError, match=r"no starting point: 2 of 2 chains .* check the priors"):
        from_prior(LogJoint(impossible), 2, torch.Generator())


# ---------------------------------------------------------------------------------------------------- rows


ROWS_X, ROWS_Y = numbers(12, 2, seed=7), numbers(12, seed=8)


def regression(x, y=None, *, size=None):
    slope = pyro.sample("slope", dist.Normal(torch.zeros(2), 1.0).to_event(1))
    noise = pyro.sample("noise", dist.HalfNormal(1.0))
    with pyro.plate("data", size or len(x), subsample=x):
        return pyro.sample("y", dist.Normal(x @ slope, noise), obs=y)


MINIBATCHED = {
    "bnn": bnn(PRIORS.Normal(PRIORS.HalfNormal(1.0))),
    "regression": regression,
    "tempered": poutine.scale(regression, scale=0.5),
}


@pytest.mark.parametrize("name", MINIBATCHED)
def test_minibatches_average_to_the_whole(name):
    """Over a partition of the rows, the N/n-scaled value and gradient average to those of all rows."""
    model = MINIBATCHED[name]
    whole = LogJoint(model, (ROWS_X, ROWS_Y))
    part = LogJoint(model, (ROWS_X[:4], ROWS_Y[:4]), {"size": 12})
    assert [(r.site, r.plate, r.seen, r.size) for r in whole.rows] == [("y", "data", 12, 12)]
    assert [(r.site, r.plate, r.seen, r.size) for r in part.rows] == [("y", "data", 4, 12)]
    position = numbers(2, whole.dim, seed=9)
    pieces = [part(position, ROWS_X[i : i + 4], ROWS_Y[i : i + 4]) for i in (0, 4, 8)]
    assert not torch.allclose(pieces[0][0], pieces[1][0])
    for mean, expected in zip((torch.stack(p).mean(0) for p in zip(*pieces, strict=True)), whole(position), strict=True):
        torch.testing.assert_close(mean, expected)
    assert part.evaluations == 6
    assert len(part._graphs) == 1


def test_rows_of_another_number_are_traced_again():
    part = LogJoint(regression, (ROWS_X[:4], ROWS_Y[:4]), {"size": 12})
    whole = LogJoint(regression, (ROWS_X, ROWS_Y))
    position = numbers(2, 3)
    torch.testing.assert_close(part(position, ROWS_X, ROWS_Y), whole(position))


@pytest.mark.parametrize("name, chains", [("regression", 1), ("tempered", 3), ("bnn", 3)])
def test_rows_per_chain(name, chains):
    """Every chain sees its own rows."""
    model, rows = MINIBATCHED[name], slice(0, 4)
    shared = LogJoint(model, (ROWS_X[rows], ROWS_Y[rows]), {"size": 12})
    own = LogJoint(model, (ROWS_X[rows], ROWS_Y[rows]), {"size": 12}, rows_per_chain=True)
    position = numbers(chains, shared.dim, seed=10)
    index = torch.arange(12).reshape(3, 4)[:chains]
    value, gradient = own(position, ROWS_X[index], ROWS_Y[index])
    for c in range(chains):
        expected = shared(position[c : c + 1], ROWS_X[index[c]], ROWS_Y[index[c]])
        torch.testing.assert_close((value[c : c + 1], gradient[c : c + 1]), expected)
    start = from_prior(own, chains, torch.Generator().manual_seed(0))
    assert start.shape == (chains, own.dim)


# ---------------------------------------------------------------------------------------------------- the graph


def test_graph_holds_no_handler(monkeypatch):
    """After the first call nothing of the model or of Pyro runs any more."""
    calls = []

    def counted(x, y):
        calls.append(1)
        return regression(x, y)

    log_joint = LogJoint(counted, (ROWS_X, ROWS_Y))
    position = numbers(2, 3)
    first = log_joint(position)
    ran = len(calls)
    torch.testing.assert_close(log_joint(position), first, rtol=0, atol=0)
    log_joint(position + 1)
    assert len(calls) == ran


def test_validation_setting_is_put_back():
    for setting in (True, False):
        with pyro.validation_enabled(setting):
            joint("eight schools", torch.float64)(numbers(2, 10))
            assert torch.distributions.Distribution._validate_args is setting
            with pytest.raises(bz.ModelError, match="no latent site"):
                LogJoint(lambda: None)
            assert torch.distributions.Distribution._validate_args is setting


def test_compile_gives_the_same(monkeypatch):
    """torch.compile of the graph, on a model small enough to compile in seconds."""
    monkeypatch.setattr("bnn_zoo.density.log_joint.PATIENCE", 0)
    plain, compiled = LogJoint(regression, (ROWS_X, ROWS_Y)), LogJoint(regression, (ROWS_X, ROWS_Y), compile=True)
    position = numbers(2, 3)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)  # torch's own imports
        warnings.filterwarnings("ignore", "Guards may run slower on Python 3.13.0")
        got = compiled(position)
    torch.testing.assert_close(got, plain(position))


def unsupported(*_, **settings):
    raise RuntimeError("torch.compile is not supported on Python 3.99")


def test_compile_failing_falls_back_with_one_warning(monkeypatch):
    def no_compiler(graph, **settings):
        def call(*inputs):
            raise RuntimeError("no C++ compiler\nlong story")

        return call

    monkeypatch.setattr("bnn_zoo.density.compiled.compile_small", lambda *_: None)
    monkeypatch.setattr(torch._inductor, "compile", unsupported)
    monkeypatch.setattr(graph.torch, "compile", no_compiler)
    monkeypatch.setattr("bnn_zoo.density.log_joint.PATIENCE", 1)
    plain, compiled = LogJoint(regression, (ROWS_X, ROWS_Y)), LogJoint(regression, (ROWS_X, ROWS_Y), compile=True)
    position = numbers(2, 3)
    with pytest.warns(UserWarning, match=r"no C\+\+ compiler\); going on .* compile=False") as caught:
        first, second, _ = compiled(position), compiled(position), compiled(position)
    assert len(caught) == 1
    torch.testing.assert_close(first, plain(position), rtol=0, atol=0)
    torch.testing.assert_close(second, first, rtol=0, atol=0)


def test_compile_refusing_at_once_falls_back(monkeypatch):
    """torch.compile itself may raise (Python too new, no support), not only the first call."""

    monkeypatch.setattr("bnn_zoo.density.compiled.compile_small", lambda *_: None)
    monkeypatch.setattr(torch._inductor, "compile", unsupported)
    monkeypatch.setattr(graph.torch, "compile", unsupported)
    monkeypatch.setattr("bnn_zoo.density.log_joint.PATIENCE", 0)
    compiled = LogJoint(regression, (ROWS_X, ROWS_Y), compile=True)
    position = numbers(2, 3)
    with pytest.warns(UserWarning, match="not supported") as caught:
        first, _ = compiled(position), compiled(position)
    assert len(caught) == 1
    torch.testing.assert_close(first, LogJoint(regression, (ROWS_X, ROWS_Y))(position), rtol=0, atol=0)


# ---------------------------------------------------------------------------------------------------- failures of one chain


def test_writing_in_place():
    """On what is batched it is as good as arithmetic, and no call sees what an earlier one wrote."""

    def model():
        a = pyro.sample("a", dist.Normal(torch.zeros(3), 1.0).to_event(1))
        z = torch.zeros_like(a)
        z += a
        z[0] *= 2.0
        pyro.factor("f", -(z**2).sum())

    log_joint, position = LogJoint(model), numbers(1, 3).float()
    z = position * torch.tensor([2.0, 1.0, 1.0])
    expected = dist.Normal(0.0, 1.0).log_prob(position).sum(1) - (z**2).sum(1)
    for _ in range(3):
        torch.testing.assert_close(log_joint(position)[0], expected)
    torch.testing.assert_close(log_joint(position.repeat(2, 1))[0], expected.repeat(2))


def one_correlation(y):
    """Positive definite only where |a| < 1."""
    a = pyro.sample("a", dist.Normal(0.0, 1.0))
    covariance = torch.eye(2) + a * (1 - torch.eye(2))
    pyro.sample("y", dist.MultivariateNormal(torch.zeros(2), covariance_matrix=covariance), obs=y)


@pytest.mark.parametrize("traced", [True, False], ids=["after", "in the first call"])
def test_broken_cholesky_is_nan_for_its_chain(traced):
    """Samplers reject that chain's point; the others go on."""
    log_joint = LogJoint(one_correlation, (numbers(2),))
    good = torch.tensor([[0.1], [0.5], [0.3]], dtype=torch.float64)
    if traced:
        log_joint(good)
    bad = good.clone()
    bad[1] = 2.0
    before = log_joint.evaluations
    value, gradient = log_joint(bad)
    assert log_joint.evaluations - before == 3
    assert value.isnan().tolist() == [False, True, False]
    assert gradient[[0, 2]].isfinite().all()
    expected, slope = log_joint(good)
    torch.testing.assert_close((value[[0, 2]], gradient[[0, 2]]), (expected[[0, 2]], slope[[0, 2]]))


def test_unlucky_prior_draws():
    """A third of this prior is no covariance: looking at the model must not fail on that, whatever the random state."""
    for seed in range(5):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        assert LogJoint(one_correlation, (numbers(2),)).dim == 1
        assert torch.equal(before, torch.get_rng_state())


def test_start_avoids_broken_cholesky():
    log_joint = LogJoint(one_correlation, (numbers(2),))
    start = from_prior(log_joint, 8, torch.Generator().manual_seed(0))
    assert (start.abs() < 1).all()


# ---------------------------------------------------------------------------------------------------- other refusals


def test_integer_and_plain_arguments_pass_through():
    """Arguments that are no tensors reach the model as they are, and tensors inside keyword arguments are constants."""

    def model(n, name, x, *, scale):
        assert (n, name) == (3, "a")
        pyro.sample("z", dist.Normal(x.sum(), scale))

    log_joint = LogJoint(model, (3, "a", ROWS_Y), {"scale": torch.tensor(2.0, dtype=torch.float64)})
    z = numbers(2, 1)
    torch.testing.assert_close(log_joint(z)[0], dist.Normal(ROWS_Y.sum(), 2.0).log_prob(z[:, 0]))


def test_dtype_and_device_default_to_the_data():
    assert joint("no data", torch.float64).dtype == torch.float64
    assert LogJoint(funnel).dtype == torch.float32
    assert LogJoint(regression, (ROWS_X, ROWS_Y)).dtype == torch.float64
    assert LogJoint(regression, cast((ROWS_X, ROWS_Y), torch.float32)).dtype == torch.float32


def test_sites_in_the_order_of_the_model():
    names = [s.name for s in joint("bnn, normal", torch.float64).sites]
    assert names[:4] == ["0.weight", "0.bias", "2.weight", "2.bias"] and names[4] == "noise"
