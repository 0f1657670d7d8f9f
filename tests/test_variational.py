"""Variational families, handlers and the ELBO against algebra."""

import math
from contextlib import nullcontext
from functools import partial

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import TraceMeanField_ELBO
from scipy import integrate
from targets import NOISE, orthogonal_design, regression, regression_posterior
from torch.distributions import Independent, Laplace, Normal, kl_divergence
from torch.nn import functional as F

import bnn_zoo as bz
from bnn_zoo.density import Elbo
from bnn_zoo.guides import MeanFieldNormal
from bnn_zoo.handlers import Flipout, LocalReparameterization, RowMasks
from bnn_zoo.laws import Dropped, LogUniform

BOTH = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])


def run(backend, model, data, seed=0):
    return backend.run(model, data, seed=seed, progress=False)


# ---------------------------------------------------------------------------------------------------------------- laws


@BOTH
def test_dropped_weights_have_their_mean_and_variance(dtype):
    torch.manual_seed(0)
    law = Dropped(torch.tensor([[1.0, -2.0, 0.5]], dtype=dtype).expand(2, 3).clone(), 0.3)
    draws = torch.stack([law.rsample() for _ in range(20_000)])
    assert draws.dtype == dtype and draws.shape == (20_000, 2, 3)
    assert ((draws == 0).all(1) | (draws != 0).all(1)).all()  # an input is off for all units
    assert ((draws == 0).double().mean((0, 1)) - 0.3).abs().max() < 0.015
    torch.testing.assert_close(draws.mean(0), law.mean, rtol=0, atol=0.05)
    torch.testing.assert_close(draws.var(0), law.variance, rtol=0.06, atol=0)


def test_kl_of_dropout_is_the_l2_term():
    """``−E_q log p``: for N(0, s²) that is M² / (2 (1 − rate) s²) and a constant; and what sampling says."""
    torch.manual_seed(0)
    M, rate, s = torch.randn(4, 5, dtype=torch.float64), 0.4, 0.7
    q, p = Dropped(M, rate), Normal(torch.zeros(4, 5).double(), s)
    kl = kl_divergence(q, p)
    constant = 0.5 * math.log(2 * math.pi * s**2)
    torch.testing.assert_close(kl, M.square() / (2 * (1 - rate) * s**2) + constant)
    sampled = -torch.stack([p.log_prob(q.rsample()) for _ in range(20_000)]).mean(0)
    torch.testing.assert_close(kl, sampled, rtol=0.05, atol=0.05)


def test_kl_to_the_log_uniform_is_that_of_the_integral():
    """Differences of KL(N(m, s²) ‖ 1/|w|) over α = s²/m², against quadrature; the published fit is off by 0.009 at most."""

    def exact(alpha):
        """E_q[log |w|] − entropy, at m = 1; the integral around its logarithmic pole."""
        s = alpha**0.5
        density = lambda w: math.exp(-0.5 * ((w - 1) / s) ** 2) / (s * math.sqrt(2 * math.pi)) * math.log(abs(w) + 1e-300)
        parts = [(-12 * s + 1, 0.0), (0.0, 12 * s + 1)] if 12 * s > 1 else [(1 - 12 * s, 1 + 12 * s)]
        expected = sum(integrate.quad(density, a, b, limit=400, points=[1.0] if a < 1 < b else None)[0] for a, b in parts)
        return expected - 0.5 * math.log(2 * math.pi * math.e * alpha)

    alphas = [1e-3, 1e-2, 0.1, 0.5, 1.0, 3.0, 10.0, 100.0]
    m = torch.ones(1, dtype=torch.float64)
    fit = [float(kl_divergence(Normal(m, a**0.5), LogUniform((1,)))) for a in alphas]
    truth = [exact(a) for a in alphas]
    for i in range(1, len(alphas)):
        assert abs((fit[i] - fit[0]) - (truth[i] - truth[0])) < 0.02
    assert fit[-1] < 0.05


def test_log_uniform_refuses_what_it_cannot_do():
    law = bz.priors.LogUniform()("0.weight", torch.Size((2, 3)))
    assert law.event_shape == (2, 3)
    torch.testing.assert_close(law.log_prob(torch.full((2, 3), 0.5)), torch.tensor(6 * math.log(2.0)))
    with pytest.raises(NotImplementedError, match="improper"):
        law.sample()


