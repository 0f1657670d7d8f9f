"""Several outputs with a joint covariance, mixtures, and how wide a network each likelihood needs; oracles are SciPy's."""

import math

import numpy as np
import pyro.distributions as dist
import pytest
import scipy.integrate
import scipy.stats
import torch
from pyro import poutine

import bnn_zoo as bz
from bnn_zoo import likelihoods
from bnn_zoo.catalogue import of
from bnn_zoo.likelihoods import Categorical, Gaussian, MixtureDensity, MultivariateNormal, Ordinal

N = 4


def numbers(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def softplus(x):
    return np.log1p(np.exp(x))


# ------------------------------------------------------------------------------------------------ joint covariance


def test_multivariate_normal_is_scipys():
    f, y, d = numbers(N, 3), numbers(N, 3, seed=1), torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)
    r = torch.tensor([[1.0, 0.3, -0.2], [0.3, 1.0, 0.5], [-0.2, 0.5, 1.0]], dtype=torch.float64)
    held = {"noise": d, "correlation_cholesky": torch.linalg.cholesky(r)}
    with poutine.trace() as sites, poutine.condition(data=held):
        law = MultivariateNormal()(f)
    assert {n: m["fn"].shape() for n, m in sites.trace.nodes.items()} == {"noise": (3,), "correlation_cholesky": (3, 3)}
    covariance = d[:, None] * r * d
    expected = [scipy.stats.multivariate_normal(m, covariance).logpdf(v) for m, v in zip(f, y, strict=True)]
    torch.testing.assert_close(law.log_prob(y), torch.tensor(expected))
    torch.testing.assert_close(law.mean, f)
    torch.testing.assert_close(law.variance, covariance.diagonal().expand(N, 3))


@pytest.mark.parametrize("concentration", [pytest.param(1.0, marks=pytest.mark.slow), 3.0])
def test_the_log_joint_with_an_unknown_correlation(concentration):
    """For two columns R has one correlation r = tanh(u), of density ∝ (1 − r²)^(concentration − 1), written out."""
    x, y = numbers(N, 2), numbers(N, 2, seed=1)
    module = torch.nn.Linear(2, 2, bias=False).double()
    model = bz.BNN(module, bz.priors.Normal(0.7), MultivariateNormal(dist.Gamma(2.0, 1.0), concentration))
    joint = bz.LogJoint(model, (x, y), dtype=torch.float64)
    position = 0.5 * numbers(2, joint.dim, seed=2)
    value, gradient = joint(position)
    assert gradient.isfinite().all()
    for got, u in zip(value, position, strict=True):
        sites = {n: s[0] for n, s in joint.constrain(u[None]).items()}
        w, d, factor = (sites[n].numpy() for n in ("weight", "noise", "correlation_cholesky"))
        r = factor[1, 0]
        np.testing.assert_allclose(factor, [[1.0, 0.0], [r, math.sqrt(1 - r * r)]])
        total = scipy.stats.norm(0, 0.7).logpdf(w).sum() + scipy.stats.gamma(2.0).logpdf(d).sum() + np.log(d).sum()
        total += math.log((1 - r * r) ** (concentration - 1) / beta_integral(concentration)) + math.log(1 - r * r)
        covariance = np.diag(d) @ np.array([[1, r], [r, 1]]) @ np.diag(d)
        total += sum(
            scipy.stats.multivariate_normal(w @ a, covariance).logpdf(b) for a, b in zip(x.numpy(), y.numpy(), strict=True)
        )
        assert got.item() == pytest.approx(total, rel=1e-10)


def beta_integral(concentration):
    return scipy.integrate.quad(lambda r: (1 - r * r) ** (concentration - 1), -1, 1)[0]


