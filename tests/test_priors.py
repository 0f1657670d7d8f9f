"""The contract of every prior: the law, its scale, its hierarchy, its place in a model."""

import math
import pickle

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import scipy.stats
import torch
from pyro import poutine

from bnn_zoo import priors
from bnn_zoo.priors import PerSite, fan_in
from bnn_zoo.types import Prior

SCALE = 0.7


class RootInverseGamma:
    """SciPy's law of s where s² is inverse gamma, as τ = 1/s² ~ Gamma(alpha/2, mean 1/width²) says."""

    def __init__(self, width, alpha=1.0):
        self.square = scipy.stats.invgamma(alpha / 2, scale=alpha / 2 * width**2)

    def logpdf(self, s):
        return self.square.logpdf(np.square(s)) + np.log(2 * s)

    def rvs(self, shape, random_state):
        return self.square.rvs(shape, random_state=random_state) ** 0.5


LAWS = {  # name: (prior of this scale, scipy's law of one weight)
    "Normal": (priors.Normal, lambda s: scipy.stats.norm(0, s)),
    "Laplace": (priors.Laplace, lambda s: scipy.stats.laplace(0, s)),
    "StudentT": (priors.StudentT, lambda s: scipy.stats.t(3, 0, s)),
    "HalfNormal": (priors.HalfNormal, lambda s: scipy.stats.halfnorm(0, s)),
    "HalfCauchy": (priors.HalfCauchy, lambda s: scipy.stats.halfcauchy(0, s)),
    "Cauchy": (priors.Cauchy, lambda s: scipy.stats.cauchy(0, s)),
    "GenNormal": (priors.GenNormal, lambda s: scipy.stats.gennorm(1.5, 0, s)),
    "LogNormal": (priors.LogNormal, lambda s: scipy.stats.lognorm(s)),
    "GammaPrecision": (priors.GammaPrecision, RootInverseGamma),
    "SpatialNormal": (priors.SpatialNormal, lambda s: scipy.stats.norm(0, s)),  # without places
    "MatrixNormal": (priors.MatrixNormal, lambda s: scipy.stats.norm(0, s)),  # without covariances
}
OTHERS = {  # name: priors to put through the shape contract; their densities have tests of their own
    "LogUniform": priors.LogUniform(),
    "Horseshoe": priors.Horseshoe(SCALE),
    "RegularisedHorseshoe": priors.RegularisedHorseshoe(SCALE),
    "ScaleMixture": priors.ScaleMixture(SCALE),
    "Uniform": priors.Uniform(SCALE),
    "PerSite": PerSite({"*.bias": priors.Normal(2.0), "*": priors.Laplace()}),
    "GaussianMixture": priors.GaussianMixture(3, zero=0.5),
    "Shared": priors.Shared(priors.Normal(priors.HalfCauchy(1.0)), "net"),
}
IMPROPER = {"LogUniform"}  # has a density that cannot be sampled
RULES = {"fan_in": fan_in, "fan_in_plus_one": priors.fan_in_plus_one, "he": priors.he, "glorot": priors.glorot}
GROUPS = {"PerInput": priors.PerInput, "PerUnit": priors.PerUnit}
MEMBERS = {name: law(SCALE) for name, (law, _) in LAWS.items()} | OTHERS
SHAPES = [(), (4,), (3, 4), (6, 2, 5, 5)]


def law_of(prior, name="w", shape=(3, 4), **values):
    """The prior's distribution, its hyperparameters held at ``values``, and the sites that it sampled."""
    with poutine.trace() as sites, poutine.condition(data=values), torch.no_grad():
        law = prior(name, torch.Size(shape))
    return law, {n: m for n, m in sites.trace.nodes.items() if m["type"] == "sample"}


def test_table_is_complete():
    assert {*MEMBERS, *RULES, *GROUPS} == set(priors.__all__)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", MEMBERS)
def test_shapes(name, shape):
    """One event over the whole tensor, so that a site's log density is one number."""
    assert isinstance(MEMBERS[name], Prior)
    law, _ = law_of(MEMBERS[name], shape=shape)
    assert (law.batch_shape, law.event_shape) == ((), shape)
    value = torch.full(shape, 0.5) if name in IMPROPER else law.sample()
    assert value.shape == shape and law.log_prob(value).shape == ()
    assert law.support.check(value).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", LAWS)
def test_density(name, dtype):
    law, reference = LAWS[name]
    value = reference(SCALE).rvs((3, 4), random_state=0)
    torch.set_default_dtype(dtype)
    try:
        made, sites = law_of(law(SCALE))
        got = made.log_prob(torch.tensor(value, dtype=dtype))
    finally:
        torch.set_default_dtype(torch.float32)
    assert not sites and got.dtype == dtype
    tolerance = 1e-5 if dtype is torch.float32 else 1e-12
    assert got.item() == pytest.approx(reference(SCALE).logpdf(value).sum(), rel=tolerance)