@pytest.mark.parametrize(
    "backend", [bz.NUTS(chains=1, warmup=1, draws=1), bz.SGLD(chains=1, steps=2, batch_size=4), bz.MAP(steps=1)], ids=repr
)
@pytest.mark.parametrize("prior", [bz.priors.LogUniform(), bz.priors.Normal(bz.priors.PerInput(bz.priors.LogUniform()))])
def test_no_chains_where_the_posterior_has_infinite_mass(prior, backend):
    """``∫ p(y | w) / |w| dw`` diverges at 0, where the likelihood is finite; MeanField is what the message advises."""
    x, y = torch.randn(8, 2), torch.randn(8)
    model = bz.BNN(bz.nets.MLP(2, 1, hidden=()), prior, bz.likelihoods.Gaussian(0.3))
    with pytest.raises(bz.ModelError, match=r"needs a posterior that is a law.*'0\.weight.*use MeanField"):
        run(backend, model, (x, y))
    run(bz.MeanField(steps=1, draws=1), model, (x, y))


# ------------------------------------------------------------------------------------------------------------ handlers

X = {
    F.linear: (torch.randn(6, 3, generator=torch.Generator().manual_seed(1)).double(), (4, 3), {}),
    torch.conv2d: (
        torch.randn(6, 2, 5, 5, generator=torch.Generator().manual_seed(1)).double(),
        (3, 2, 3, 3),
        {"stride": 2, "padding": 1},
    ),
}


def outputs(handler, law, layer, x, bias, count, **settings):
    """Outputs ``[count, …]`` of a layer whose weight is sampled under ``handler``."""
    torch.manual_seed(0)
    out = []
    for _ in range(count):
        with handler():
            out.append(layer(x, pyro.sample("w", law.to_event(x.dim())), bias, **settings))
    return torch.stack(out)


@pytest.mark.parametrize("layer", [n if n == "linear" else pytest.param(n, marks=pytest.mark.slow) for n in X])
@pytest.mark.parametrize("handler", [LocalReparameterization, Flipout])
def test_rows_have_the_law_of_the_weights(handler, layer):
    """Means and variances of outputs are those of a normal weight; rows are uncorrelated, as one shared weight's are not."""
    x, shape, settings = X[layer]
    g = torch.Generator().manual_seed(2)
    loc, scale = torch.randn(shape, generator=g).double(), torch.rand(shape, generator=g).double()
    bias = torch.randn(shape[0], generator=g).double()
    seen = outputs(handler, dist.Normal(loc, scale), layer, x, bias, 8000, **settings)
    mean = layer(x, loc, bias, **settings)
    variance = layer(x.square(), scale.square(), None, **settings)
    errors = (variance / 8000).sqrt()
    assert ((seen.mean(0) - mean) / errors).abs().max() < 4.8
    assert (seen.var(0) / variance - 1).abs().max() < 0.12  # flipout's tails are heavier than a normal's
    first, second = seen[:, 0].flatten(1)[:, 0], seen[:, 1].flatten(1)[:, 0]
    assert abs(float(torch.corrcoef(torch.stack([first, second]))[0, 1])) < 0.06


@pytest.mark.parametrize("layer", X)
def test_row_masks_have_the_law_of_dropped_weights(layer):
    x, shape, settings = X[layer]
    loc = torch.randn(shape, generator=torch.Generator().manual_seed(2)).double()
    law = Dropped(loc, 0.25)
    seen = outputs(RowMasks, law, layer, x, None, 8000, **settings)
    shared = torch.stack([layer(x, law.rsample(), None, **settings) for _ in range(8000)])
    mean, sd = layer(x, loc, None, **settings), shared.std(0)
    assert ((seen.mean(0) - mean).abs() <= 4.8 * sd / 8000**0.5 + 1e-9).all()
    assert ((seen.std(0) - sd).abs() <= 0.06 * sd + 1e-9).all()
    assert abs(float(torch.corrcoef(torch.stack([seen[:, 0].flatten(1)[:, 0], seen[:, 1].flatten(1)[:, 0]]))[0, 1])) < 0.06


