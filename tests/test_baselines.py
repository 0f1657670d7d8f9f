"""MAP, deep ensembles and SWAG against closed forms, and starts from networks."""

import numpy as np
import pytest
import torch
from targets import correlated_design, orthogonal_design, regression, regression_posterior

import bnn_zoo as bz
from bnn_zoo._random import Streams, Use
from bnn_zoo.backends._draws import InMemory
from bnn_zoo.density import FromNet, LogJoint
from bnn_zoo.run.loop import Run


def run(backend, model, data, seed=0):
    return backend.run(model, data, seed=seed, progress=False)


@pytest.mark.parametrize(
    "dtype", [torch.float32, pytest.param(torch.float64, marks=pytest.mark.slow)], ids=["float32", "float64"]
)
def test_map_is_the_mode(dtype):
    x, y = correlated_design(dtype=dtype)
    mean, _ = regression_posterior(x, y)
    draws = run(bz.MAP(chains=3, steps=4000, step_size=bz.schedules.cosine(0.05)), regression, (x, y))
    w = draws.sites["w"]
    assert w.shape == (3, 1, 4) and w.dtype == dtype
    torch.testing.assert_close(w, mean.expand(3, 1, 4), rtol=0, atol=2e-3)
    assert draws.attrs["backend"] == "MAP" and draws.stats["temperature"].eq(0).all()


def test_map_with_another_optimiser_and_minibatches():
    from functools import partial

    x, y = orthogonal_design()
    mean, covariance = regression_posterior(x, y)
    sgd = partial(torch.optim.SGD, momentum=0.9)
    backend = bz.MAP(steps=3000, batch_size=16, optimiser=sgd, step_size=bz.schedules.cosine(2e-4, end=1e-7))
    w = run(backend, regression, (x, y)).sites["w"]
    assert ((w[0, 0] - mean) / covariance.diagonal().sqrt()).abs().max() < 0.2


def test_chains_of_map_do_not_meet():
    """An ensemble's members are what each is alone: Adam works coordinate by coordinate."""
    x, y = orthogonal_design(16)
    start = torch.randn(2, 4, generator=torch.Generator().manual_seed(0)).double()
    both = run(bz.MAP(chains=2, steps=30, init=lambda *_: start), regression, (x, y)).sites["w"]
    alone = run(bz.MAP(chains=1, steps=30, init=lambda *_: start[1:]), regression, (x, y)).sites["w"]
    torch.testing.assert_close(both[1], alone[0])


def test_ctrl_c_keeps_where_the_optimiser_was(monkeypatch):
    x, y = orthogonal_design(16)
    advance = Run.advance

    def interrupted(self, i):
        if self.step == 7:
            raise KeyboardInterrupt
        advance(self, i)

    whole = run(bz.MAP(steps=7, step_size=0.01), regression, (x, y)).sites["w"]
    monkeypatch.setattr(Run, "advance", interrupted)
    with pytest.warns(UserWarning, match="MAP: interrupted after 7 of 50 steps"):
        part = run(bz.MAP(steps=50, step_size=0.01), regression, (x, y)).sites["w"]
    torch.testing.assert_close(part, whole)


def test_members_of_a_deep_ensemble_differ_and_predict_together():
    x = torch.linspace(-1, 1, 30)[:, None]
    y = torch.sin(3 * x[:, 0])
    model = bz.BNN(bz.nets.MLP(1, 1, hidden=(10,)), bz.priors.Normal(1.0), bz.likelihoods.Gaussian(0.1))
    init = FromNet(lambda: bz.nets.MLP(1, 1, hidden=(10,)))
    posterior = bz.fit(model, (x, y), bz.DeepEnsemble(steps=800, step_size=0.02, init=init), progress=False)
    prediction = posterior.predict(torch.tensor([[0.0], [3.0]]))
    assert prediction.f.shape == (5, 1, 2)
    assert prediction.epistemic[1] > 3 * prediction.epistemic[0] > 0
    data = posterior.to_inference_data(test=(x, y))
    assert dict(data["posterior"].sizes)["chain"] == 5