def test_student_t_degrees_of_freedom():
    law, _ = law_of(priors.StudentT(SCALE, df=5.0))
    assert law.log_prob(torch.ones(3, 4)).item() == pytest.approx(12 * scipy.stats.t(5, 0, SCALE).logpdf(1), rel=1e-5)
    assert law_of(priors.StudentT(2.0, df=6.0))[0].stddev[0, 0].item() == pytest.approx(2.0 * math.sqrt(6 / 4))


@pytest.mark.parametrize("shape, expected", [((), 1), ((4,), 1), ((3, 4), 4**-0.5), ((6, 2, 5, 5), 50**-0.5)], ids=str)
def test_fan_in(shape, expected):
    assert fan_in(torch.Size(shape)) == pytest.approx(expected)


@pytest.mark.parametrize(
    "rule, shape, expected",
    [
        (priors.he, (3, 4), (2 / 4) ** 0.5),
        (priors.he, (6, 2, 5, 5), (2 / 50) ** 0.5),
        (priors.he, (4,), 2**0.5),
        (priors.glorot, (3, 4), (2 / 7) ** 0.5),
        (priors.glorot, (6, 2, 5, 5), (2 / 200) ** 0.5),
        (priors.glorot, (4,), (2 / 5) ** 0.5),
        (priors.fan_in_plus_one, (3, 4), 5**-0.5),
    ],
)
def test_other_rules(rule, shape, expected):
    assert rule(torch.Size(shape)) == pytest.approx(expected)


def test_rules_are_those_of_torch():
    """Kaiming's and Xavier's standard deviations as torch.nn.init computes them, of a convolution."""
    w = torch.empty(64, 32, 3, 3)
    assert priors.he(w.shape) == pytest.approx(float(torch.nn.init.kaiming_normal_(w).std()), rel=0.02)
    assert priors.glorot(w.shape) == pytest.approx(float(torch.nn.init.xavier_normal_(w).std()), rel=0.02)


@pytest.mark.parametrize("width", [1.0, 4.0])
def test_prior_functions_keep_their_scale_as_width_doubles(width):
    """What fan-in laws are for: the variance of a unit's sum is that of one input, at any width."""
    for law in (priors.Normal(fan_in), priors.GenNormal(fan_in, power=2.0), priors.Laplace(fan_in)):
        units = int(100 * width)
        made, _ = law_of(law, shape=(1, units))
        variance = units * float(made.variance.mean())
        assert variance == pytest.approx({"Normal": 1.0, "GenNormal": 0.5, "Laplace": 2.0}[type(law).__name__], rel=1e-5)


@pytest.mark.parametrize(
    "group, shape, groups",
    [
        (priors.PerInput, (3, 4), (1, 4)),
        (priors.PerUnit, (3, 4), (3, 1)),
        (priors.PerInput, (6, 2, 5, 5), (1, 2, 1, 1)),
        (priors.PerUnit, (6, 2, 5, 5), (6, 1, 1, 1)),
        (priors.PerInput, (3,), (1,)),
        (priors.PerUnit, (3,), (3,)),
    ],
)
def test_scales_of_groups(group, shape, groups):
    """One site of the groups' shape, each group's scale on the weights of that group."""
    held = torch.rand(groups) + 0.5
    law, sites = law_of(priors.Normal(group(priors.HalfCauchy(0.3))), shape=shape, w_scale=held)
    assert list(sites) == ["w_scale"] and sites["w_scale"]["fn"].event_shape == groups
    assert sites["w_scale"]["fn"].log_prob(held).item() == pytest.approx(
        scipy.stats.halfcauchy(0, 0.3).logpdf(held.numpy()).sum(), rel=1e-5
    )
    torch.testing.assert_close(law.stddev, held.expand(shape))


def test_automatic_relevance_determination():
    """Neal's x0.2:0.5:1 for four inputs: a common precision of mean 400, and one for each input around it."""
    width = 0.2 / 4  # N^(2/α₂) with α₂ = 1 on the mean precision
    prior = priors.Normal(priors.PerInput(priors.GammaPrecision(priors.GammaPrecision(width, alpha=0.5), alpha=1.0)))
    each = torch.tensor([[0.1, 0.2, 0.3, 0.4]])
    law, sites = law_of(prior, shape=(8, 4), w_scale=each, w_scale_scale=torch.tensor(0.3))
    assert list(sites) == ["w_scale_scale", "w_scale"]
    tau, common = each.numpy() ** -2.0, 0.3**-2
    inner = scipy.stats.gamma(0.5, scale=2 * common).logpdf(tau) + np.log(2 * each.numpy() ** -3.0)
    outer = scipy.stats.gamma(0.25, scale=400 / 0.25).logpdf(common) + np.log(2 * 0.3**-3)
    assert sites["w_scale"]["fn"].log_prob(each).item() == pytest.approx(inner.sum(), rel=1e-5)
    assert sites["w_scale_scale"]["fn"].log_prob(torch.tensor(0.3)).item() == pytest.approx(outer, rel=1e-5)
    torch.testing.assert_close(law.stddev, each.expand(8, 4))