def test_independent_columns_each_with_its_own_noise():
    """Gaussian over several columns: a law of two numbers infers one noise a column."""
    f, y, noise = numbers(N, 2), numbers(N, 2, seed=1), torch.tensor([0.5, 2.0], dtype=torch.float64)
    with poutine.trace() as sites, poutine.condition(data={"noise": noise}):
        law = Gaussian(dist.HalfNormal(torch.ones(2)))(f)
    assert sites.trace.nodes["noise"]["fn"].event_shape == (2,)
    torch.testing.assert_close(law.log_prob(y), torch.tensor(scipy.stats.norm(f, noise).logpdf(y)).sum(-1))


# ------------------------------------------------------------------------------------------------ mixtures


@pytest.mark.parametrize("columns", [1, 2])
def test_mixture_density_is_the_sum_of_its_parts(columns):
    parts, floor = 3, 0.05
    f, y = numbers(N, parts * (1 + 2 * columns)), numbers(N, columns, seed=1)
    law = MixtureDensity(parts, floor)(f)
    a = f.numpy()
    share = np.exp(a[:, :parts]) / np.exp(a[:, :parts]).sum(1, keepdims=True)
    mean = a[:, parts : parts * (1 + columns)].reshape(N, parts, columns)
    sd = floor + softplus(a[:, parts * (1 + columns) :]).reshape(N, parts, columns)
    density = (share * scipy.stats.norm(mean, sd).pdf(y[:, None]).prod(-1)).sum(1)
    torch.testing.assert_close(law.log_prob(y.squeeze(-1) if columns == 1 else y), torch.tensor(np.log(density)))
    centre = (share[..., None] * mean).sum(1)
    spread = (share[..., None] * (sd**2 + mean**2)).sum(1) - centre**2
    torch.testing.assert_close(law.mean, torch.tensor(centre.squeeze(-1) if columns == 1 else centre))
    torch.testing.assert_close(law.variance, torch.tensor(spread.squeeze(-1) if columns == 1 else spread))


def test_mixture_density_integrates_to_one():
    law = MixtureDensity(2)(numbers(1, 6))
    total, _ = scipy.integrate.quad(lambda y: law.log_prob(torch.tensor([y], dtype=torch.float64)).exp().item(), -30, 30)
    assert total == pytest.approx(1.0, abs=1e-6)
    grid = torch.linspace(-12, 12, 241, dtype=torch.float64)
    cells = torch.cartesian_prod(grid, grid)
    plane = MixtureDensity(2, floor=0.3)(numbers(1, 10).expand(len(cells), 10)).log_prob(cells).exp().sum() * 0.1**2
    assert plane.item() == pytest.approx(1.0, abs=1e-6)


def test_mixture_predictions_hold_every_draw():
    """Two draws of the biases are two mixtures: the predictive density is their mean."""
    bias = numbers(1, 2, 6, seed=3)
    module = torch.nn.Linear(1, 6).double()
    sites = {"weight": torch.zeros(1, 2, 6, 1, dtype=torch.float64), "bias": bias}
    x, y = numbers(N, 1), numbers(N, seed=1)
    model = bz.BNN(module, bz.priors.Normal(), MixtureDensity(2))
    prediction = bz.predict.predict(model, sites, (x,))
    a = bias[0].numpy()
    share = np.exp(a[:, :2]) / np.exp(a[:, :2]).sum(1, keepdims=True)
    each = scipy.stats.norm(a[:, 2:4], 1e-3 + softplus(a[:, 4:])).pdf(y.numpy()[:, None, None])
    torch.testing.assert_close(prediction.log_prob(y), torch.tensor(np.log((share * each).sum(-1).mean(-1))))
    torch.testing.assert_close(prediction.mean, torch.tensor((share * a[:, 2:4]).sum(-1).mean()).expand(N))