def test_handlers_leave_torch_alone():
    """Nothing is patched: the functions are the same objects inside and after, and another weight passes through."""
    before = F.linear, torch.conv2d, torch.nn.functional.conv2d
    x, w = torch.randn(3, 2), torch.randn(4, 2)
    with LocalReparameterization():
        assert (F.linear, torch.conv2d, torch.nn.functional.conv2d) == before
        torch.testing.assert_close(F.linear(x, w), x @ w.T)
        with pytest.raises(ZeroDivisionError):
            with Flipout():
                raise ZeroDivisionError
    assert (F.linear, torch.conv2d, torch.nn.functional.conv2d) == before
    torch.testing.assert_close(F.linear(x, w), x @ w.T)


def test_local_reparameterisation_lowers_the_variance_of_gradients():
    x, y = orthogonal_design(64)
    model = bz.BNN(bz.nets.MLP(4, 1, hidden=(8,)), bz.priors.Normal(1.0), bz.likelihoods.Gaussian(NOISE))
    spread = {}
    for handler in (None, LocalReparameterization, Flipout):
        with pyro.get_param_store().scope(), pyro.validation_enabled(False), bz._scope.factory(x.device, x.dtype):
            torch.manual_seed(0)
            guide = MeanFieldNormal(model, init_scale=0.3)
            elbo = Elbo(model, guide, (x, y), {}, 1, handler or nullcontext)
            gradients = torch.stack([elbo(elbo.start)[2] for _ in range(200)])
        spread[handler] = float(gradients.var(0).sum())
    assert spread[LocalReparameterization] < 0.5 * spread[None]
    assert spread[Flipout] < 0.8 * spread[None]


# ---------------------------------------------------------------------------------------------------------------- ELBO


def evidence(x, y):
    """log N(y; 0, x xᵀ + s²)."""
    covariance = x @ x.T + NOISE**2 * torch.eye(len(x), dtype=x.dtype)
    return float(torch.distributions.MultivariateNormal(torch.zeros_like(y), covariance).log_prob(y))


@pytest.mark.parametrize("batch", [None, pytest.param(16, marks=pytest.mark.slow)])
def test_elbo_reaches_the_evidence_where_the_family_holds_the_posterior(batch):
    """On an orthogonal design the posterior is a product of normals: ELBO = log evidence, entropy that of the posterior."""
    x, y = orthogonal_design()
    _, covariance = regression_posterior(x, y)
    draws = run(bz.MeanField(steps=3000, draws=10, batch_size=batch), regression, (x, y))
    late = {k: float(v[0, -500:].double().mean()) for k, v in draws.history.items()}
    entropy = 0.5 * float((2 * math.pi * math.e * covariance.diagonal()).log().sum())
    noise = 0.3 if batch is None else 8.0  # the rest of a minibatch's log likelihood is worth 1 a row
    assert abs(late["elbo"] - evidence(x, y)) < noise
    assert abs(late["entropy"] - entropy) < (0.05 if batch is None else 0.3)
    assert abs(late["elbo"] - (late["entropy"] - late["energy"])) < 1e-3


@pytest.mark.parametrize("batch", [64, 16])
def test_elbo_and_gradient_agree_with_pyro_and_scale_with_minibatches(batch):
    """Means over many draws: value and gradient of Pyro's own ELBO on all rows; minibatches agree with it too."""
    x, y = orthogonal_design(64)
    with pyro.get_param_store().scope(), pyro.validation_enabled(False), bz._scope.factory(x.device, x.dtype):
        torch.manual_seed(0)
        guide = MeanFieldNormal(regression, init_scale=0.2)
        kwargs = {"size": 64}
        elbo = Elbo(regression, guide, (x[:batch], y[:batch]), kwargs, 1, nullcontext)
        seen = [elbo(elbo.start, x[i : i + batch], y[i : i + batch]) for _ in range(400) for i in range(0, 64, batch)]
        value, gradient = torch.stack([s[0] for s in seen]), torch.stack([s[2] for s in seen])
        losses = []
        for _ in range(400):
            loss = TraceMeanField_ELBO().differentiable_loss(regression, guide, x, y)
            named = dict(pyro.get_param_store().named_parameters())
            grads = torch.autograd.grad(loss, [named[n] for n in elbo.shapes])
            losses.append((float(loss.detach()), torch.cat([g.reshape(-1) for g in grads])))
    theirs, their_gradient = torch.tensor([-v for v, _ in losses]).double(), -torch.stack([g for _, g in losses])
    error = (value.var() / len(value) + theirs.var() / 400).sqrt()
    assert abs(float(value.mean() - theirs.mean())) < 4 * float(error)
    errors = (gradient.var(0) / len(value) + their_gradient.var(0) / 400).sqrt()
    assert ((gradient.mean(0) - their_gradient.mean(0)) / errors).abs().max() < 4


