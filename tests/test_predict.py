"""Predictions against algebra on draws made by hand: mixtures, moments, laws of every kind, blocks, seeds."""

import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import scipy.stats
import torch
from scipy.special import logsumexp
from torch import nn

import bnn_zoo as bz
from bnn_zoo.predict import deterministics, log_likelihood, log_predictive, passes, posterior_predictive, predict, replay
from bnn_zoo.predict.passes import Catch

CHAINS, DRAWS, N = 2, 5, 4
F64 = torch.float64


def numbers(*shape, seed=0, dtype=F64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


X, Y = numbers(N, 3), numbers(N, seed=1)


def linear(outputs, likelihood):
    """A network whose output is algebra: x @ weightᵀ, no bias."""
    return bz.BNN(nn.Sequential(nn.Linear(3, outputs, bias=False)), bz.priors.Normal(), likelihood)


def draws_of(outputs, **others):
    return {"0.weight": numbers(CHAINS, DRAWS, outputs, 3, seed=2), **others}


NOISE = {"noise": numbers(CHAINS, DRAWS, seed=3).exp()}


def outputs_at(sites, x):
    """f of every draw: [chain, draw, n, outputs]."""
    return torch.einsum("cdoi,ni->cdno", sites["0.weight"], x)


def flat(value):
    return value.reshape(CHAINS * DRAWS, *value.shape[2:]).numpy()


@pytest.mark.parametrize("noise", [0.3, None], ids=["fixed", "inferred"])
def test_gaussian_mixture(noise):
    """Moments by the law of total variance, log density of the mixture itself, with each draw's own noise."""
    model = linear(1, bz.likelihoods.Gaussian() if noise is None else bz.likelihoods.Gaussian(noise))
    sites = draws_of(1, **(NOISE if noise is None else {}))
    f = flat(outputs_at(sites, X)[..., 0])
    sd = flat(NOISE["noise"])[:, None] if noise is None else np.full((CHAINS * DRAWS, 1), noise)
    pred = predict(model, sites, (X,))
    assert pred.draws.shape == pred.f.shape == (CHAINS, DRAWS, N)
    np.testing.assert_allclose(flat(pred.f), f)
    np.testing.assert_allclose(pred.mean, f.mean(0))
    np.testing.assert_allclose(pred.epistemic, f.std(0))
    np.testing.assert_allclose(pred.aleatoric, np.broadcast_to(np.sqrt((sd**2).mean(0)), (N,)))
    np.testing.assert_allclose(pred.sd, np.sqrt(f.var(0) + (sd**2).mean(0)))
    each = scipy.stats.norm(f, sd).logpdf(Y.numpy())
    np.testing.assert_allclose(flat(pred.log_likelihood(Y)), each)
    mixture = logsumexp(each, 0) - math.log(CHAINS * DRAWS)
    np.testing.assert_allclose(pred.log_prob(Y), mixture)
    matched = scipy.stats.norm(pred.mean.numpy(), pred.sd.numpy()).logpdf(Y.numpy())
    assert np.abs(mixture - matched).max() > 0.01
    np.testing.assert_allclose(pred.log_prob(Y.numpy()), mixture)
    np.testing.assert_allclose(flat(log_likelihood(model, sites, (X, Y))["y"]), each)


def test_mixture_of_two_distant_normals():
    """Where moment matching would be wrong by many nats."""
    sites = {"0.weight": torch.tensor([[[[-10.0]], [[10.0]]]])}
    model = bz.BNN(nn.Sequential(nn.Linear(1, 1, bias=False)), bz.priors.Normal(), bz.likelihoods.Gaussian(1.0))
    pred = predict(model, sites, (torch.ones(2, 1),))
    expected = scipy.stats.norm.logpdf(0) - math.log(2)
    assert pred.log_prob(torch.tensor([10.0, 0.0])).tolist() == pytest.approx(
        [expected, scipy.stats.norm.logpdf(10)], rel=1e-5
    )
    assert pred.sd.tolist() == pytest.approx([math.sqrt(101)] * 2)
    assert pred.epistemic.tolist() == pytest.approx([10.0] * 2) and pred.aleatoric.tolist() == pytest.approx([1.0] * 2)


def test_several_outputs():
    model, sites = linear(2, bz.likelihoods.Gaussian()), draws_of(2, **NOISE)
    f, sd, y = flat(outputs_at(sites, X)), flat(NOISE["noise"])[:, None, None], numbers(N, 2, seed=4)
    pred = predict(model, sites, (X,))
    assert pred.draws.shape == (CHAINS, DRAWS, N, 2) and pred.mean.shape == pred.sd.shape == (N, 2)
    each = scipy.stats.norm(f, sd).logpdf(y.numpy()).sum(-1)
    np.testing.assert_allclose(pred.log_prob(y), logsumexp(each, 0) - math.log(CHAINS * DRAWS))
    np.testing.assert_allclose(pred.sd, np.sqrt(f.var(0) + (sd**2).mean(0)))


def test_heteroscedastic():
    model, sites = linear(2, bz.likelihoods.HeteroscedasticGaussian(0.1)), draws_of(2)
    f = flat(outputs_at(sites, X))
    mean, sd = f[..., 0], 0.1 + np.log1p(np.exp(f[..., 1]))
    pred = predict(model, sites, (X,))
    np.testing.assert_allclose(pred.mean, mean.mean(0))
    np.testing.assert_allclose(pred.aleatoric, np.sqrt((sd**2).mean(0)))
    each = scipy.stats.norm(mean, sd).logpdf(Y.numpy())
    np.testing.assert_allclose(pred.log_prob(Y), logsumexp(each, 0) - math.log(CHAINS * DRAWS))


def test_categorical():
    """For classes f is the probabilities; the sds are those of each class's indicator."""
    model, sites, labels = linear(3, bz.likelihoods.Categorical()), draws_of(3), torch.tensor([0, 2, 1, 1])
    p = flat(outputs_at(sites, X).softmax(-1))
    pred = predict(model, sites, (X,))
    assert pred.draws.shape == (CHAINS, DRAWS, N) and pred.f.shape == (CHAINS, DRAWS, N, 3)
    np.testing.assert_allclose(pred.mean, p.mean(0))
    np.testing.assert_allclose(pred.epistemic, p.std(0))
    np.testing.assert_allclose(pred.sd**2, p.mean(0) * (1 - p.mean(0)))
    np.testing.assert_allclose(pred.log_prob(labels), np.log(p.mean(0)[np.arange(N), labels]))
    assert set(pred.draws.unique().tolist()) <= {0.0, 1.0, 2.0}


def test_bernoulli():
    model, sites, labels = linear(1, bz.likelihoods.Bernoulli()), draws_of(1), torch.tensor([0, 1, 1, 0])
    p = flat(outputs_at(sites, X)[..., 0].sigmoid())
    pred = predict(model, sites, (X,))
    np.testing.assert_allclose(pred.mean, p.mean(0))
    np.testing.assert_allclose(pred.sd**2, p.mean(0) * (1 - p.mean(0)))
    chosen = np.where(labels.numpy() == 1, p.mean(0), 1 - p.mean(0))
    np.testing.assert_allclose(pred.log_prob(labels), np.log(chosen))


# ---------------------------------------------------------------------------------------------------- laws of any Pyro model

LAWS = {  # law of a row given a number and a positive number; whether its parameters go through vmap in one go
    "student-t": (lambda m, s: dist.StudentT(4.0, m, s), True),
    "log-normal": (lambda m, s: dist.LogNormal(m, s), True),
    "laplace": (lambda m, s: dist.Laplace(m, s), True),
    "gamma": (lambda m, s: dist.Gamma(s, m.exp()), True),
    "beta": (lambda m, s: dist.Beta(s, m.exp()), True),
    "poisson": (lambda m, s: dist.Poisson(m.exp()), True),
    "binomial": (lambda m, s: dist.Binomial(7, logits=m), True),
    "negative binomial": (lambda m, s: dist.NegativeBinomial(s, logits=m), True),
    "geometric": (lambda m, s: dist.Geometric(m.sigmoid()), True),
    "ordinal": (lambda m, s: dist.Categorical(torch.stack([m.sigmoid(), 1 - m.sigmoid()], -1)), True),
    "one-hot": (lambda m, s: dist.OneHotCategorical(logits=torch.stack([m, -m, s.expand(m.shape)], -1)), True),
    "normal, masked": (lambda m, s: dist.Normal(m, s).mask(torch.arange(N) != 1), True),
    "multivariate": (lambda m, s: dist.MultivariateNormal(m[:, None].expand(N, 2), s * torch.eye(2, dtype=F64)), True),
    "multinomial": (lambda m, s: dist.Multinomial(6, logits=torch.stack([m, -m], -1)), True),
    "transformed": (
        lambda m, s: dist.TransformedDistribution(dist.Normal(m, s), [dist.transforms.TanhTransform()]),
        False,
    ),
    "mixture": (
        lambda m, s: dist.MixtureSameFamily(
            dist.Categorical(torch.tensor([0.3, 0.7]).expand(N, 2)), dist.Normal(torch.stack([m, -m], -1), s)
        ),
        True,
    ),
    "zero-inflated": (lambda m, s: dist.ZeroInflatedPoisson(m.exp(), gate=s / (1 + s)), False),
    "dirichlet-multinomial": (
        lambda m, s: dist.DirichletMultinomial(torch.stack([m.exp(), s.expand(m.shape)], -1), 4),
        True,
    ),
    "relaxed": (lambda m, s: dist.RelaxedBernoulli(torch.tensor(0.5), logits=m), False),
}
SITES = {"a": numbers(CHAINS, DRAWS, seed=5), "s": numbers(CHAINS, DRAWS, seed=6).exp()}


def model_of(law):
    def model(x, y=None):
        a, s = pyro.sample("a", dist.Normal(0.0, 1.0)), pyro.sample("s", dist.LogNormal(0.0, 1.0))
        with pyro.plate("rows", len(x)):
            return pyro.sample("y", law(a * x, s), obs=y)

    return model


@pytest.mark.parametrize("name", LAWS)
def test_any_law(name, monkeypatch):
    """Whether batched over draws or draw by draw: the log densities and moments of each draw's own law."""
    law, batched = LAWS[name]
    model, x = model_of(law), X[:, 0]
    runs = []
    monkeypatch.setattr(Catch, "__enter__", lambda self: runs.append(1) or super(Catch, self).__enter__())
    pred = predict(model, SITES, (x,), seed=1)
    assert len(runs) == (2 if batched else 1 + CHAINS * DRAWS)  # the first draw is run alone too
    y = pred.draws[0, 0]
    each = [law(a * x, s) for a, s in zip(SITES["a"].flatten(), SITES["s"].flatten(), strict=True)]
    expected = torch.stack([one.log_prob(y) for one in each])
    if name == "normal, masked":  # a hidden row has no log likelihood
        expected[:, 1] = torch.nan
    torch.testing.assert_close(pred.log_likelihood(y).flatten(0, 1), expected, equal_nan=True)
    torch.testing.assert_close(pred.log_prob(y), expected.logsumexp(0) - math.log(len(each)), equal_nan=True)
    assert pred.draws.shape == (CHAINS, DRAWS, N, *each[0].event_shape)
    if name in ("transformed", "relaxed"):  # torch knows no mean: say so
        assert pred.f.isnan().all() and pred.f.shape == pred.draws.shape
    elif name in ("ordinal", "one-hot"):
        torch.testing.assert_close(pred.f.flatten(0, 1), torch.stack([one.probs for one in each]))
    else:
        torch.testing.assert_close(pred.f.flatten(0, 1), torch.stack([one.mean for one in each]))
        torch.testing.assert_close(pred.variances.flatten(0, 1), torch.stack([one.variance for one in each]))


@pytest.mark.parametrize("name", ["student-t", "mixture", "transformed"])
def test_draws_follow_their_law(name):
    """Kolmogorov-Smirnov of many draws at one posterior draw."""
    law, _ = LAWS[name]
    sites = {k: torch.full((1, 1000), v, dtype=F64) for k, v in (("a", 0.5), ("s", 0.7))}
    x = torch.tensor([1.0, -1.0, 0.5, 2.0], dtype=F64)
    drawn = predict(model_of(law), sites, (x,)).draws[0, :, 3]
    pyro.set_rng_seed(0)
    own = law(0.5 * x, torch.tensor(0.7, dtype=F64)).sample((1000,))[:, 3]
    assert scipy.stats.ks_2samp(drawn, own).pvalue > 0.001


def test_model_that_cannot_be_batched_goes_draw_by_draw():
    """A model with control flow on values cannot be sampled by gradient, but its draws can still predict."""

    def model(x, y=None):
        a = pyro.sample("a", dist.Normal(0.0, 1.0))
        with pyro.plate("rows", len(x)):
            return pyro.sample("y", dist.Normal(a * x if a > 0 else -x, 1.0), obs=y)

    a = SITES["a"]
    f = torch.where(a[..., None] > 0, a[..., None] * X[:, 0], -X[:, 0])
    torch.testing.assert_close(predict(model, {"a": a}, (X[:, 0],)).f, f)


def test_site_names_are_free():
    """Even "observed" is only a name."""

    def model(x, y=None):
        a = pyro.sample("a", dist.Normal(0.0, 1.0))
        with pyro.plate("rows", len(x)):
            pyro.sample("observed", dist.Normal(a * x, 1.0), obs=y)

    found = log_likelihood(model, {"a": SITES["a"]}, (X[:, 0], Y))
    expected = dist.Normal(SITES["a"][..., None] * X[:, 0], 1.0).log_prob(Y)
    torch.testing.assert_close(found["observed"], expected)


def test_several_observed_sites():
    def model(x, y=None, z=None):
        a = pyro.sample("a", dist.Normal(0.0, 1.0))
        with pyro.plate("rows", len(x)):
            pyro.sample("y", dist.Normal(a * x, 1.0), obs=y)
            pyro.sample("z", dist.Poisson((a * x).exp()), obs=z)

    sites, counts = {"a": SITES["a"]}, torch.tensor([0.0, 1.0, 2.0, 0.0], dtype=F64)
    mean = SITES["a"][..., None] * X[:, 0]
    found = log_likelihood(model, sites, (X[:, 0], Y, counts))
    torch.testing.assert_close(found["y"], dist.Normal(mean, 1.0).log_prob(Y))
    torch.testing.assert_close(found["z"], dist.Poisson(mean.exp()).log_prob(counts))
    assert {k: v.shape for k, v in posterior_predictive(model, sites, (X[:, 0], Y, counts)).items()} == {
        "y": (CHAINS, DRAWS, N),
        "z": (CHAINS, DRAWS, N),
    }
    with pytest.raises(bz.ModelError, match=r"leaves one site open .* leaves \['y', 'z'\]"):
        predict(model, sites, (X[:, 0],))
    assert predict(model, sites, (X[:, 0], Y)).mean.shape == (N,)


def test_nothing_open():
    model = model_of(LAWS["student-t"][0])
    with pytest.raises(bz.ModelError, match=r"leaves one site open without y, but .* leaves \[\]: pass the inputs only"):
        predict(model, SITES, (X[:, 0], Y))


def test_factor_is_no_data():
    def model(y):
        a = pyro.sample("a", dist.Normal(0.0, 1.0))
        pyro.factor("extra", -(a**2))
        pyro.deterministic("twice", 2 * a)
        pyro.sample("y", dist.Normal(a, 1.0).expand(y.shape).to_event(1), obs=y)

    assert list(log_likelihood(model, {"a": SITES["a"]}, (Y,))) == ["y"]


def test_likelihood_is_not_scaled_by_plates():
    """Pointwise log likelihoods are of single rows, whatever a plate or poutine.scale says."""
    model, sites = linear(1, bz.likelihoods.Gaussian(1.0)), draws_of(1)
    whole = log_likelihood(model, sites, (X, Y))["y"]
    tempered = log_likelihood(pyro.poutine.scale(model, scale=0.1), sites, (X, Y))["y"]
    torch.testing.assert_close(whole, tempered, rtol=0, atol=0)
    minibatch = replay(model, sites, (X, Y), lambda law, y: {"": law.log_prob(y)}, kwargs={"size": 400})["y"][""]
    torch.testing.assert_close(whole, minibatch, rtol=0, atol=0)


# ---------------------------------------------------------------------------------------------------- deterministics


def test_deterministics():
    def model(x, y=None):
        a = pyro.sample("a", dist.Normal(0.0, 1.0))
        f = pyro.deterministic("f", a * x)
        pyro.deterministic("size", f.abs().sum())
        with pyro.plate("rows", len(x)):
            pyro.sample("y", dist.Normal(f, 1.0), obs=y)

    found = deterministics(model, {"a": SITES["a"]}, (X[:, 0], Y))
    f = SITES["a"][..., None] * X[:, 0]
    torch.testing.assert_close(found, {"f": f, "size": f.abs().sum(-1)})
    assert deterministics(linear(1, bz.likelihoods.Gaussian(1.0)), draws_of(1), (X, Y)) == {}


# ---------------------------------------------------------------------------------------------------- blocks, seeds, state


@pytest.mark.parametrize("rows", [8, 9, 17])
def test_blocks_of_rows_and_chunks_of_draws(rows, monkeypatch):
    """Many rows in blocks and many draws in chunks give what one pass gives."""
    model, sites = linear(1, bz.likelihoods.Gaussian()), draws_of(1, **NOISE)
    x, y = numbers(rows, 3, seed=7), numbers(rows, seed=8)
    whole = predict(model, sites, (x,))
    expected = whole.log_prob(y)
    monkeypatch.setattr(passes, "ROWS", 8)
    monkeypatch.setattr(passes, "NUMBERS", 16 * 24)
    blocks = predict(model, sites, (x,))
    torch.testing.assert_close(blocks.f, whole.f)
    torch.testing.assert_close(blocks.variances, whole.variances)
    torch.testing.assert_close(blocks.log_prob(y), expected)
    assert blocks.draws.shape == whole.draws.shape
    torch.testing.assert_close((blocks.draws - blocks.f).std(), (whole.draws - whole.f).std(), rtol=0.5, atol=0.0)


def test_more_rows_than_a_block():
    """The real limit, once."""
    model, sites = linear(1, bz.likelihoods.Gaussian()), draws_of(1, **NOISE)
    x = numbers(passes.ROWS + 3, 3, seed=7)
    torch.testing.assert_close(predict(model, sites, (x,)).f, outputs_at(sites, x)[..., 0])


def test_seeds():
    model, sites = linear(1, bz.likelihoods.Gaussian()), draws_of(1, **NOISE)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, again, other = (predict(model, sites, (X,), seed=s).draws for s in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)
    made = [posterior_predictive(model, sites, (X, Y), seed=s)["y"] for s in (1, 1, 2)]
    assert torch.equal(made[0], made[1]) and not torch.equal(made[0], made[2])
    assert torch.equal(torch.get_rng_state(), before)


def test_rows_get_noise_of_their_own():
    """Blocks and chunks go on in one random stream: no two rows or draws share their noise."""
    model = bz.BNN(nn.Sequential(nn.Linear(1, 1, bias=False)), bz.priors.Normal(), bz.likelihoods.Gaussian(1.0))
    drawn = predict(model, {"0.weight": torch.zeros(2, 40, 1, 1)}, (torch.zeros(1100, 1),)).draws
    assert drawn.unique().numel() > 0.99 * drawn.numel()
    assert abs(drawn.std().item() - 1) < 0.02


def test_state_is_put_back_after_errors():
    model, sites = linear(1, bz.likelihoods.Gaussian(1.0)), draws_of(1)

    def fails(law, y):
        raise RuntimeError("in the middle")

    before = torch.get_rng_state()
    with pytest.raises(RuntimeError, match="in the middle") as caught:
        replay(model, sites, (X, Y), fails)
    assert caught and torch.get_default_dtype() == torch.float32
    assert torch.distributions.Distribution._validate_args
    assert torch.equal(torch.get_rng_state(), before)
    with pytest.raises((RuntimeError, bz.DataError)):
        predict(model, sites, (X[:, :2],))
    assert torch.get_default_dtype() == torch.float32


def test_float32_stays_float32():
    sites = {k: v.float() for k, v in draws_of(1, **NOISE).items()}
    pred = predict(linear(1, bz.likelihoods.Gaussian()), sites, (X.float(),))
    assert {pred.mean.dtype, pred.sd.dtype, pred.draws.dtype, pred.f.dtype} == {torch.float32}
    assert pred.log_prob(Y.float()).dtype == F64  # summed in double, so that many draws do not round


@pytest.mark.parametrize("shape", [(N, 1), (N - 1,), ()], ids=str)
def test_targets_of_another_shape(shape):
    pred = predict(linear(1, bz.likelihoods.Gaussian(1.0)), draws_of(1), (X,))
    with pytest.raises(ValueError, match=r"log_likelihood expects y of shape \(4,\), as predicted; got"):
        pred.log_prob(torch.zeros(shape))


def posterior_of(model, sites):
    return bz.Posterior(model, (X, Y), bz.Draws(sites))


@pytest.mark.parametrize("scale", [1.0, 60.0], ids=["plain", "probabilities of one"])
def test_log_prob_has_the_gradient_of_differences_in_x(scale):
    """Against the softmax mixture in numpy, and central differences of that; also where each p is 1 to a rounding."""
    sites = {"0.weight": scale * draws_of(3)["0.weight"]}
    x, y = X.clone().requires_grad_(), torch.tensor([0, 2, 1, 1])
    weights = flat(sites["0.weight"])

    def mixture(x):
        f = np.einsum("doi,ni->dno", weights, x)
        return logsumexp((f - logsumexp(f, -1, keepdims=True))[:, np.arange(N), y], 0) - math.log(len(f))

    posterior = posterior_of(linear(3, bz.likelihoods.Categorical()), sites)
    found = posterior.log_prob(x, y)
    np.testing.assert_allclose(found.detach(), mixture(X.numpy()))
    np.testing.assert_allclose(found.detach(), posterior.predict(X).log_prob(y))
    (gradient,) = torch.autograd.grad(found.sum(), x)
    for j, step in enumerate(1e-6 * np.eye(3)):
        difference = (mixture(X.numpy() + step) - mixture(X.numpy() - step)) / 2e-6
        np.testing.assert_allclose(gradient[:, j], difference, rtol=1e-5, atol=1e-7)
    with torch.no_grad():
        assert not posterior.log_prob(x, y).requires_grad


def test_log_prob_in_x_of_noise_labels_to_ignore_and_networks_that_do_not_batch():
    """Each draw's own noise enters; a label to ignore is 0 nats; one draw after the other gives the same."""
    sites = draws_of(1, **NOISE)
    posterior = posterior_of(linear(1, bz.likelihoods.Gaussian()), sites)
    each = scipy.stats.norm(flat(outputs_at(sites, X)[..., 0]), flat(NOISE["noise"])[:, None]).logpdf(Y.numpy())
    np.testing.assert_allclose(posterior.log_prob(X, Y), logsumexp(each, 0) - math.log(CHAINS * DRAWS))
    flat_sites = {name: value.flatten(0, 1) for name, value in sites.items()}
    found = [log_predictive(posterior.model, flat_sites, X, Y, together=t) for t in (True, False)]
    torch.testing.assert_close(*found)
    with pytest.raises(bz.DataError, match=r"expects y of shape \(4,\), as predicted; got \(4, 1\)"):
        posterior.log_prob(X, Y[:, None])
    with pytest.raises(bz.DataError, match="NaN"):
        posterior.log_prob(X * torch.nan, Y)
    classes = posterior_of(linear(3, bz.likelihoods.Categorical(ignore=9)), draws_of(3))
    x = X.clone().requires_grad_()
    ignored = classes.log_prob(x, torch.tensor([0, 9, 1, 2]))
    (gradient,) = torch.autograd.grad(ignored.sum(), x)
    assert ignored.detach()[1] == 0 and (gradient.abs().sum(1) > 0).tolist() == [True, False, True, True]