def test_settings():
    for wrong in (1, 2.0, True):
        with pytest.raises(ValueError, match=r"components must be a whole number of at least 2, .* HeteroscedasticGaussian"):
            MixtureDensity(wrong)
    with pytest.raises(ValueError, match="MixtureDensity: floor must be at least 0, got -1"):
        MixtureDensity(2, -1.0)
    with pytest.raises(
        bz.ModelError, match=r"MixtureDensity expects .* 6 outputs for one .*, 4 more for each other one, got"
    ):
        MixtureDensity(2)(numbers(N, 8))
    with pytest.raises(bz.ModelError, match=r"MultivariateNormal expects .* at least two \(for one use Gaussian\)"):
        MultivariateNormal()(numbers(N, 1))
    with pytest.raises(ValueError, match="MultivariateNormal: the concentration must be a finite number > 0"):
        MultivariateNormal(1.0, 0.0)
    with pytest.raises(bz.ModelError, match=r"one for each of the 2 columns of y, got \(3,\)"):
        MultivariateNormal(dist.HalfNormal(torch.ones(3)))(numbers(N, 2))


# ------------------------------------------------------------------------------------------------ widths

WIDTHS = {  # one column, two columns
    "Gaussian": (1, 2),
    "Laplace": (1, 2),
    "StudentT": (1, 2),
    "Poisson": (1, 2),
    "NegativeBinomial": (1, 2),
    "Beta": (1, 2),
    "HeteroscedasticGaussian": (2, 4),
    "MixtureDensity": (9, 15),
    "MultivariateNormal": (None, 2),
    "Bernoulli": (1, None),
    "Ordinal": (1, None),
    "Categorical": (None, None),
}


def test_out_features():
    assert WIDTHS.keys() == of("likelihood").keys()
    for name, entry in of("likelihood").items():
        for columns, width in zip((1, 2), WIDTHS[name], strict=True):
            assert width is None or entry.make().out_features(columns) == width
        if WIDTHS[name][len(entry.facts["y"])] is not None:
            assert entry.make().out_features(*entry.facts["y"]) == entry.facts["outputs"]
    assert MixtureDensity(components=5).out_features(columns=1) == 15 and Ordinal(4).out_features() == 1
    assert Categorical(4).out_features() == 4 == Categorical(class_weights=[1.0] * 4).out_features()
    assert Categorical().out_features() is None


def fit(likelihood, outputs, y, net=None):
    model = bz.BNN(net or bz.nets.MLP(8, outputs, hidden=()), bz.priors.Normal(), likelihood)
    return bz.fit(model, (torch.randn(N, 8, generator=torch.Generator().manual_seed(0)), y), bz.MAP(steps=1), progress=False)


REAL, LABELS = torch.linspace(-1, 1, N), torch.arange(N) % 3
DISAGREE = {  # likelihood, y, a wrong width, the right one
    "Gaussian": (Gaussian(), REAL, 2, 1),
    "two columns": (Gaussian(), REAL[:, None].expand(N, 2), 1, 2),
    "mean and sd": (likelihoods.HeteroscedasticGaussian(), REAL, 1, 2),
    "mixture": (MixtureDensity(5), REAL, 1, 15),
    "mixture of two columns": (MixtureDensity(2), REAL[:, None].expand(N, 2), 6, 10),
    "joint": (MultivariateNormal(), REAL[:, None].expand(N, 2), 3, 2),
    "Bernoulli": (likelihoods.Bernoulli(), LABELS % 2, 2, 1),
    "Ordinal": (Ordinal(3), LABELS, 3, 1),
    "classes": (Categorical(3), LABELS, 10, 3),
    "weighted classes": (Categorical(class_weights=[1.0, 2.0, 3.0]), LABELS, 2, 3),
}


@pytest.mark.parametrize("name", DISAGREE)
def test_a_net_of_another_width_is_refused_and_the_advice_works(name):
    likelihood, y, wrong, right = DISAGREE[name]
    needs = (
        rf"{type(likelihood).__name__}\(.*needs {right} outputs? of the net .* got {wrong}: .* nets\.MLP\(8, {right}\) has"
    )
    with pytest.raises(bz.ModelError, match=needs):
        fit(likelihood, wrong, y)
    fit(likelihood, right, y)