def test_swag_draws_have_the_moments_of_its_snapshots():
    """Given snapshots, the law is N(mean, ½ diag + D Dᵀ / (2 (K − 1))): its variance is that of the snapshots."""
    x, y = orthogonal_design(16)
    settings = bz.SWAG(chains=1, steps=80, warmup=40, thinning=1, draws=40_000, rank=40, step_size=1e-4)
    joint = LogJoint(regression, (x, y))
    where = InMemory(1, joint, settings.draws)
    random = Streams(0, Use.MOVES, range(1), joint.device, joint.dtype)
    run = Run(settings.program(joint), joint, random, settings.sink(where), joint.device)
    snapshots = torch.randn(40, 1, 4, generator=torch.Generator().manual_seed(1)).double() * torch.tensor(
        [1.0, 2.0, 0.1, 3.0]
    )
    for one in snapshots:
        run.sink.add(one, {"lp": torch.zeros(1)})
    (stats, doubts), draws = settings.finished(run, where, None), where.held["w"]
    centred = snapshots[:, 0] - snapshots[:, 0].mean(0)
    covariance = 0.5 * torch.diag(centred.square().mean(0)) + 0.5 * centred.T @ centred / 39
    seen, scale = torch.cov(draws[0].T), covariance.diagonal().sqrt()
    assert ((seen - covariance) / scale / scale[:, None]).abs().max() < 0.03
    torch.testing.assert_close(draws.mean((0, 1)), snapshots[:, 0].mean(0), rtol=0, atol=0.05)
    assert (stats["snapshots"] == 40).all() and not doubts


def test_swag_is_near_the_posterior_mean():
    x, y = orthogonal_design()
    mean, covariance = regression_posterior(x, y)
    backend = bz.SWAG(chains=2, steps=4000, warmup=1000, batch_size=16, step_size=1e-4, draws=200)
    draws = run(backend, regression, (x, y))
    assert draws.sites["w"].shape == (2, 200, 4)
    assert ((draws.sites["w"].mean((0, 1)) - mean) / covariance.diagonal().sqrt()).abs().max() < 0.5


@pytest.mark.parametrize("batch", [None, pytest.param(16, marks=pytest.mark.slow)])
def test_laplace_is_the_posterior_where_that_is_normal(batch):
    x, y = correlated_design()
    mean, covariance = regression_posterior(x, y)
    backend = bz.Laplace(chains=2, steps=3000, draws=8000, batch_size=batch, step_size=bz.schedules.cosine(0.05, end=1e-5))
    w = run(backend, regression, (x, y)).sites["w"]
    assert w.shape == (2, 8000, 4)
    centred = w - w.mean(1, keepdim=True)  # each chain has its own mode
    seen, scale = torch.cov(centred.flatten(0, 1).T), covariance.diagonal().sqrt()
    assert ((seen - covariance) / scale / scale[:, None]).abs().max() < 0.05
    assert ((w.mean((0, 1)) - mean) / scale).abs().max() < (0.03 if batch is None else 0.3)


def test_diagonal_laplace_has_the_conditional_variances():
    x, y = correlated_design()
    _, covariance = regression_posterior(x, y)
    backend = bz.DiagonalLaplace(steps=2000, draws=8000, step_size=bz.schedules.cosine(0.05))
    w = run(backend, regression, (x, y)).sites["w"]
    conditional = torch.linalg.inv(covariance).diagonal().rsqrt()
    assert (w.std((0, 1)) / conditional - 1).abs().max() < 0.04
    assert abs(float(torch.corrcoef(w[0].T)[0, 1])) < 0.05


def test_last_layer_laplace_leaves_the_others_at_the_mode():
    """The last layer of a network with fixed noise is a linear regression on the hidden units: its covariance is known."""
    x = torch.linspace(-1, 1, 40, dtype=torch.float64)[:, None]
    y = torch.sin(3 * x[:, 0])
    model = bz.BNN(bz.nets.MLP(1, 1, hidden=(5,)), bz.priors.Normal(1.0), bz.likelihoods.Gaussian(0.2))
    backend = bz.Laplace(steps=3000, draws=6000, sites=("2.*",), step_size=bz.schedules.cosine(0.02))
    sites = run(backend, model, (x, y)).sites
    assert (sites["0.weight"].std(1) == 0).all() and (sites["2.weight"].std(1) > 0).all()
    hidden = torch.tanh(x @ sites["0.weight"][0, 0].T + sites["0.bias"][0, 0])
    design = torch.cat([hidden, torch.ones(40, 1).double()], 1)
    covariance = torch.linalg.inv(design.T @ design / 0.2**2 + torch.eye(6).double())
    drawn = torch.cat([sites["2.weight"][0, :, 0], sites["2.bias"][0]], 1)
    scale = covariance.diagonal().sqrt()
    assert ((torch.cov(drawn.T) - covariance) / scale / scale[:, None]).abs().max() < 0.07


