"""A BNN is a plain Pyro model: Pyro's own inference and handlers run on it, and the net is never touched."""

import math
import pickle

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import MCMC, SVI, Predictive, Trace_ELBO
from pyro.infer.autoguide import AutoDelta, AutoNormal
from pyro.infer.reparam import LocScaleReparam
from pyro.optim import Adam
from torch import nn

import bnn_zoo as bz

NAMES = ["0.weight", "0.bias", "2.weight", "2.bias"]
X = torch.randn(6, 2, generator=torch.Generator().manual_seed(0))
Y = X.sum(1).sin()


def make(prior=None, likelihood=None, net=None):
    net = net or bz.nets.MLP(2, 1, hidden=(3,))
    return bz.BNN(net, prior or bz.priors.Normal(), likelihood or bz.likelihoods.Gaussian())


def latents(trace):
    return [n for n, m in trace.nodes.items() if m["type"] == "sample" and not m["is_observed"] and n != "data"]


@pytest.fixture(autouse=True)
def fresh_store():
    pyro.clear_param_store()
    pyro.set_rng_seed(0)
    yield
    pyro.clear_param_store()


# ---------------------------------------------------------------------------------------------------- the model


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_sites_and_log_joint(dtype):
    """One site a parameter, under its name and in its shape; y in the plate "data"; the log joint is the formula."""
    model, x, y = make(bz.priors.Laplace(0.5)), X.to(dtype), Y.to(dtype)
    trace = poutine.trace(model).get_trace(x, y)
    assert latents(trace) == [*NAMES, "noise"]
    w = {n: trace.nodes[n]["value"] for n in (*NAMES, "noise")}
    for name, parameter in model.net.named_parameters():
        assert w[name].shape == parameter.shape and w[name].dtype == dtype
        assert trace.nodes[name]["fn"].event_dim == parameter.dim()
    assert [f.name for f in trace.nodes["y"]["cond_indep_stack"]] == ["data"]
    f = torch.tanh(x @ w["0.weight"].T + w["0.bias"]) @ w["2.weight"].T + w["2.bias"]
    expected = sum(dist.Laplace(0.0, torch.tensor(0.5, dtype=dtype)).log_prob(w[n]).sum() for n in NAMES)
    expected = expected + dist.HalfNormal(torch.tensor(1.0, dtype=dtype)).log_prob(w["noise"])
    expected = expected + dist.Normal(f[:, 0], w["noise"]).log_prob(y).sum()
    torch.testing.assert_close(trace.log_prob_sum(), expected)


def test_without_y_it_samples():
    trace = poutine.trace(make()).get_trace(X)
    assert not trace.nodes["y"]["is_observed"] and trace.nodes["y"]["value"].shape == (6,)
    torch.testing.assert_close(make()(X, Y), Y)


def test_labels_stay_integers():
    model = make(likelihood=bz.likelihoods.Categorical(), net=bz.nets.MLP(2, 3, ()))
    trace = poutine.trace(model).get_trace(X.double(), torch.tensor([0, 1, 2, 0, 1, 2], dtype=torch.int32))
    assert trace.nodes["y"]["value"].dtype == torch.int64
    binary = poutine.trace(make(likelihood=bz.likelihoods.Bernoulli())).get_trace(X, torch.tensor([0, 1, 1, 0, 1, 0]))
    assert binary.nodes["y"]["value"].dtype == torch.float32


def test_size_scales_the_rows():
    """With ``size`` the rows are a minibatch: their log likelihood counts size/len(x) times."""
    model = make(likelihood=bz.likelihoods.Gaussian(0.5))
    weights = {n: 0.3 * torch.randn_like(p) for n, p in model.net.named_parameters()}
    held = poutine.condition(model, data=weights)
    parts = poutine.trace(held).get_trace(X, Y)
    parts.compute_log_prob()
    prior = sum(parts.nodes[n]["log_prob_sum"] for n in NAMES)
    rows = parts.nodes["y"]["log_prob_sum"]
    for size in (6, 60):
        got = poutine.trace(held).get_trace(X, Y, size=size).log_prob_sum()
        torch.testing.assert_close(got, prior + size / 6 * rows)


def test_frozen_parameters_stay():
    """They are no sites, keep their values, and follow the data's dtype."""
    net = bz.nets.MLP(2, 1, hidden=(3,))
    net[0].requires_grad_(False)
    net.register_buffer("unused", torch.ones(2))
    model = make(net=net, likelihood=bz.likelihoods.Gaussian(1e-3))
    trace = poutine.trace(model).get_trace(X.double())
    assert latents(trace) == ["2.weight", "2.bias", "y"]
    w = {n: trace.nodes[n]["value"] for n in ("2.weight", "2.bias")}
    hidden = torch.tanh(X.double() @ net[0].weight.double().T + net[0].bias.double())
    torch.testing.assert_close(trace.nodes["y"]["fn"].mean, (hidden @ w["2.weight"].T + w["2.bias"])[:, 0].detach())
    assert "2 with 4 weights" not in repr(model) and "4 weights" in repr(model)


