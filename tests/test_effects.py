"""Models from models: non-centred sites, fixed sites, and points among the sites of a variational family."""

import math
import pickle
from fnmatch import fnmatchcase
from functools import partial

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import scipy.stats
import torch
from pyro import poutine
from targets import NOISE, orthogonal_design

import bnn_zoo as bz
from bnn_zoo import priors
from bnn_zoo.density import Elbo
from bnn_zoo.guides import MeanFieldNormal
from bnn_zoo.handlers import Fixed, NonCentred

X = torch.randn(12, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
Y = X[:, 0] - 0.5 * X[:, 1]
HORSESHOE = priors.PerSite({"*.bias": priors.Normal(1.0), "*": priors.Horseshoe(0.5)})


def network(prior=HORSESHOE, hidden=(4,)):
    return bz.BNN(bz.nets.MLP(3, 1, hidden=hidden), prior, bz.likelihoods.Gaussian(0.3))


def run(backend, model, data=(X, Y)):
    return backend.run(model, data, seed=0, progress=False)


def at(log_joint, **values):
    """The log joint at one point of the sites' own space, without the Jacobians of their supports."""
    position = log_joint.unconstrain({n: torch.as_tensor(v, dtype=torch.float64) for n, v in values.items()})[None]
    return float(log_joint(position)[0] - log_joint.log_jacobian(position))


# ------------------------------------------------------------------------------------------------------------ non-centred

SIGMA, EFFECT = torch.tensor([15.0, 10.0, 16.0, 11.0]).double(), torch.tensor([28.0, 8.0, -3.0, 7.0]).double()


def schools(sigma, y):
    mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = pyro.sample("tau", dist.HalfCauchy(5.0))
    with pyro.plate("schools", len(y)):
        theta = pyro.sample("theta", dist.Normal(mu, tau))
        pyro.sample("y", dist.Normal(theta, sigma), obs=y)


def test_eight_schools_in_other_coordinates():
    """log p(μ, τ, z, y) = log p(μ, τ, θ = μ + τ z, y) + J log τ, the centred density by SciPy."""
    log_joint = bz.LogJoint(NonCentred(schools, "theta"), (SIGMA, EFFECT))
    assert [s.name for s in log_joint.sites] == ["mu", "tau", "theta_decentered"]
    for mu, tau, z in ((4.0, 3.0, [0.5, -1.0, 2.0, 0.0]), (-2.0, 0.01, [1.0, 1.0, -3.0, 0.2])):
        theta, norm = mu + tau * np.array(z), scipy.stats.norm
        centred = norm(0, 5).logpdf(mu) + scipy.stats.halfcauchy(0, 5).logpdf(tau) + norm(mu, tau).logpdf(theta).sum()
        centred += norm(theta, SIGMA.numpy()).logpdf(EFFECT.numpy()).sum()
        found = at(log_joint, mu=mu, tau=tau, theta_decentered=z)
        assert found == pytest.approx(centred + 4 * math.log(tau), rel=1e-10)


LAWS = {
    "normal": priors.Normal(priors.PerInput(priors.HalfCauchy(1.0))),
    "laplace": priors.Laplace(priors.HalfNormal(1.0)),
    "student": priors.StudentT(priors.HalfCauchy(1.0), df=5.0),
    "cauchy": priors.Cauchy(priors.HalfNormal(1.0)),
    "generalised": priors.GenNormal(priors.HalfCauchy(1.0), power=1.3),
    "matrix": priors.MatrixNormal(priors.PerUnit(priors.HalfCauchy(1.0)), columns=0.5 * np.eye(3) + 0.5),
    "horseshoe": priors.Horseshoe(0.5),
    "regularised": priors.RegularisedHorseshoe(0.5),
    "scales": priors.HalfNormal(priors.HalfCauchy(1.0)),
    "scales of scales": priors.HalfCauchy(priors.HalfCauchy(1.0)),
    "precisions": priors.GammaPrecision(priors.HalfCauchy(1.0), alpha=3.0),
}


@pytest.mark.parametrize("name", LAWS)
def test_every_law_in_other_coordinates(name):
    """At a draw of the non-centred model, its density is the centred one at the weight plus Σ log of what scales z."""

    def model():
        return pyro.sample("w", LAWS[name]("w", torch.Size([2, 3])))

    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    try:
        trace = poutine.trace(NonCentred(model, "w")).get_trace()
        latent = {n: m["value"] for n, m in trace.nodes.items() if m["type"] == "sample" and not m["is_observed"]}
        w, z = trace.nodes["w"]["value"], latent.pop("w_decentered")
        centred = poutine.trace(poutine.condition(model, data=latent | {"w": w})).get_trace()
    finally:
        torch.set_default_dtype(torch.float32)
    assert trace.nodes["w"]["is_observed"] and torch.equal(trace.nodes["_RETURN"]["value"], w)
    found, expected = float(trace.log_prob_sum()), float(centred.log_prob_sum() + (w / z).log().sum())
    if name == "matrix":  # scale times a correlated z
        expected = float(centred.log_prob_sum() + 3 * latent["w_scale"].log().sum())
    assert found == pytest.approx(expected, rel=1e-9)


def test_names_and_values_of_what_comes_out():
    """Weights are exported under their own names, in their dimensions, and predictions are those of these weights."""
    model = NonCentred(network(priors.Normal(priors.PerInput(priors.HalfCauchy(1.0)))), "*.weight")
    posterior = bz.fit(model, (X, Y), bz.SGLD(chains=2, steps=20, step_size=1e-4), progress=False)
    idata = posterior.to_inference_data(test=(X[:2], Y[:2]), prior=3)
    group, prior = idata.posterior, idata.prior
    expected = prior["0.weight_scale"].values * prior["0.weight_decentered"].values
    np.testing.assert_allclose(prior["0.weight"].values, expected, rtol=1e-12)
    assert group["0.weight"].dims == ("chain", "draw", "0.weight_out", "0.weight_in")
    raw, sites = group["0.weight_decentered"].values, posterior.draws.sites
    assert "0.weight" not in sites
    np.testing.assert_allclose(group["0.weight"].values, sites["0.weight_scale"].numpy() * raw, rtol=1e-12)
    w = {n: torch.as_tensor(group[n].values[1, 3]) for n, _ in model.model.net.named_parameters()}
    f = torch.func.functional_call(model.model.net, w, (X[:2],))[:, 0]
    torch.testing.assert_close(posterior.predict(X[:2]).f[1, 3], f)


BACKENDS = [
    bz.NUTS(chains=2, warmup=2, draws=2, processes=1),
    bz.MeanField(steps=3, draws=2, batch_size=6),
    *(
        pytest.param(backend, marks=pytest.mark.slow)
        for backend in (
            bz.MAP(steps=3),
            bz.SGLD(chains=2, steps=4, batch_size=6),
            bz.SWAG(steps=6, draws=2),
            bz.Laplace(steps=500, draws=2, sites=("*.bias",)),
            bz.MCLMC(chains=1, warmup=2, draws=2),
            bz.SGHMC(chains=2, steps=4, batch_size=6),
        )
    ),
]


@pytest.mark.parametrize("backend", BACKENDS, ids=lambda b: type(b).__name__)
@pytest.mark.parametrize(
    "effect", [partial(NonCentred), partial(Fixed, values=bz.nets.MLP(3, 1, hidden=()))], ids=["n", "f"]
)
def test_every_backend(effect, backend):
    model = effect(network(priors.Normal(priors.HalfCauchy(1.0)), hidden=()), "0.weight")
    posterior = bz.Posterior(model, (X, Y), run(backend, model))
    assert posterior.predict(X[:2]).mean.isfinite().all()
    assert posterior.to_inference_data().posterior.sizes["chain"] == backend.chains


@pytest.mark.slow
def test_neals_funnel():
    """v ~ N(0, 3), x ~ N(0, exp(v/2)): non-centred, NUTS finds the law of v that it is known to miss (Neal 2003)."""

    def funnel():
        v = pyro.sample("v", dist.Normal(0.0, 3.0))
        pyro.sample("x", dist.Normal(0.0, (v / 2).exp()).expand([9]).to_event(1))

    draws = run(bz.NUTS(chains=4, warmup=500, draws=1000), NonCentred(funnel, "x"), ())
    v = draws.sites["v"].flatten().double()
    assert abs(float(v.mean())) < 0.3 and float(v.std()) == pytest.approx(3.0, abs=0.2)
    assert not draws.stats["diverging"].any()


def test_non_centred_refuses():
    with pytest.raises(
        bz.ModelError, match=r"NonCentred: no site of the model fits '0\.wieght': did you mean .*'0\.weight'"
    ):
        bz.LogJoint(NonCentred(network(), "0.wieght"), (X, Y))
    with pytest.raises(bz.ModelError, match=r"site '0\.weight' has the law NormalMixture.* name other sites"):
        bz.LogJoint(NonCentred(network(priors.GaussianMixture(2)), "*.weight"), (X, Y))
    for bad in ((), (3,)):
        with pytest.raises(TypeError, match="NonCentred needs patterns of names of sites"):
            NonCentred(network(), *bad)
    with pytest.raises(TypeError, match="NonCentred needs a Pyro model, such as a BNN; got 3"):
        NonCentred(3, "*")
    held = {"0.weight": torch.ones(4, 3, dtype=torch.float64)}
    with pytest.raises(bz.ModelError, match=r"'0\.weight' is non-centred, and given a value from outside"):
        bz.LogJoint(poutine.condition(NonCentred(network(), "*.weight"), held), (X, Y))
    inside = bz.LogJoint(NonCentred(poutine.condition(network(), held), "2.weight"), (X, Y))  # as advised
    assert "2.weight_decentered" in [s.name for s in inside.sites]


def test_group_normal_jeffreys_by_mean_field():
    """Louizos, Ullrich & Welling 2017, eqs. 4 to 8: w = z w̃, q(z) q(w̃) normal, KL(q(z) ‖ 1/|z|) by Molchanov's fit.

    The non-centred group prior under mean field is this family, and the ELBO of a model without data is minus their KL.
    """
    model = NonCentred(lambda: pyro.sample("w", priors.Normal(priors.PerInput(priors.LogUniform()))("w", (4, 3))), "w")
    with pyro.get_param_store().scope(), pyro.validation_enabled(False):
        guide = MeanFieldNormal(model, init_scale=0.3, init_loc_fn=lambda site: torch.rand(site["fn"].shape()) + 0.5)
        torch.manual_seed(0)
        elbo, _, gradient = (made := Elbo(model, guide, (), {}))(made.start)
        mean = {n: pyro.param(f"guide.{n}.loc").detach().double().numpy() for n in ("w_scale", "w_decentered")}
    alpha = 0.3**2 / mean["w_scale"] ** 2
    k1, k2, k3 = 0.63576, 1.87320, 1.48695
    of_z = -k1 / (1 + np.exp(-(k2 + k3 * np.log(alpha)))) + 0.5 * np.log1p(1 / alpha) + k1
    of_w = 0.5 * (0.3**2 + mean["w_decentered"] ** 2 - 1 - np.log(0.3**2))
    assert float(elbo) == pytest.approx(-of_z.sum() - of_w.sum(), rel=1e-4) and gradient.isfinite().all()


@pytest.mark.slow
def test_group_normal_jeffreys_prunes_inputs():
    """Two of eight inputs matter: the dropout rate σ²/μ² of the others' z is large, and that of these small."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(300, 8, generator=generator)
    y = x[:, 0] - 0.7 * x[:, 1] + 0.3 * torch.randn(300, generator=generator)
    prior = priors.PerSite({"*.bias": priors.Normal(1.0), "*": priors.Normal(priors.PerInput(priors.LogUniform()))})
    net = bz.nets.MLP(8, 1, hidden=(6,))
    model = NonCentred(bz.BNN(net, prior, bz.likelihoods.Gaussian(0.3)), "*.weight")
    z = run(bz.MeanField(steps=3000, draws=1000), model, (x, y)).sites["0.weight_scale"][0, :, 0].double()
    log_alpha = (z.var(0) / z.mean(0).square()).log()
    assert (log_alpha[:2] < -2).all() and (log_alpha[2:] > log_alpha[:2].max() + 2).all()


# ----------------------------------------------------------------------------------------------------------------- fixed


def values_of(model):
    return {n: p.detach().double() for n, p in model.net.named_parameters()}


@pytest.mark.parametrize("held", [("0.*",), pytest.param(("0.weight", "2.bias"), marks=pytest.mark.slow)], ids=str)
def test_fixed_sites_are_a_conditional_posterior(held):
    """The log joint is that of the whole model there, of the rest as variables: hyperparameters of what is held included."""
    model = network(priors.Normal(priors.HalfCauchy(1.0)))
    whole, values = bz.LogJoint(model, (X, Y)), values_of(model)
    part = bz.LogJoint(Fixed(model, *held, values=model.net), (X, Y))
    left = [s.name for s in part.sites]
    assert left == [s.name for s in whole.sites if s.name not in values or not any(fnmatchcase(s.name, p) for p in held)]
    u = 0.3 * torch.randn(2, part.dim, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    value, _ = part(u)
    sites = part.constrain(u) | {n: torch.stack([v, v]) for n, v in values.items() if n not in left}
    there = whole.unconstrain({s.name: sites[s.name] for s in whole.sites})
    torch.testing.assert_close(value, whole(there)[0])


def test_last_layer_by_algebra():
    """With the first layer held the network is a linear regression on its features: Laplace is its exact posterior."""
    model = bz.BNN(bz.nets.MLP(3, 1, hidden=(4,)), priors.Normal(1.0), bz.likelihoods.Gaussian(0.3))
    hidden = Fixed(model, "0.*", values=model.net)
    draws = run(bz.Laplace(chains=1, steps=1000, draws=4000, step_size=bz.schedules.cosine(0.05)), hidden)
    assert list(draws.sites) == ["2.weight", "2.bias"]
    w = values_of(model)
    phi = torch.cat([torch.tanh(X @ w["0.weight"].T + w["0.bias"]), torch.ones(12, 1, dtype=torch.float64)], 1)
    covariance = torch.linalg.inv(phi.T @ phi / 0.3**2 + torch.eye(5, dtype=torch.float64))
    mean = covariance @ phi.T @ Y / 0.3**2
    found = torch.cat([draws.sites["2.weight"][0, :, 0], draws.sites["2.bias"][0]], 1)
    sd = covariance.diagonal().sqrt()
    assert ((found.mean(0) - mean) / sd).abs().max() < 0.1
    assert (torch.cov(found.T) - covariance).abs().max() < 0.1 * covariance.abs().max()


def test_fixed_weights_predict_and_are_copies():
    model = network(priors.Normal(1.0))
    fixed = Fixed(model, "0.*", values=model.net)
    before = values_of(model)
    with torch.no_grad():
        model.net.get_parameter("0.weight").zero_()
    posterior = bz.fit(fixed, (X, Y), bz.SGLD(chains=1, steps=10, step_size=1e-4), progress=False)
    group = posterior.to_inference_data().posterior
    assert set(group.data_vars) == {"2.weight", "2.bias"}
    w = before | {n: v[0, 2] for n, v in posterior.draws.sites.items()}
    torch.testing.assert_close(posterior.predict(X).f[0, 2], torch.func.functional_call(model.net, w, (X,))[:, 0])


def test_fixed_inside_and_outside():
    """Effects are models, so they go around each other, and through pickle."""
    model = pickle.loads(pickle.dumps(NonCentred(Fixed(network(), "0.*", values=network().net), "2.weight")))
    names = [s.name for s in bz.LogJoint(model, (X, Y)).sites]
    assert "2.weight_decentered" in names and not {"0.weight", "2.weight"} & set(names)
    assert repr(model).startswith("NonCentred(Fixed(BNN(MLP with 21 weights")


REFUSED = {
    "nearest": (("0.wieght",), {}, r"Fixed: no site of the model fits '0\.wieght': did you mean .*'0\.weight'"),
    "no value": (("0.bias",), {"0.weight": torch.ones(4, 3)}, r"no value for site '0\.bias' in values, which has \[\]"),
    "shape": (("0.bias",), {"0.bias": torch.ones(3)}, r"'0\.bias' has shape \(4,\), its value in values \(3,\)"),
    "support": (
        ("0.weight_global_scale",),
        {"0.weight_global_scale": torch.tensor(-1.0)},
        "outside the support of HalfCauchy",
    ),
    "nothing left": (("*",), None, "nothing is left to sample"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_fixed_refuses(what):
    patterns, values, message = REFUSED[what]
    model = network(priors.Normal(1.0) if values is None else HORSESHOE)
    with pytest.raises(bz.ModelError, match=message):
        bz.fit(Fixed(model, *patterns, values=values or model.net), (X, Y), bz.MAP(steps=1), progress=False)


def test_fixed_refuses_other_values():
    with pytest.raises(TypeError, match="values are a network or a mapping from names to tensors, got Tensor"):
        Fixed(network(), "0.*", values=torch.ones(3))
    with pytest.raises(bz.ModelError, match=r"the value of '0\.bias' has NaN or infinite numbers"):
        Fixed(network(), "0.*", values={"0.bias": torch.full((4,), math.nan)})


# ---------------------------------------------------------------------------------------------------------------- points


def test_points_among_normals():
    """Linear regression with independent columns: q of two weights as ever, the others at their mode in all draws."""
    x, y = orthogonal_design(32)

    def model(x, y=None):
        w = pyro.sample("w", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        v = pyro.sample("v", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        with pyro.plate("data", len(x)):
            pyro.sample("y", dist.Normal(x @ torch.cat([w, v]), NOISE), obs=y)

    backend = bz.MeanField(steps=500, draws=400, guide=partial(MeanFieldNormal, points=("v",)))
    draws = run(backend, model, (x, y)).sites
    precision = 32 / NOISE**2 + 1
    mode = x.T @ y / NOISE**2 / precision
    assert (draws["v"] == draws["v"][:, :1]).all()
    torch.testing.assert_close(draws["v"][0, 0], mode[2:], atol=2e-3, rtol=0)
    w = draws["w"][0]
    assert ((w.mean(0) - mode[:2]) * precision**0.5).abs().max() < 0.3 and (w.std(0) * precision**0.5 - 1).abs().max() < 0.15


def test_points_of_a_network_with_scales():
    """Any sites, positive ones too."""
    guide = MeanFieldNormal(network(priors.Normal(priors.HalfCauchy(1.0))), points=("0.*", "2.*_scale"))
    with pyro.get_param_store().scope():
        nodes = poutine.trace(guide).get_trace(X, Y).nodes
    points = {n for n, m in nodes.items() if m["type"] == "sample" and isinstance(m["fn"], dist.Delta)}
    assert points == {"0.weight", "0.bias", "0.weight_scale", "0.bias_scale", "2.weight_scale", "2.bias_scale"}
    assert all(nodes[n]["value"] > 0 for n in points if n.endswith("_scale"))
    assert {"2.weight", "2.bias"} <= nodes.keys()


def test_points_refuse():
    with pytest.raises(bz.ModelError, match=r"points: no site of the model fits '1\.weight': did you mean"):
        MeanFieldNormal(network(), points=("1.weight",))(X, Y)
    with pytest.raises(bz.ModelError, match="nothing is left to infer: use MAP"):
        MeanFieldNormal(network(), points=("*",))(X, Y)
    improper = network(priors.PerSite({"0.*": priors.LogUniform(), "*": priors.Normal(1.0)}))
    start = {"init_loc_fn": lambda site: torch.ones(site["fn"].shape())}
    for guide in (MeanFieldNormal(improper, points=("0.*",), **start), bz.guides.MCDropout(improper, **start)):
        with pytest.raises(bz.ModelError, match=r"'0\.weight' would be a point under the log-uniform prior"):
            guide(X, Y)
    MeanFieldNormal(improper, points=("2.*",), **start)(X, Y)  # the others may be
    with pytest.raises(TypeError, match="points needs patterns of names"):
        MeanFieldNormal(network(), points="0.*")