def test_each_call_of_the_traced_elbo_draws_anew():
    x, y = orthogonal_design(16)
    with pyro.get_param_store().scope(), pyro.validation_enabled(False), bz._scope.factory(x.device, x.dtype):
        elbo = Elbo(regression, MeanFieldNormal(regression), (x, y), {}, 2, nullcontext)
        torch.manual_seed(3)
        first, second = elbo(elbo.start)[0], elbo(elbo.start)[0]
        assert elbo.traced
        torch.manual_seed(3)
        assert first != second and elbo(elbo.start)[0] == first


def linear(prior, likelihood=None):
    return bz.BNN(bz.nets.MLP(4, 1, hidden=()), prior, likelihood or bz.likelihoods.Gaussian(NOISE))


def without_bias(x, y):
    """Data for which the best bias is 0: each row once more with the signs of x and y changed."""
    return torch.cat([x, -x]), torch.cat([y, -y])


@pytest.mark.slow
@pytest.mark.parametrize("rate", [0.2, 0.0, 0.5])
def test_mc_dropout_on_a_linear_model_is_ridge(rate):
    """E‖y − x(m∘z)/(1−r)‖² adds r/(1−r) ‖x_j‖² m_j² to the squared error, and the prior m_j²/(1−r): both shrink m."""
    x, y = without_bias(*orthogonal_design(64))
    backend = bz.MCDropout(
        steps=3000, draws=200, rate=rate, sites=("0.weight",), learning_rate=bz.schedules.cosine(0.02, end=1e-5)
    )
    draws = run(backend, linear(bz.priors.Normal(1.0)), (x, y)).sites["0.weight"][0, :, 0]
    squares = x.square().sum(0)
    wanted = (x * y[:, None]).sum(0) / (squares + (rate * squares + NOISE**2) / (1 - rate))
    on = draws[draws != 0].sign().new_tensor([float(d[d != 0].mean()) for d in draws.T])
    torch.testing.assert_close(on * (1 - rate), wanted, rtol=0, atol=0.02 + 0.03 * (rate > 0))
    assert abs(float((draws == 0).double().mean()) - rate) < 0.06


def test_an_optimiser_takes_its_own_steps_along_the_gradient_of_the_elbo():
    """Nothing dropped, so the ELBO is the log joint: 20 steps of SGD with momentum and a falling rate, by hand."""
    x, y = without_bias(*orthogonal_design(8))
    rate = bz.schedules.polynomial(1e-3, b=10.0, gamma=0.75)
    m, v = x.new_full((4,), 0.1), x.new_zeros(4)
    for step in range(20):
        v = 0.9 * v + x.T @ (y - x @ m) / NOISE**2 - m
        m = m + 1e-3 * (10 + step) ** -0.75 * v
    start = torch.cat([x.new_full((1, 4), 0.1), x.new_zeros(1, 1)], 1)
    sgd = partial(torch.optim.SGD, momentum=0.9)
    backend = bz.MCDropout(
        steps=20, draws=1, rate=0.0, sites=("0.weight",), learning_rate=rate, optimiser=sgd, init=lambda *_: start
    )
    found = run(backend, linear(bz.priors.Normal(1.0)), (x, y)).sites
    torch.testing.assert_close(found["0.weight"][0, 0, 0], m)
    assert found["0.bias"].abs().max() < 1e-9 and (m - 0.1).abs().max() > 1e-2


def test_rows_see_their_own_masks_in_training_and_one_in_prediction():
    """A draw of the posterior is a function: the same input twice has the same output; draws differ."""
    x = torch.randn(30, 3, generator=torch.Generator().manual_seed(0))
    y = torch.randint(0, 2, (30,), generator=torch.Generator().manual_seed(1))
    model = bz.BNN(bz.nets.MLP(3, 2, hidden=(20,)), bz.priors.Normal(1.0), bz.likelihoods.Categorical())
    posterior = bz.fit(model, (x, y), bz.MCDropout(steps=50, draws=8, rate=0.5), progress=False)
    f = posterior.predict(torch.cat([x, x])).f
    torch.testing.assert_close(f[..., :30, :], f[..., 30:, :])
    assert (f.std(1) > 1e-4).any()
    assert (posterior.draws.sites["2.weight"] == 0).any() and not (posterior.draws.sites["0.weight"] == 0).any()