def test_shared_parameters_are_one_site():
    """A parameter used twice is inferred once, and both uses see the drawn value."""
    net = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 2), nn.Linear(2, 1))
    net[2].weight = net[0].weight
    model = make(net=net)
    trace = poutine.trace(model).get_trace(X)
    assert latents(trace) == ["0.weight", "0.bias", "2.bias", "3.weight", "3.bias", "noise", "y"]
    w = {n: trace.nodes[n]["value"] for n in latents(trace)}
    hidden = torch.tanh(X @ w["0.weight"].T + w["0.bias"]) @ w["0.weight"].T + w["2.bias"]
    torch.testing.assert_close(trace.nodes["y"]["fn"].mean, (hidden @ w["3.weight"].T + w["3.bias"])[:, 0])


def test_any_module():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Parameter(torch.zeros(()))
            self.norm = nn.LayerNorm(2)

        def forward(self, x):
            return self.a * self.norm(x)[:, :1]

    assert latents(poutine.trace(make(net=Net())).get_trace(X)) == ["a", "norm.weight", "norm.bias", "noise", "y"]


# ---------------------------------------------------------------------------------------------------- Pyro on it


def test_pyro_nuts():
    mcmc = MCMC(pyro.infer.NUTS(make(), max_tree_depth=3), num_samples=3, warmup_steps=3, disable_progbar=True)
    mcmc.run(X, Y)
    samples = mcmc.get_samples()
    assert {n: tuple(v.shape) for n, v in samples.items()} == {
        "0.weight": (3, 3, 2),
        "0.bias": (3, 3),
        "2.weight": (3, 1, 3),
        "2.bias": (3, 1),
        "noise": (3,),
    }
    assert all(v.isfinite().all() for v in samples.values())
    predictive = Predictive(make(), samples)(X)
    assert predictive["y"].shape == (3, 6)


@pytest.mark.parametrize(
    "prior, size",
    [
        (bz.priors.Normal(), None),
        (bz.priors.Laplace(0.5), 60),
        pytest.param(bz.priors.Normal(bz.priors.HalfCauchy(1.0)), None, marks=pytest.mark.slow),
        (bz.priors.Horseshoe(), None),
    ],
    ids=str,
)
def test_pyro_svi_with_autonormal(prior, size):
    model = make(prior)
    guide = AutoNormal(model)
    svi = SVI(model, guide, Adam({"lr": 0.05}), Trace_ELBO())
    losses = [svi.step(X, Y, size=size) for _ in range(60)]
    assert all(map(math.isfinite, losses)) and sum(losses[-10:]) < sum(losses[:10])
    samples = Predictive(model, guide=guide, num_samples=4)(X)
    assert samples["y"].shape == (4, 6) and samples["0.weight"].shape == (4, 1, 3, 2)


def test_pyro_map():
    model = make(likelihood=bz.likelihoods.Gaussian(0.1))
    guide = AutoDelta(model)
    svi = SVI(model, guide, Adam({"lr": 0.05}), Trace_ELBO())
    losses = [svi.step(X, Y) for _ in range(60)]
    assert losses[-1] < 0.5 * losses[0]


def test_prior_predictive():
    samples = Predictive(make(), num_samples=5)(X)
    assert samples["y"].shape == (5, 6) and samples["0.weight"].shape == (5, 1, 3, 2)  # 1: Pyro's room for the plate
    assert len(samples["noise"].unique()) == 5


def test_poutine_condition_and_scale():
    model = make(likelihood=bz.likelihoods.Gaussian(0.5))
    weights = {n: 0.3 * torch.randn_like(p) for n, p in model.net.named_parameters()}
    held = poutine.condition(model, data=weights)
    plain = poutine.trace(held).get_trace(X, Y).log_prob_sum()
    torch.testing.assert_close(poutine.trace(poutine.scale(held, scale=0.1)).get_trace(X, Y).log_prob_sum(), 0.1 * plain)
    some = poutine.condition(model, data={"0.weight": weights["0.weight"]})
    assert latents(poutine.trace(some).get_trace(X, Y)) == NAMES[1:]