def test_laplace_away_from_a_mode_says_so():
    x, _ = orthogonal_design(16)

    def saddle(x):
        import pyro
        import pyro.distributions as dist

        w = pyro.sample("w", dist.Normal(torch.zeros(2).double(), 1.0).to_event(1))
        pyro.factor("up", 5.0 * torch.cos(w[0]) + 0 * x.sum())

    with pytest.warns(UserWarning, match="Laplace: in 1 of 2 directions the log joint does not curve down"):
        run(bz.Laplace(steps=1, draws=3, init=lambda *_: torch.tensor([[3.1, 0.0]]).double(), step_size=1e-9), saddle, (x,))


@pytest.mark.parametrize("backend", [bz.Laplace, bz.DiagonalLaplace])
def test_laplace_says_how_far_below_the_mode_its_draws_lie(backend):
    """Curvature 1 at 0 and a quartic beyond: a draw z ~ N(0, 1) of five lies Σ z²/2 + 10 z⁴ below the mode."""

    def quartic(x):
        import pyro
        import pyro.distributions as dist

        w = pyro.sample("w", dist.Normal(torch.zeros(5).double(), 1.0).to_event(1))
        pyro.factor("quartic", -x[0] * (w**4).sum() + 0 * x.sum())

    def doubts(strength):
        fit = backend(steps=2, chains=3, draws=40, step_size=1e-9, init=lambda *_: torch.zeros(3, 5).double())
        return run(fit, quartic, (torch.full((4,), strength).double(),)).attrs["doubts"]

    assert doubts(0.0) is None and doubts(0.01) is None
    said = doubts(10.0)
    assert "those of a normal posterior of 5 coordinates lie 2.5 below" in said and "take fewer sites" in said
    z = np.random.default_rng(0).normal(size=(100_000, 5))
    expected = np.median((z**2 / 2 + 10 * z**4).sum(1))
    assert float(said.split("lie ")[1].split(" nats")[0]) == pytest.approx(expected, rel=0.4)


# -------------------------------------------------------------------------------------------------------------- starts


def network():
    x = torch.linspace(-1, 1, 10)[:, None]
    model = bz.BNN(bz.nets.MLP(1, 1, hidden=(3,)), bz.priors.Normal(1.0), bz.likelihoods.Gaussian())
    return model, LogJoint(model, (x, x[:, 0]))


def test_a_trained_net_is_where_all_chains_begin():
    _, log_joint = network()
    net = bz.nets.MLP(1, 1, hidden=(3,))
    sites = log_joint.constrain(FromNet(net)(log_joint, 4, torch.Generator().manual_seed(0)))
    for name, parameter in net.named_parameters():
        torch.testing.assert_close(sites[name], parameter.detach().expand(4, *parameter.shape))
    assert len(sites["noise"].unique()) == 4  # not in the net: from its prior


def test_fresh_nets_for_each_chain_depend_on_the_seed_alone():
    _, log_joint = network()
    init = FromNet(lambda: bz.nets.MLP(1, 1, hidden=(3,)))
    before = torch.random.get_rng_state()
    a, b, c = (init(log_joint, 3, torch.Generator().manual_seed(s)) for s in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(a, b) and not torch.equal(a, c) and not torch.equal(a[0], a[1])
    assert "MLP" in repr(FromNet(bz.nets.MLP)) and "MLP" in repr(FromNet(bz.nets.MLP(1, 1)))


BAD = {
    "another net": (
        lambda: FromNet(bz.nets.MLP(1, 1, hidden=(7,)))(network()[1], 2, torch.Generator()),
        bz.ModelError,
        r"FromNet: site '\S+' has shape .* the net's parameter",
    ),
    "no net": (
        lambda: FromNet(torch.nn.Linear(1, 1))(network()[1], 2, torch.Generator()),
        bz.ModelError,
        r"no site has the name of a parameter",
    ),
    "temperature": (lambda: bz.MAP(temperature=1.0), ValueError, r"MAP has no temperature, warmup or thinning"),
    "thinning": (lambda: bz.DeepEnsemble(thinning=2), ValueError, r"DeepEnsemble has no temperature, warmup or thinning"),
    "no such site": (
        lambda: run(bz.Laplace(steps=2, sites=("9.*",)), regression, orthogonal_design(8)),
        bz.ModelError,
        r"Laplace: sites=.* matches none of \['w'\]",
    ),
    "hot SWAG": (lambda: bz.SWAG(temperature=1.0), ValueError, r"SWAG has no temperature"),
    "one snapshot": (lambda: bz.SWAG(steps=10, thinning=5), ValueError, r"SWAG needs two snapshots or more, got 1"),
    "momentum": (lambda: bz.SWAG(momentum=1.0), ValueError, r"SWAG: momentum must be at least 0 and below 1"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_says_what_to_do(name):
    make, error, match = BAD[name]
    with pytest.raises(error, match=match):
        make()
