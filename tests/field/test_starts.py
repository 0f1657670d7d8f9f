"""Where chains start when nothing is said, and what is said of a start that is none."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from fbm import regression as vague_network
from targets import orthogonal_design, regression, regression_posterior

import bnn_zoo as bz
from bnn_zoo.density import BestOf, LogJoint, from_prior, from_support


def started(log_joint, init=None, chains=4, seed=0):
    return (init or BestOf())(log_joint, chains, torch.Generator().manual_seed(seed))


def curve(dtype=torch.float32):
    x = torch.linspace(-2, 2, 40, dtype=dtype)[:, None]
    return x, torch.sin(2 * x[:, 0]) + 0.1 * torch.randn(40, generator=torch.Generator().manual_seed(0), dtype=dtype)


NAMES = ["HMC", "NUTS", "ChEES", "MCLMC", "AdjustedMCLMC", "RandomWalk", "SGLD", "PSGLD", "SGHMC", "SGNHT", "SWAG", "MAP"]
NAMES += ["DeepEnsemble", "Laplace", "DiagonalLaplace", "MeanField", "MCDropout"]
ALL = {name: getattr(bz, name) for name in NAMES}


def test_every_backend_has_the_same_default():
    assert {name: make().init for name, make in ALL.items()} == dict.fromkeys(ALL, BestOf())


def test_vague_hierarchical_priors_give_no_hopeless_start():
    """Forty rows within ±1: the log joint of a sensible point is some −100; draws of the prior are millions below."""
    log_joint = LogJoint(vague_network, curve())
    for seed in range(2):
        assert (log_joint.value(started(log_joint, seed=seed)) > -600).all()
        assert log_joint.value(started(log_joint, from_prior, seed=seed)).min() < -2_000


def test_necks_of_hierarchies_are_not_chosen_for_their_high_density():
    """log p of the weights grows without bound as their scale goes to 0: points there have the largest log joint."""

    def funnel(y):
        scale = pyro.sample("scale", dist.Gamma(0.05, 0.05))
        w = pyro.sample("w", dist.Normal(torch.zeros(50), scale).to_event(1))
        with pyro.plate("rows", len(y)):
            pyro.sample("y", dist.Normal(w.sum(), 1.0), obs=y)

    log_joint = LogJoint(funnel, (torch.zeros(5),))
    position = started(log_joint, BestOf(steps=0), chains=16)
    assert (log_joint.constrain(position)["scale"] >= 0.135).all()  # e⁻²
    assert log_joint.constrain(started(log_joint, from_prior, chains=16))["scale"].min() < 1e-4


def test_informative_priors_far_from_zero_are_started_from():
    def model(y):
        m = pyro.sample("m", dist.Normal(1000.0, 1.0))
        pyro.sample("y", dist.Normal(m, 1.0).expand([len(y)]).to_event(1), obs=y)

    log_joint = LogJoint(model, (torch.full((3,), 1001.0),))
    assert (log_joint.constrain(started(log_joint))["m"] - 1000.0).abs().max() < 5


def test_wide_networks_start_at_the_scale_of_their_priors():
    net = bz.nets.MLP(3, 1, hidden=(200,))
    x = torch.randn(30, 3, generator=torch.Generator().manual_seed(0))
    model = bz.BNN(net, bz.priors.Normal(bz.priors.fan_in), bz.likelihoods.Gaussian())
    log_joint = LogJoint(model, (x, x[:, 0]))
    weights = log_joint.constrain(started(log_joint, BestOf(steps=0)))["2.weight"]
    assert abs(weights.std() * 200**0.5 - 1) < 0.2


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_the_start_is_finite_repeats_itself_and_leaves_chains_apart(dtype):
    """Starts of a conjugate posterior are spread about as widely as the posterior itself, or more."""
    x, y = orthogonal_design(dtype=dtype)
    log_joint = LogJoint(regression, (x, y))
    torch.manual_seed(3)
    first, state = started(log_joint, chains=8), torch.get_rng_state()
    torch.testing.assert_close(started(log_joint, chains=8), first, rtol=0, atol=0)
    assert (torch.get_rng_state() == state).all() and first.dtype == dtype
    sd = regression_posterior(x, y)[1].diagonal().sqrt()
    assert (first.std(0) / sd).log().mean().exp() > 0.8


def test_improper_priors():
    def model(y):
        m = pyro.sample("m", dist.ImproperUniform(dist.constraints.real, (), ()))
        s = pyro.sample("s", dist.ImproperUniform(dist.constraints.positive, (), ()))
        pyro.sample("y", dist.Normal(m, s).expand([len(y)]).to_event(1), obs=y)

    log_joint = LogJoint(model, (torch.linspace(0, 1, 20),))
    value, gradient = log_joint(started(log_joint))
    assert value.isfinite().all() and gradient.isfinite().all()


def test_on_minibatches_there_are_tries_but_no_climbing():
    x, y = curve()
    model = bz.BNN(bz.nets.MLP(1, 1, hidden=(4,)), bz.priors.Normal(), bz.likelihoods.Gaussian())
    whole = LogJoint(model, (x, y))
    some = LogJoint(model, (x[:10], y[:10]), {"size": 40}, rows_per_chain=True)
    started(whole)
    started(some)
    assert whole.evaluations > 4 * BestOf().tries == some.evaluations


@pytest.mark.parametrize("changed", [{"tries": 0}, {"steps": -1}, {"learning_rate": 0.0}])
def test_settings_without_sense_are_refused(changed):
    with pytest.raises(ValueError, match="BestOf needs"):
        BestOf(**changed)


def lost(log_joint, chains, generator):
    position = from_support(log_joint, chains, generator)
    position[0, 0] = torch.nan
    return position


def outside(log_joint, chains, generator):
    return torch.full((chains, log_joint.dim), 1e30)


def flat(log_joint, chains, generator):
    return torch.zeros(log_joint.dim)


WRONG = {
    lost: r"init lost gave 1 of \d chains a start that is NaN or infinite, at sites \['w'\]",
    outside: r"init outside gave \d of \d chains a start where the log joint or its gradient is not finite",
    flat: r"init must give floating positions \[chain, dim\] = \(\d, 4\), got torch.float32 \(4,\)",
}


@pytest.mark.parametrize("init", WRONG, ids=lambda init: init.__name__)
@pytest.mark.parametrize("name", ALL)
def test_a_start_that_is_none_is_one_clear_error_before_any_work(name, init):
    data = orthogonal_design(16, dtype=torch.float32)
    backend = ALL[name](init=init, chains=2)
    with pytest.raises(ValueError, match=WRONG[init]):
        bz.fit(regression, data, backend, progress=False)


def network():
    return bz.BNN(bz.nets.MLP(1, 1, hidden=(4,)), bz.priors.Normal(), bz.likelihoods.Gaussian())


def test_a_net_whose_training_diverged_is_named():
    net = bz.nets.MLP(1, 1, hidden=(4,))
    net[2].bias.data.fill_(torch.nan)
    with pytest.raises(bz.ModelError, match=r"\d of \d values of parameter '2.bias' are NaN or infinite.*smaller learning"):
        bz.fit(network(), curve(), bz.NUTS(init=bz.density.FromNet(net)), progress=False)


def test_a_warm_start_keeps_the_net_and_chooses_the_rest():
    net = bz.nets.MLP(1, 1, hidden=(4,))
    log_joint = LogJoint(network(), curve())
    position = started(log_joint, bz.density.FromNet(net))
    sites = log_joint.constrain(position)
    for name, value in net.named_parameters():
        torch.testing.assert_close(sites[name], value.detach().expand(4, *value.shape))
    assert log_joint(position)[0].isfinite().all()
