"""The family of weights times scales of groups, noise of scales at the layers, and priors to a power."""

import pyro
import pytest
import torch
from pyro import distributions as dist
from pyro import poutine
from torch.distributions import kl_divergence
from torch.nn import functional as F

import bnn_zoo as bz
from bnn_zoo.laws import ScaledNormal

X = torch.linspace(-1.0, 1.0, 40)[:, None] * torch.tensor([[1.0, 0.5, -0.7]])
Y = torch.sin(2.0 * X[:, 0])
HORSESHOE = bz.priors.HalfCauchy(bz.priors.HalfCauchy(0.1))


def model(scale, net=None):
    prior = bz.priors.PerSite({"*.bias": bz.priors.Normal(1.0), "*": bz.priors.Normal(bz.priors.PerInput(scale))})
    return bz.BNN(net or bz.nets.MLP(3, 1, hidden=(4,)), prior, bz.likelihoods.Gaussian(0.3))


def traced(given, seed=0):
    pyro.set_rng_seed(seed)
    with pyro.get_param_store().scope():
        guide = bz.guides.ScaledNormal(given, init_loc_fn=lambda site: torch.rand(site["fn"].shape()) + 0.5)
        q = poutine.trace(guide).get_trace(X, Y)
        params = {n: v.detach().clone() for n, v in pyro.get_param_store().items()}
    return q, poutine.trace(poutine.replay(given, q)).get_trace(X, Y), params


@pytest.mark.parametrize("scale", [bz.priors.LogUniform(), HORSESHOE, bz.priors.HalfNormal(1.0)], ids=str)
def test_divergence_given_the_scales(scale):
    """KL(q(w | z) ‖ p(w | z)) is that of N(m, s²) to N(0, 1), whatever z is."""
    q, p, params = traced(model(scale))
    for name in ("0.weight", "2.weight"):
        m, s = params[f"guide.{name}.loc"], params[f"guide.{name}.scale"]
        expected = kl_divergence(dist.Normal(m, s), dist.Normal(0.0, 1.0)).sum()
        torch.testing.assert_close(kl_divergence(q.nodes[name]["fn"], p.nodes[name]["fn"]), expected, rtol=1e-4, atol=1e-4)
        z = q.nodes[f"{name}_scale"]["value"].abs()
        torch.testing.assert_close(q.nodes[name]["fn"].base_dist.loc, z * m)


def test_density_of_a_horseshoe_scale():
    """log z ~ N(log s + m, v²): the density of z as torch's log-normal has it."""
    q, _, params = traced(model(HORSESHOE))
    for name in ("0.weight_scale", "2.weight_scale"):
        s, z = q.nodes[f"{name}_scale"]["value"], q.nodes[name]["value"]
        loc, sd = params[f"guide.{name}.loc"] + s.log(), params[f"guide.{name}.scale"]
        expected = torch.distributions.LogNormal(loc, sd).log_prob(z).sum()
        torch.testing.assert_close(q.nodes[name]["fn"].log_prob(z).sum(), expected)


def test_starts_at_the_weights():
    """Mean of q near the network; w̃ with mean square one in each group."""
    net = bz.nets.MLP(3, 1, hidden=(4,))
    values = {n: p.detach() for n, p in net.named_parameters()}

    def start(site):
        own = values.get(site["name"])
        return torch.ones(site["fn"].shape()) if own is None else own

    with pyro.get_param_store().scope():
        bz.guides.ScaledNormal(model(HORSESHOE, net), init_loc_fn=start)(X, Y)
        params = dict(pyro.get_param_store().items())
    scale = values["0.weight"].square().mean(0, keepdim=True).sqrt()
    torch.testing.assert_close(params["guide.0.weight.loc"].detach(), values["0.weight"] / scale)
    common = scale.log().mean().exp()
    torch.testing.assert_close(params["guide.0.weight_scale.loc"].detach(), (scale / common).log(), atol=1e-5, rtol=1e-5)


def test_refused():
    plain = bz.BNN(bz.nets.MLP(3, 1, hidden=(4,)), bz.priors.Normal(1.0), bz.likelihoods.Gaussian(0.3))
    with pytest.raises(bz.ModelError, match=r"take guides\.MeanFieldNormal"):
        bz.guides.ScaledNormal(plain)(X, Y)