def test_gamma_precision_makes_students():
    """N(0, 1/τ) under τ ~ Gamma(α/2, mean 1/width²) is Student's t of α degrees of freedom, here by quadrature."""
    s, alpha, width = torch.linspace(-6, 9, 4001).double().exp(), 3.0, 0.5
    law, _ = law_of(priors.GammaPrecision(width, alpha=alpha), shape=())
    for w in (0.0, 0.4, 2.0):
        inside = law.log_prob(s) + dist.Normal(0.0, s).log_prob(torch.tensor(w).double()) + s.log()
        found = torch.trapezoid(inside.exp(), s.log())
        assert found.item() == pytest.approx(scipy.stats.t(alpha, 0, width).pdf(w), rel=1e-4)


@pytest.mark.parametrize(
    "prior",
    [
        priors.GammaPrecision(0.7, alpha=4.0),
        priors.GenNormal(0.7, power=0.8),
        priors.ScaleMixture(0.7),
        priors.GaussianMixture(1, location=0.5, scale=0.3, zero=0.4, zero_scale=0.1),
    ],
    ids=lambda prior: type(prior).__name__,
)
def test_draws_have_the_law(prior):
    """Kolmogorov–Smirnov distance of 20,000 draws to the distribution function by the density itself."""
    torch.manual_seed(0)
    law, _ = law_of(prior, shape=(20_000,))
    draws = law.sample().double().sort().values
    edge = float(draws.abs().max()) * 1.5
    positive = isinstance(prior, priors.GammaPrecision)
    grid = torch.linspace(1e-4 if positive else -edge, edge, 400_001).double()
    one, _ = law_of(prior, shape=())
    density = one.log_prob(grid.float() if not positive else grid).double().exp()
    cumulative = torch.cumulative_trapezoid(density, grid)
    assert float(cumulative[-1]) == pytest.approx(1.0, abs=2e-3)
    at = torch.searchsorted(grid[1:], draws).clamp(max=len(cumulative) - 1)
    steps = torch.arange(1, 20_001).double() / 20_000
    assert (cumulative[at] - steps).abs().max() < 1.95 / 20_000**0.5 + 1e-3


def test_scale_mixture():
    """Blundell's π N(0, σ₁²) + (1 − π) N(0, σ₂²), each weight for itself."""
    law, sites = law_of(priors.ScaleMixture(1.0, share=0.25, ratio=math.exp(-6)), shape=(2, 3))
    value = torch.tensor([[0.0, 0.001, 0.1], [-1.0, 2.0, -0.002]])
    both = 0.25 * scipy.stats.norm(0, 1).pdf(value) + 0.75 * scipy.stats.norm(0, math.exp(-6)).pdf(value)
    assert not sites and law.log_prob(value).item() == pytest.approx(np.log(both).sum(), rel=1e-5)


def test_uniform():
    law, _ = law_of(priors.Uniform(0.5), shape=(2,))
    assert law.log_prob(torch.tensor([0.4, -0.4])).item() == pytest.approx(0.0) and not law.support.check(torch.ones(2))


def test_log_normal_by_its_median():
    law, _ = law_of(priors.LogNormal(0.5, median=3.0), shape=())
    assert law.log_prob(torch.tensor(2.0)).item() == pytest.approx(scipy.stats.lognorm(0.5, scale=3.0).logpdf(2.0), rel=1e-5)


def test_regularised_horseshoe():
    """A large weight is N(0, c²), a small one as under the horseshoe; c² is inverse gamma."""
    lam, tau, c = torch.tensor([1e-3, 1.0, 1e6]), torch.tensor(0.1), torch.tensor(1.7)
    held = {"w_local_scale": lam, "w_global_scale": tau, "w_slab": c}
    law, sites = law_of(priors.RegularisedHorseshoe(0.3, slab=2.0, df=4.0), shape=(3,), **held)
    assert list(sites) == ["w_global_scale", "w_slab", "w_local_scale"]
    free = (tau * lam).square()
    torch.testing.assert_close(law.stddev.square(), c.square() * free / (c.square() + free))
    assert law.stddev[2].item() == pytest.approx(1.7, rel=1e-3)
    expected = scipy.stats.invgamma(2.0, scale=2.0 * 4.0).logpdf(1.7**2) + math.log(2 * 1.7)
    assert sites["w_slab"]["fn"].log_prob(c).item() == pytest.approx(expected, rel=1e-5)