def test_poutine_reparam_of_a_horseshoe():
    """The decentred model has standard normal sites and the same law of the weights."""
    model = make(bz.priors.Horseshoe(0.5))
    decentred = poutine.reparam(model, config={name: LocScaleReparam(0.0) for name in NAMES})
    trace = poutine.trace(decentred).get_trace(X, Y)
    assert {f"{n}_decentered" for n in NAMES} <= set(latents(trace))
    for name in NAMES:
        scale = trace.nodes[f"{name}_global_scale"]["value"] * trace.nodes[f"{name}_local_scale"]["value"]
        raw = trace.nodes[f"{name}_decentered"]["value"]
        torch.testing.assert_close(trace.nodes[name]["value"], scale * raw)
    assert trace.log_prob_sum().isfinite()
    svi = SVI(decentred, AutoNormal(decentred), Adam({"lr": 0.01}), Trace_ELBO())
    assert math.isfinite(svi.step(X, Y))


def test_poutine_mask_and_block():
    model = make()
    masked = poutine.trace(poutine.mask(model, mask=False)).get_trace(X, Y)
    assert masked.log_prob_sum() == 0
    assert latents(poutine.trace(poutine.block(model, hide=["noise"])).get_trace(X, Y)) == NAMES


# ---------------------------------------------------------------------------------------------------- what it leaves alone

BACKENDS = {
    "NUTS": bz.NUTS(chains=2, warmup=3, draws=3, max_tree_depth=2),
    "HMC": bz.HMC(chains=1, warmup=2, draws=2, max_leapfrogs=2),
    "MeanField": bz.MeanField(steps=3, draws=3),
    "SGLD": bz.SGLD(chains=2, steps=4, batch_size=3),
}


@pytest.mark.parametrize("name", BACKENDS)
def test_fit_leaves_everything_alone(name):
    """The net's parameters (their values, identity and gradients), global random state, parameter store, torch settings."""
    model = make()
    net = model.net.train()
    identity = {n: id(p) for n, p in net.named_parameters()}
    values = {n: v.clone() for n, v in net.state_dict().items()}
    pyro.param("mine", torch.ones(3))
    pyro.param("guide.0.weight.loc", torch.ones(3, 2))
    store = pyro.get_param_store().get_state()
    torch.manual_seed(3)
    before = torch.get_rng_state()
    x, y = X.clone(), Y.clone()
    bz.fit(model, (x, y), BACKENDS[name], seed=1, progress=False).predict(x)
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(x, X) and torch.equal(y, Y)
    assert {n: id(p) for n, p in net.named_parameters()} == identity and net.training
    assert all(torch.equal(v, values[n]) for n, v in net.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in net.parameters())
    after = pyro.get_param_store().get_state()
    assert list(after["params"]) == list(store["params"])
    assert all(torch.equal(after["params"][k], v) for k, v in store["params"].items())
    assert torch.get_default_dtype() == torch.float32
    assert torch.distributions.Distribution._validate_args


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_default_dtype_and_device_are_restored(dtype):
    """After a good call and after an error anywhere inside."""

    def broken(name, shape):
        raise RuntimeError("a broken prior")

    torch.set_default_dtype(dtype)
    try:
        for x in (X, X.double()):
            make()(x)
            assert torch.get_default_dtype() == dtype and torch.get_default_device().type == "cpu"
            for model in (make(broken), make(net=bz.nets.MLP(5, 1)), make(likelihood=bz.likelihoods.Categorical())):
                with pytest.raises((RuntimeError, ValueError)):
                    model(x, Y)
                assert torch.get_default_dtype() == dtype and torch.get_default_device().type == "cpu"
    finally:
        torch.set_default_dtype(torch.float32)


def test_inside_another_default_device():
    """The model follows its data, whatever device new tensors get by default, and puts that default back."""
    model = make()
    with torch.device("meta"):
        out = model(X)
        assert out.device.type == "cpu" and torch.get_default_device().type == "meta"


def test_pickles():
    for prior in (bz.priors.Normal(bz.priors.fan_in), bz.priors.PerSite({"*": bz.priors.Horseshoe()})):
        model = make(prior)
        again = pickle.loads(pickle.dumps(model))
        pyro.set_rng_seed(1)
        first = poutine.trace(model).get_trace(X, Y)
        pyro.set_rng_seed(1)
        second = poutine.trace(again).get_trace(X, Y)
        assert torch.equal(first.log_prob_sum(), second.log_prob_sum()) and repr(again) == repr(model)


@pytest.mark.parametrize("name", BACKENDS)
def test_posterior_pickles(name):
    posterior = bz.fit(make(), (X, Y), BACKENDS[name], progress=False)
    again = pickle.loads(pickle.dumps(posterior))
    assert torch.equal(again.predict(X).draws, posterior.predict(X).draws)
    assert again.draws.attrs == posterior.draws.attrs and repr(again) == repr(posterior)


def test_repr():
    assert repr(make(bz.priors.Normal(0.5), bz.likelihoods.Bernoulli())) == (
        "BNN(MLP with 13 weights, Normal(scale=0.5), Bernoulli())"
    )