def test_widths_without_y_of_other_nets_and_of_ones_own_likelihood():
    x = torch.zeros(N, 8)
    with pytest.raises(bz.ModelError, match=r"^MixtureDensity\(.*\) needs 6 outputs of the net, got 7: "):
        bz.BNN(bz.nets.MLP(8, 7), bz.priors.Normal(), MixtureDensity(2))(x)
    assert bz.BNN(bz.nets.MLP(8, 10), bz.priors.Normal(), MixtureDensity(2))(x).shape == (N, 2)
    flat = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(8, 4))
    with pytest.raises(
        bz.ModelError, match=r"^Categorical\(classes=3\) needs 3 outputs of the net, got 4: .* 3 outputs, or"
    ):
        bz.BNN(flat, bz.priors.Normal(), Categorical(3))(x.reshape(N, 2, 4))
    own = fit(lambda f: dist.Normal(f[:, 0] + f[:, 1], 1.0), 2, REAL)  # has no out_features, and is not asked
    assert own.draws.sites["0.weight"].shape[2:] == (2, 8)


# ------------------------------------------------------------------------------------------------ targets

COUNTS = torch.tensor([0.0, 1.0, 4.0, 2.0])
WRONG = {  # likelihood, y, how many of it are wrong, what is said, what the advice makes of y
    "Poisson: negative": (likelihoods.Poisson(), COUNTS - 1, 1, "counts are whole numbers, 0, 1, 2, …", COUNTS),
    "Poisson: fractions": (likelihoods.Poisson(), COUNTS + 0.5, 4, "counts are whole numbers", COUNTS),
    "NegativeBinomial: negative": (likelihoods.NegativeBinomial(), COUNTS - 1, 1, "counts are whole numbers", COUNTS),
    "NegativeBinomial: fractions": (likelihoods.NegativeBinomial(), COUNTS / 2, 1, "counts are whole numbers", COUNTS),
    "Beta: 0": (likelihoods.Beta(), COUNTS / 8, 1, r"move 0 and 1 inwards, \(y \(n - 1\)", (COUNTS / 8 * 3 + 0.5) / 4),
    "Beta: 1": (likelihoods.Beta(), COUNTS / 4 + 0.0, 2, "from 0 to 1: .* move 0 and 1 inwards", (COUNTS / 4 * 3 + 0.5) / 4),
    "Beta: percent": (likelihoods.Beta(), COUNTS + 20, 4, "divide percentages by 100", (COUNTS + 20) / 100),
    "Ordinal": (Ordinal(3), LABELS + 1, 1, "from 1 to 3: labels are 0 … classes - 1.* write y - 1", LABELS),
    "Categorical": (Categorical(3), LABELS + 2, 2, "from 2 to 4: labels are 0 … classes - 1", LABELS),
}


def with_y(likelihood, y, backend):
    model = bz.BNN(bz.nets.MLP(2, likelihood.out_features(), hidden=()), bz.priors.Normal(), likelihood)
    return bz.fit(model, (torch.zeros(N, 2), y), backend, progress=False)


@pytest.mark.parametrize("name", WRONG)
def test_targets_outside_the_support_and_what_to_write(name, monkeypatch):
    likelihood, y, count, says, right = WRONG[name]
    with monkeypatch.context() as patch, pytest.raises(bz.DataError, match=rf"{count} of 4 values .*{says}"):
        patch.setattr(torch.optim.Adam, "step", lambda *_, **__: pytest.fail("work had started"))
        with_y(likelihood, y, bz.MAP(steps=1))
    with_y(likelihood, right, bz.MAP(steps=1))


@pytest.mark.slow
@pytest.mark.parametrize("name", WRONG)
def test_targets_outside_the_support_in_batches(name):
    likelihood, y, *_ = WRONG[name]
    with pytest.raises(bz.DataError, match="values lie outside the support"):
        with_y(likelihood, y, bz.SGLD(chains=1, steps=2, step_size=1e-4, batch_size=2))