def mixture_of(share, location, scale, value):
    """Log density of independent values under a mixture of normals, by SciPy."""
    parts = share[:, None] * scipy.stats.norm(location[:, None], scale[:, None]).pdf(value.ravel())
    return np.log(parts.sum(0)).sum()


def test_gaussian_mixture():
    """π_j N(μ_j, σ_j²) with Dirichlet, normal and gamma hyperpriors, and a component at 0 whose share is given."""
    share, location, scale = np.array([0.2, 0.8]), np.array([-1.0, 0.5]), np.array([0.1, 0.3])
    held = {"w_share": share, "w_location": location, "w_scale": scale, "w_zero_scale": np.array([0.05])}
    held = {name: torch.tensor(v, dtype=torch.float32) for name, v in held.items()}
    gamma = priors.GammaPrecision((0.1 / 250) ** 0.5, alpha=500)  # Ullrich's Gamma(250, 0.1) on precisions
    prior = priors.GaussianMixture(2, location=priors.Normal(0.6), scale=gamma, concentration=1.5, zero=0.9)
    law, sites = law_of(prior, shape=(3, 4), **held)
    value = np.linspace(-1.2, 1.2, 12).reshape(3, 4)
    parts = (np.r_[0.9, 0.1 * share], np.r_[0.0, location], np.r_[0.05, scale])
    expected = mixture_of(*parts, value)
    assert law.log_prob(torch.tensor(value, dtype=torch.float32)).item() == pytest.approx(expected, rel=1e-4)
    mean = (parts[0] * parts[1]).sum()
    variance = (parts[0] * (parts[1] ** 2 + parts[2] ** 2)).sum() - mean**2
    assert law.mean[0, 0].item() == pytest.approx(mean) and law.variance[1, 1].item() == pytest.approx(variance, rel=1e-5)
    tau = scale**-2.0
    hyper = {
        "w_location": scipy.stats.norm(0, 0.6).logpdf(location).sum(),
        "w_scale": (scipy.stats.gamma(250, scale=10.0).logpdf(tau) + np.log(2 * scale**-3.0)).sum(),
        "w_share": scipy.stats.dirichlet([1.5, 1.5]).logpdf(share),
        "w_zero_scale": scipy.stats.gamma(250, scale=10.0).logpdf(400.0) + np.log(2 * 0.05**-3.0),
    }
    assert set(sites) == set(hyper)
    for name, density in hyper.items():
        assert sites[name]["fn"].log_prob(held[name]).item() == pytest.approx(density, rel=1e-4), name


def test_gaussian_mixture_with_given_parts_and_a_random_share():
    """Means and widths that are given are no sites; Beta on the share at 0 is one; one component has no π."""
    prior = priors.GaussianMixture(1, location=0.5, scale=0.2, zero=dist.Beta(9.0, 1.0), zero_scale=0.1)
    law, sites = law_of(prior, shape=(2,), w_zero_share=torch.tensor([0.75]))
    assert list(sites) == ["w_zero_share"]
    assert sites["w_zero_share"]["fn"].log_prob(torch.tensor([0.75])).item() == pytest.approx(
        scipy.stats.beta(9, 1).logpdf(0.75), rel=1e-5
    )
    expected = mixture_of(np.array([0.75, 0.25]), np.array([0.0, 0.5]), np.array([0.1, 0.2]), np.array([0.1, 0.6]))
    assert law.log_prob(torch.tensor([0.1, 0.6])).item() == pytest.approx(expected, rel=1e-5)
    places = torch.tensor([-1.0, 0.0, 1.0])
    law, sites = law_of(priors.GaussianMixture(3, location=places, scale=0.1), shape=(2,), w_share=torch.ones(3) / 3)
    expected = mixture_of(np.ones(3) / 3, places.numpy(), np.full(3, 0.1), np.array([0.1, 0.6]))
    assert list(sites) == ["w_share"]
    assert law.log_prob(torch.tensor([0.1, 0.6])).item() == pytest.approx(expected, rel=1e-4)


def weights_of(prior, *names, shape=(2, 3), **held):
    """The laws of several weights in one run, as a BNN asks for them, and the sites of that run."""
    with poutine.trace() as sites, poutine.condition(data=held), torch.no_grad():
        run = prior.begin()
        laws = [run(name, torch.Size(shape)) for name in names]
    return laws, {n: m for n, m in sites.trace.nodes.items() if m["type"] == "sample"}