@pytest.mark.slow
def test_variational_dropout_finds_the_inputs_that_matter():
    """Two of ten inputs matter: log α = log (s²/m²) is above 3 for the others, the bound at which Molchanov et al. prune."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(400, 10, generator=generator)
    y = x[:, 0] - 0.7 * x[:, 1] + 0.3 * torch.randn(400, generator=generator)
    net = bz.nets.MLP(10, 1, hidden=())
    model = bz.BNN(net, bz.priors.LogUniform(), bz.likelihoods.Gaussian(0.3))
    backend = bz.MeanField(
        steps=1500,
        draws=500,
        handler=LocalReparameterization,
        init=bz.density.FromNet(net),
        learning_rate=bz.schedules.cosine(0.05),
    )
    w = run(backend, model, (x, y)).sites["0.weight"][0, :, 0].double()
    log_alpha = (w.var(0) / w.mean(0).square()).log()
    assert (log_alpha[:2] < -3).all()
    assert (log_alpha[2:] > 2).float().mean() > 0.7
    assert abs(float(w[:, 0].mean()) - 1) < 0.1 and abs(float(w[:, 1].mean()) + 0.7) < 0.1


@pytest.mark.parametrize("handler", [LocalReparameterization, pytest.param(Flipout, marks=pytest.mark.slow)])
def test_handlers_leave_the_optimum_where_it_is(handler):
    """Mean field of a linear network with normal noise: the optimum is the product of normals of the exact posterior."""
    x, y = without_bias(*orthogonal_design(64))
    precision = x.square().sum(0) / NOISE**2 + 1
    draws = run(bz.MeanField(steps=1500, draws=2000, handler=handler), linear(bz.priors.Normal(1.0)), (x, y)).sites[
        "0.weight"
    ]
    w = draws[0, :, 0]
    sd = precision.rsqrt()
    assert ((w.mean(0) - (x * y[:, None]).sum(0) / NOISE**2 / precision) / sd).abs().max() < 0.3
    assert (w.std(0) / sd - 1).abs().max() < 0.12


@pytest.mark.parametrize("steps", [20, pytest.param(1500, marks=pytest.mark.slow)])
def test_low_rank_family_of_pyro_plugs_in(steps):
    from pyro.infer.autoguide import AutoLowRankMultivariateNormal
    from targets import correlated_design

    x, y = correlated_design()
    mean, covariance = regression_posterior(x, y)
    guide = partial(AutoLowRankMultivariateNormal, rank=2)
    backend = bz.MeanField(steps=steps, draws=1000, guide=guide, particles=2, learning_rate=bz.schedules.cosine(0.05))
    found = run(backend, regression, (x, y))
    assert found.attrs["traced"] is True
    draws = found.sites["w"]
    assert draws.shape == (1, 1000, 4) and found.history["elbo"].shape == (1, steps)
    if steps == 20:
        return
    assert ((draws.mean((0, 1)) - mean) / covariance.diagonal().sqrt()).abs().max() < 0.4
    assert (draws.std((0, 1)) > 0.5 * covariance.diagonal().sqrt()).all()


def test_restarts_share_a_graph(monkeypatch):
    from bnn_zoo.density import elbo

    traced, usual = [], elbo.trace
    monkeypatch.setattr(elbo, "trace", lambda *a: traced.append(1) or usual(*a))
    x, y = orthogonal_design(16)
    together = run(bz.MeanField(chains=3, steps=20, draws=5), regression, (x, y))
    assert len(traced) == 1 and together.attrs["traced"]
    monkeypatch.setattr(elbo.Elbo, "_taken", lambda *a: None)
    apart = run(bz.MeanField(chains=3, steps=20, draws=5), regression, (x, y))
    assert len(traced) == 4 and torch.equal(together.sites["w"], apart.sites["w"])


def test_restarts_see_other_minibatches():
    """From one start, with a family whose draws hardly differ, they end apart: the batches' noise is their own."""
    x, y = orthogonal_design(16)

    def narrow(model, init_loc_fn):
        def guide(*args, **kwargs):
            w = pyro.param("w_loc", torch.zeros(x.shape[1], dtype=x.dtype))
            pyro.sample("w", dist.Normal(w, 1e-9).to_event(1))

        return guide

    settings = {
        "steps": 7,
        "draws": 2,
        "guide": narrow,
        "init": lambda log_joint, chains, _: torch.zeros(chains, 4).double(),
    }
    whole = run(bz.MeanField(chains=3, **settings), regression, (x, y)).sites["w"][:, 0]
    torch.testing.assert_close(whole[0].expand(3, 4), whole, rtol=0, atol=1e-7)
    few = run(bz.MeanField(chains=3, batch_size=4, **settings), regression, (x, y)).sites["w"][:, 0]
    assert torch.cdist(few, few)[0, 1:].min() > 1e-3 and torch.cdist(few, few)[1, 2] > 1e-3


