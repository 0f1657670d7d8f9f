"""The contract of every prior: the law, its scale, its hierarchy, its place in a model."""

import math
import pickle

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
LAWS = {  # name: (prior of this scale, scipy's law of one weight)
    "Normal": (priors.Normal, lambda s: scipy.stats.norm(0, s)),
    "Laplace": (priors.Laplace, lambda s: scipy.stats.laplace(0, s)),
    "StudentT": (priors.StudentT, lambda s: scipy.stats.t(3, 0, s)),
    "HalfNormal": (priors.HalfNormal, lambda s: scipy.stats.halfnorm(0, s)),
    "HalfCauchy": (priors.HalfCauchy, lambda s: scipy.stats.halfcauchy(0, s)),
}
OTHERS = {  # name: priors to put through the shape contract; their densities have tests of their own
    "LogUniform": priors.LogUniform(),
    "Horseshoe": priors.Horseshoe(SCALE),
    "PerSite": PerSite({"*.bias": priors.Normal(2.0), "*": priors.Laplace()}),
}
IMPROPER = {"LogUniform"}  # has a density that cannot be sampled
RULES = {"fan_in": fan_in}
MEMBERS = {name: law(SCALE) for name, (law, _) in LAWS.items()} | OTHERS
SHAPES = [(), (4,), (3, 4), (6, 2, 5, 5)]


def law_of(prior, name="w", shape=(3, 4), **values):
    """The prior's distribution, its hyperparameters held at ``values``, and the sites that it sampled."""
    with poutine.trace() as sites, poutine.condition(data=values), torch.no_grad():
        law = prior(name, torch.Size(shape))
    return law, {n: m for n, m in sites.trace.nodes.items() if m["type"] == "sample"}


def test_table_is_complete():
    assert {*MEMBERS, *RULES} == set(priors.__all__)


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
    with pytest.raises(ValueError, match=r"StudentT: df must be > 0, got 0"):
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