def test_shared():
    """One scale for two weights, counted once; the next run has its own."""
    prior = priors.Shared(priors.Normal(priors.HalfCauchy(0.3)), "net")
    torch.manual_seed(0)
    (a, b), sites = weights_of(prior, "0.weight", "1.weight")
    assert list(sites) == ["net_scale"] and sites["net_scale"]["fn"].log_prob(torch.tensor(0.9)).item() == pytest.approx(
        scipy.stats.halfcauchy(0, 0.3).logpdf(0.9), rel=1e-5
    )
    torch.testing.assert_close(a.stddev, b.stddev)
    (c, _), _ = weights_of(prior, "0.weight", "1.weight")
    assert not torch.equal(a.stddev, c.stddev)


def test_shared_some_sites():
    prior = priors.Shared(priors.Horseshoe(), "net", sites=("global_*",))
    _, sites = weights_of(prior, "0.weight", "1.weight")
    assert list(sites) == ["net_global_scale", "0.weight_local_scale", "1.weight_local_scale"]


def test_shared_among_some_weights():
    """One object under two patterns is one; a table without any begins as itself."""
    shared = priors.Shared(priors.GaussianMixture(2), "net")
    prior = PerSite({"0.weight": shared, "*.bias": priors.Normal(1.0), "*": shared})
    _, sites = weights_of(prior, "0.weight", "0.bias", "1.weight")
    assert list(sites) == ["net_location", "net_scale", "net_share"]
    table = PerSite({"*": priors.Normal(1.0)})
    assert table.begin() is table


def test_shared_refuses_what_differs():
    """A rule of the shape is another law at another weight; local scales have other shapes."""
    prior = priors.Shared(priors.Normal(priors.HalfCauchy(fan_in)), "net")
    weights_of(prior, "0.weight", "1.weight")  # of one shape, so of one law
    run = prior.begin()
    with poutine.trace(), pytest.raises(ValueError, match=r"'net_scale' has another law at '1\.weight' than at"):
        run("0.weight", torch.Size([2, 3]))
        run("1.weight", torch.Size([2, 4]))
    run = priors.Shared(priors.Horseshoe(), "net").begin()
    with poutine.trace(), pytest.raises(ValueError, match="'net_local_scale' has another law"):
        run("0.weight", torch.Size([2, 3]))
        run("1.weight", torch.Size([2, 4]))
    with pytest.raises(TypeError, match=r"write Shared\(Normal\(…\), 'net'\)"):
        priors.Normal(priors.Shared(priors.HalfCauchy(1.0), "net"))


@pytest.mark.parametrize("dtype, rel", [(torch.float32, 1e-4), (torch.float64, 1e-10)], ids=str)
@pytest.mark.parametrize("power", [1.0, 2.0])
def test_spatial_normal(power, dtype, rel):
    """SciPy's multivariate normal over the nine places of a kernel, independent over filters and channels."""
    shape, sd = (2, 3, 3, 3), 0.7
    value = np.random.default_rng(0).normal(size=shape)
    places = [(i, j) for i in range(3) for j in range(3)]
    covariance = [[sd**2 * math.exp(-((math.dist(a, b) / 1.5) ** power)) for b in places] for a in places]
    expected = scipy.stats.multivariate_normal(np.zeros(9), covariance).logpdf(value.reshape(6, 9)).sum()
    torch.set_default_dtype(dtype)
    try:
        law, _ = law_of(priors.SpatialNormal(sd, length=1.5, power=power), shape=shape)
        found = law.log_prob(torch.tensor(value, dtype=dtype)).item()
    finally:
        torch.set_default_dtype(torch.float32)
    assert found == pytest.approx(expected, rel=rel)
    torch.testing.assert_close(law.variance, torch.full(shape, sd**2, dtype=dtype))


@pytest.mark.parametrize("dtype, rel", [(torch.float32, 1e-4), (torch.float64, 1e-10)], ids=str)
def test_matrix_normal(dtype, rel):
    """SciPy's matrix normal, with its scale; a convolution's columns are in·kh·kw."""
    generator = np.random.default_rng(0)
    row, column = (scipy.stats.wishart(n + 2, np.eye(n)).rvs(random_state=generator) for n in (3, 4))
    value = generator.normal(size=(3, 4))
    torch.set_default_dtype(dtype)
    try:
        prior = priors.MatrixNormal(0.5, rows=row, columns=column)
        found = [
            law_of(prior, shape=s)[0].log_prob(torch.tensor(value.reshape(s), dtype=dtype)) for s in [(3, 4), (3, 2, 2)]
        ]
        law, _ = law_of(prior)
    finally:
        torch.set_default_dtype(torch.float32)
    expected = scipy.stats.matrix_normal(np.zeros((3, 4)), 0.25 * row, column).logpdf(value)
    assert [f.item() for f in found] == pytest.approx([expected] * 2, rel=rel)
    torch.testing.assert_close(law.variance, torch.tensor(0.25 * np.outer(np.diag(row), np.diag(column)), dtype=dtype))