def test_a_start_that_a_guide_holds_is_not_that_of_another_restart():
    """A family N(start, s²) whose mean is no parameter: each restart's energy is that of its own start."""
    x, y = orthogonal_design(16)
    places = torch.stack([torch.full((x.shape[1],), v, dtype=x.dtype) for v in (-3.0, 5.0)])

    def around(model, init_loc_fn):
        start = init_loc_fn({"type": "sample", "name": "w", "fn": dist.Normal(0.0, 1.0), "is_observed": False})

        def guide(*args, **kwargs):
            s = pyro.param("s", torch.tensor(0.01, dtype=x.dtype), constraint=dist.constraints.positive)
            pyro.sample("w", dist.Normal(start, s).to_event(1))

        return guide

    found = run(bz.MeanField(chains=2, steps=3, draws=50, guide=around, init=lambda *_: places), regression, (x, y))
    assert (found.sites["w"] - places[:, None]).abs().max() < 0.1
    energy = -bz.LogJoint(regression, (x, y))(places)[0]
    assert (found.history["energy"][:, 0] / energy - 1).abs().max() < 0.05 and energy[0] / energy[1] < 0.7


BAD = {
    "rate": (lambda: bz.MCDropout(rate=1.0), ValueError, r"MCDropout: rate must be at least 0 and below 1, got 1.0"),
    "sites": (
        lambda: run(
            bz.MCDropout(steps=2, draws=2, sites=("9.weight",)),
            linear(bz.priors.Normal(1.0)),
            without_bias(*orthogonal_design(8)),
        ),
        bz.ModelError,
        r"no weight to drop inputs of",
    ),
    "optimiser": (
        lambda: bz.MeanField(optimiser=torch.optim.SGD([torch.zeros(1)])),
        TypeError,
        r"MeanField: optimiser must be a class of torch.optim, such as torch.optim.Adam",
    ),
    "optimiser of all": (
        lambda: run(bz.MeanField(steps=2, draws=2, optimiser=torch.optim.LBFGS), regression, orthogonal_design(8)),
        TypeError,
        r"MeanField: optimiser must work coordinate by coordinate .* since all parameters are one vector; LBFGS fails",
    ),
    "vector": (lambda: Dropped(torch.zeros(3), 0.5), ValueError, r"needs a weight \[out, in"),
    "diverged": (
        lambda: run(bz.MeanField(steps=60, draws=2, learning_rate=1e30), regression, orthogonal_design(8)),
        FloatingPointError,
        r"MeanField diverged.*smaller learning_rate",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_says_what_to_do(name):
    make, error, match = BAD[name]
    with pytest.raises(error, match=match):
        make()


def test_a_prior_without_an_analytic_kl_is_sampled():
    """MCDropout under a Laplace prior: ``−log p`` at the draw."""
    x, y = without_bias(*orthogonal_design(32))
    draws = run(bz.MCDropout(steps=20, draws=3, sites=("0.weight",)), linear(bz.priors.Laplace(1.0)), (x, y))
    assert torch.isfinite(draws.history["elbo"]).all()
    with pytest.raises(NotImplementedError):
        kl_divergence(Independent(Dropped(torch.ones(2, 2), 0.1), 2), Independent(Laplace(torch.zeros(2, 2), 1.0), 2))