@pytest.mark.parametrize("axis", ["inputs", "units"])
@pytest.mark.parametrize("layer", ["linear", "convolution"])
def test_rows_have_the_law_of_their_outputs(layer, axis):
    """Moments of a row's output under w = z w̃ by the law of total variance; rows are independent, z too."""
    torch.manual_seed(0)
    shape = (2, 3) if layer == "linear" else (2, 3, 2, 2)
    groups = [1] * len(shape)
    groups[1 if axis == "inputs" else 0] = shape[1 if axis == "inputs" else 0]
    m, s = torch.randn(shape), 0.2 + torch.rand(shape)
    a, b = 1.0 + torch.rand(groups), 0.1 + 0.2 * torch.rand(groups)  # z ~ N(a, b²), far from 0
    x = torch.randn(1, *([3] if layer == "linear" else [3, 2, 2])).expand(40_000, *[-1] * (len(shape) - 1))

    def guide():
        z_law = dist.Normal(a, b)
        return pyro.sample("w", ScaledNormal(dist.Normal(m, s), z_law.rsample(), z_law).to_event(len(shape)))

    with bz.handlers.LocalReparameterization(), torch.no_grad():
        w = guide()
        out = (F.linear if layer == "linear" else torch.conv2d)(x, w).flatten(1)
    z = dist.Normal(a, b).sample((200_000,))
    w = z * (m + s * torch.randn(200_000, *shape))
    brute = torch.einsum("kio,o->ki", w.flatten(2), x[0].flatten())
    torch.testing.assert_close(out.mean(0), brute.mean(0), atol=0.05, rtol=0)
    torch.testing.assert_close(out.std(0), brute.std(0), atol=0, rtol=0.03)
    if axis == "inputs":  # units that share an input are correlated in a row
        torch.testing.assert_close(torch.corrcoef(out.T)[0, 1], torch.corrcoef(brute.T)[0, 1], atol=0.02, rtol=0)


@pytest.mark.slow
def test_log_uniform_scales_prune():
    """One input of three matters: the group of another says nothing at the end."""
    torch.manual_seed(0)
    x = torch.randn(300, 3)
    net = torch.nn.Sequential(torch.nn.Linear(3, 2))
    given = bz.BNN(net, bz.priors.PerSite({"*.bias": bz.priors.Normal(1.0), "*": bz.priors.Normal(bz.priors.PerInput(
        bz.priors.LogUniform()))}), lambda f: dist.Normal(f, 0.1).to_event(1))  # fmt: skip
    y = torch.stack([x[:, 0], -2.0 * x[:, 0]], 1) + 0.1 * torch.randn(300, 2)
    backend = bz.MeanField(
        steps=1_500, draws=200, learning_rate=0.02, guide=bz.guides.ScaledNormal, init=bz.density.FromNet(net), compile=False
    )
    w = bz.fit(given, (x, y), backend, progress=False).draws.sites["0.weight"][0]
    ratio = w.mean(0).norm(dim=0) / w.std(0).norm(dim=0)
    assert ratio[0] > 20.0 and ratio[1:].max() < 1.0
    torch.testing.assert_close(w.mean(0)[:, 0], torch.tensor([1.0, -2.0]), atol=0.03, rtol=0)


def test_prior_to_a_power():
    """log p(y | w) + τ log p(w), by scipy's numbers: a mean of three, N(0, 1) prior, unit noise."""
    from scipy.stats import norm

    def mean(x, y=None):
        w = pyro.sample("w", dist.Normal(0.0, 1.0))
        with pyro.plate("data", len(x)):
            pyro.sample("y", dist.Normal(w * x, 1.0), obs=y)

    x, y = torch.ones(3), torch.tensor([1.0, 2.0, 4.0])
    log_joint = bz.LogJoint(bz.handlers.Power(mean, "w", power=0.1), (x, y))
    at = 0.7
    expected = norm.logpdf([1.0, 2.0, 4.0], at, 1.0).sum() + 0.1 * norm.logpdf(at)
    torch.testing.assert_close(log_joint(torch.tensor([[at]]))[0], torch.tensor([expected], dtype=torch.float32))
    expected = 5.0 * norm.logpdf([1.0, 2.0, 4.0], at, 1.0).sum() + norm.logpdf(at)
    log_joint = bz.LogJoint(bz.handlers.Power(mean, "y", power=5.0), (x, y))
    torch.testing.assert_close(log_joint(torch.tensor([[at]]))[0], torch.tensor([expected], dtype=torch.float32))
    with pytest.raises(bz.ModelError, match="'v'"):
        bz.LogJoint(bz.handlers.Power(mean, "v", power=0.1), (x, y))
    with pytest.raises(ValueError, match="power"):
        bz.handlers.Power(mean, "w", power=0.0)