def test_draws_of_correlated_weights():
    """The covariance of 20,000 draws is that of the law, under scales of its own for each unit."""
    torch.manual_seed(0)
    row, column = np.array([[1.0, 0.6], [0.6, 2.0]]), np.array([[1.0, -0.3, 0.0], [-0.3, 1.0, 0.5], [0.0, 0.5, 1.0]])
    law, _ = law_of(priors.MatrixNormal(torch.tensor([[1.0], [0.5]]), rows=row, columns=column), shape=(2, 3))
    scaled = np.diag([1.0, 0.5]) @ row @ np.diag([1.0, 0.5])
    found = np.cov(law.sample((20_000,)).flatten(1).T.numpy())
    assert np.abs(found - np.kron(scaled, column)).max() < 0.05
    expected = scipy.stats.matrix_normal(np.zeros((2, 3)), scaled, column).logpdf(np.ones((2, 3)))
    assert law.log_prob(torch.ones(2, 3)).item() == pytest.approx(expected, rel=1e-5)


def test_correlations_that_do_not_fit():
    with pytest.raises(ValueError, match=r"'w'.*rows must be 3 × 3 for a weight of shape \(3, 4\), got 2 × 2"):
        law_of(priors.MatrixNormal(rows=np.eye(2)))
    with pytest.raises(ValueError, match="singular in single precision: take a shorter length, or a power below 2"):
        law_of(priors.SpatialNormal(length=20.0, power=2.0), shape=(1, 1, 5, 5))
    law_of(priors.SpatialNormal(length=20.0, power=1.9), shape=(1, 1, 3, 3))  # as advised


def test_group_horseshoe():
    """Louizos, Ullrich & Welling 2017: w_ij ~ N(0, s² z̃_j²), z̃_j ~ C⁺(0, 1) for each input j, s ~ C⁺(0, τ₀) for the layer.

    It is the hierarchy of groups, in z_j = s z̃_j: their log density plus that of the change of variables, log s an input.
    """
    prior = priors.Normal(priors.PerInput(priors.HalfCauchy(priors.HalfCauchy(0.1))))
    s, z = 0.3, np.array([0.5, 1.0, 2.0, 0.1])
    held = {"w_scale_scale": torch.tensor(s), "w_scale": torch.tensor(s * z, dtype=torch.float32)[None]}
    law, sites = law_of(prior, shape=(3, 4), **held)
    value = np.random.default_rng(0).normal(size=(3, 4))
    found = law.log_prob(torch.tensor(value, dtype=torch.float32)) + sum(sites[n]["fn"].log_prob(v) for n, v in held.items())
    cauchy = scipy.stats.halfcauchy
    expected = cauchy(0, 0.1).logpdf(s) + cauchy(0, 1).logpdf(z).sum() + scipy.stats.norm(0, s * z).logpdf(value).sum()
    assert float(found) + 4 * math.log(s) == pytest.approx(expected, rel=1e-5)


def test_group_normal_jeffreys():
    """p(z) ∝ 1/|z| on the real line for each input, w_ij ~ N(0, z_j²): |z| is the scale."""
    z = torch.tensor([[0.5, -1.0, 2.0, -0.1]])
    law, sites = law_of(priors.Normal(priors.PerInput(priors.LogUniform())), shape=(3, 4), w_scale=z)
    torch.testing.assert_close(law.stddev, z.abs().expand(3, 4))
    assert sites["w_scale"]["fn"].log_prob(z).item() == pytest.approx(-np.log(np.abs(z.numpy())).sum(), rel=1e-5)
    assert law_of(priors.Normal(priors.LogUniform()), w_scale=torch.tensor(-2.0))[0].stddev[0, 0] == 2.0


def test_a_scale_cannot_be_negative():
    with pytest.raises(ValueError, match=r"'w_scale': a scale is > 0, but Normal also gives .* such as HalfNormal\(1\.0\)"):
        law_of(priors.Laplace(priors.Normal(1.0)))
    law_of(priors.Laplace(priors.HalfNormal(1.0)))  # as advised


BAD = {
    "components": (lambda: priors.GaussianMixture(0), "components must be a whole number, 1 or more, got 0"),
    "zero": (lambda: priors.GaussianMixture(2, zero=1.0), "GaussianMixture: zero must be between 0 and 1, got 1.0"),
    "zero_scale": (lambda: priors.GaussianMixture(2, zero_scale=0.1), "give its share too, zero=0.999"),
    "locations": (lambda: priors.GaussianMixture(2, location=torch.zeros(3)), "one number or 2, .* got shape \\(3,\\)"),
    "widths": (lambda: priors.GaussianMixture(2, scale=-1.0), "scale must be a finite number > 0, got -1.0"),
    "length": (lambda: priors.SpatialNormal(1.0, length=0), "SpatialNormal: length must be a finite number > 0, got 0"),
    "power of a distance": (lambda: priors.SpatialNormal(1.0, power=3.0), "power must be at most 2"),
    "rows": (lambda: priors.MatrixNormal(rows=[[1.0, 0.5]]), r"rows must be a symmetric matrix, .* shape \[1, 2\]"),
    "columns": (lambda: priors.MatrixNormal(columns=[[1.0, 2.0], [2.0, 1.0]]), "columns must be positive definite"),
    "name": (lambda: priors.Shared(priors.Normal(1.0), "a.b"), "name is that of the common sites, .* got 'a.b'"),
    "alpha": (lambda: priors.GammaPrecision(1.0, alpha=0), "GammaPrecision: alpha must be a finite number > 0, got 0"),
    "power": (lambda: priors.GenNormal(1.0, power=-1), "GenNormal: power must be a finite number > 0, got -1"),
    "median": (lambda: priors.LogNormal(1.0, median=0), "LogNormal: median must be a finite number > 0, got 0"),
    "share": (lambda: priors.ScaleMixture(1.0, share=1.0), "ScaleMixture: share must be between 0 and 1, got 1.0"),
    "ratio": (lambda: priors.ScaleMixture(1.0, ratio=2.0), "ScaleMixture: ratio must be between 0 and 1, got 2.0"),
    "slab": (
        lambda: priors.RegularisedHorseshoe(1.0, slab=0),
        "RegularisedHorseshoe: slab must be a finite number > 0, got 0",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_settings(what):
    make, message = BAD[what]
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("given", [1.0, priors.HalfCauchy, dist.HalfCauchy(1.0)])
def test_groups_need_a_prior(given):
    with pytest.raises(TypeError, match=r"PerInput needs the prior of each group's scale, such as HalfCauchy\(1\.0\)"):
        priors.PerInput(given)


@pytest.mark.parametrize("name", LAWS)
def test_scale_by_rule(name):
    """A rule is any function of the shape; its number may be a tensor too."""
    law, reference = LAWS[name]
    made, sites = law_of(law(fan_in))
    assert not sites
    assert made.log_prob(torch.ones(3, 4)).item() == pytest.approx(12 * reference(0.5).logpdf(1), rel=1e-5)
    made, _ = law_of(law(lambda shape: torch.tensor(2.0)))
    assert made.log_prob(torch.ones(3, 4)).item() == pytest.approx(12 * reference(2.0).logpdf(1), rel=1e-5)


@pytest.mark.parametrize("hyper", [priors.HalfCauchy(0.3), priors.HalfNormal(2.0), dist.Gamma(2.0, 1.0)], ids=repr)
@pytest.mark.parametrize("name", LAWS)
def test_scale_by_prior(name, hyper):
    """One scale for the whole tensor, sampled at ``<weight>_scale`` from exactly the law that was given."""
    law, reference = LAWS[name]
    made, sites = law_of(law(hyper), "0.weight", **{"0.weight_scale": torch.tensor(1.5)})
    assert list(sites) == ["0.weight_scale"]
    hyper_law = sites["0.weight_scale"]["fn"]
    assert hyper_law.shape() == ()
    expected = hyper if isinstance(hyper, dist.Distribution) else hyper("", torch.Size())
    assert torch.equal(hyper_law.log_prob(torch.tensor(0.9)), expected.log_prob(torch.tensor(0.9)))
    assert made.log_prob(torch.ones(3, 4)).item() == pytest.approx(12 * reference(1.5).logpdf(1), rel=1e-5)


def test_a_rule_in_the_prior_of_a_scale_is_one_of_the_weight():
    """``HalfCauchy(fan_in)`` as a scale: it is the weight that has inputs, at any depth and in groups."""
    for prior in (
        priors.Normal(priors.HalfCauchy(fan_in)),
        priors.Normal(priors.PerInput(priors.HalfCauchy(fan_in))),
        priors.Horseshoe(fan_in),
    ):
        _, sites = law_of(prior)
        law = next(iter(sites.values()))["fn"]
        value = torch.full(law.event_shape, 0.9)
        expected = scipy.stats.halfcauchy(0, 0.5).logpdf(value.numpy()).sum()
        assert law.log_prob(value).item() == pytest.approx(expected, rel=1e-5)
    _, sites = law_of(priors.Normal(priors.HalfNormal(priors.HalfCauchy(fan_in))))
    assert sites["w_scale_scale"]["fn"].log_prob(torch.tensor(0.9)).item() == pytest.approx(
        scipy.stats.halfcauchy(0, 0.5).logpdf(0.9), rel=1e-5
    )


def test_hierarchy_of_two_levels():
    _, sites = law_of(priors.Normal(priors.HalfNormal(priors.HalfCauchy(1.0))), "0.weight")
    assert list(sites) == ["0.weight_scale_scale", "0.weight_scale"]


@pytest.mark.parametrize("scale, more", [(0.3, []), (priors.HalfCauchy(1.0), ["w_scale"])], ids=["number", "prior"])
def test_horseshoe(scale, more):
    """τ ~ C⁺(0, scale), λ ~ C⁺(0, 1) of the weight's shape, w ~ N(0, τ²λ²)."""
    lam = torch.tensor([0.5, 1.0, 2.0])
    held = {"w_scale": torch.tensor(0.3), "w_global_scale": torch.tensor(0.2), "w_local_scale": lam}
    law, sites = law_of(priors.Horseshoe(scale), shape=(3,), **held)
    assert list(sites) == [*more, "w_global_scale", "w_local_scale"]
    tau_law, lam_law = sites["w_global_scale"]["fn"], sites["w_local_scale"]["fn"]
    cauchy = scipy.stats.halfcauchy
    assert tau_law.log_prob(torch.tensor(0.2)).item() == pytest.approx(cauchy(0, 0.3).logpdf(0.2), rel=1e-5)
    assert lam_law.event_shape == (3,)
    assert lam_law.log_prob(lam).item() == pytest.approx(cauchy(0, 1).logpdf(lam.numpy()).sum(), rel=1e-5)
    value = torch.tensor([0.1, -0.2, 0.3])
    expected = scipy.stats.norm(0, 0.2 * lam.numpy()).logpdf(value.numpy()).sum()
    assert law.log_prob(value).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    "name, scale", [("0.bias", 1.0), ("0.weight", 2.0), ("3.weight", 3.0), ("head", 4.0), ("0.weight_mask", 4.0)]
)
def test_per_site(name, scale):
    """The first pattern that fits, with shell wildcards."""
    table = {"*.bias": 1.0, "0.weight": 2.0, "[1-9].weight": 3.0, "*": 4.0}
    prior = PerSite({pattern: priors.Normal(s) for pattern, s in table.items()})
    assert law_of(prior, name)[0].stddev[0, 0].item() == scale


def test_per_site_takes_hierarchies_and_functions():
    def own(name, shape):
        return dist.Normal(0.0, 9.0).expand(shape).to_event(len(shape))

    prior = PerSite({"*.bias": own, "*": priors.Horseshoe()})
    assert not law_of(prior, "0.bias")[1]
    assert list(law_of(prior, "0.weight")[1]) == ["0.weight_global_scale", "0.weight_local_scale"]


def test_per_site_without_a_fitting_pattern():
    with pytest.raises(KeyError, match=r"no prior for '2\.weight'.*\['\*\.bias'\].*add one, such as '\*'"):
        law_of(PerSite({"*.bias": priors.Normal()}), "2.weight")


@pytest.mark.parametrize(
    "prior", [*MEMBERS.values(), priors.Normal(fan_in), priors.Laplace(priors.HalfCauchy(1.0))], ids=repr
)
def test_pickles_and_compares(prior):
    again = pickle.loads(pickle.dumps(prior))
    assert again == prior and repr(again) == repr(prior)
    assert law_of(prior)[0].event_shape == (3, 4)


@pytest.mark.parametrize("scale", [0.0, -1.0, math.nan, math.inf], ids=str)
@pytest.mark.parametrize("law", [law for law, _ in LAWS.values()] + [priors.Horseshoe])
def test_scale_must_be_positive(law, scale):
    with pytest.raises(ValueError, match=rf"{law.__name__}: the scale must be a finite number > 0, got {scale}"):
        law(scale)


def test_scale_of_a_wrong_kind():
    with pytest.raises(TypeError, match=r"Normal: .* a number, a rule such as fan_in, or a prior .* got 'fan_in'"):
        priors.Normal("fan_in")
    with pytest.raises(TypeError, match=r"the scale rule of 'w' must return a number, got NoneType"):
        law_of(priors.Normal(lambda shape: None))
    with pytest.raises(TypeError, match=r"Laplace: .* or a prior such as HalfCauchy\(1\.0\); got <class"):
        priors.Laplace(priors.HalfCauchy)
    with pytest.raises(ValueError, match=r"StudentT: df must be a finite number > 0, got 0"):
        priors.StudentT(1.0, df=0)


def test_inside_a_model_with_its_sites():
    """A prior is called in the model, so the hyperparameters are latent sites like any other."""

    def model():
        return pyro.sample("w", priors.Normal(priors.HalfCauchy(1.0))("w", torch.Size([2])))

    trace = poutine.trace(model).get_trace()
    assert [n for n in trace.nodes if not n.startswith("_")] == ["w_scale", "w"]
    scale, w = trace.nodes["w_scale"]["value"], trace.nodes["w"]["value"]
    expected = dist.HalfCauchy(1.0).log_prob(scale) + dist.Normal(0.0, scale).log_prob(w).sum()
    torch.testing.assert_close(trace.log_prob_sum(), expected)
