"""The contract of every likelihood: the law of one row of y given the network's output."""

import pickle

import numpy as np
import pyro.distributions as dist
import pytest
import scipy.stats
import torch
from pyro import poutine

import bnn_zoo as bz
from bnn_zoo import likelihoods, priors
from bnn_zoo._scope import seeded
from bnn_zoo.catalogue import of
from bnn_zoo.likelihoods import Bernoulli, Categorical, Gaussian, HeteroscedasticGaussian
from bnn_zoo.types import Likelihood, ModelError

N = 5
ROWS = [  # likelihood, outputs of the net, shape of one row of y
    (Gaussian(0.5), 1, ()),
    (Gaussian(0.5), 3, (3,)),
    (Gaussian(), 1, ()),
    (Gaussian(), 3, (3,)),
    (Gaussian(dist.Gamma(2.0, 2.0)), 1, ()),
    (Gaussian(priors.HalfCauchy(0.3)), 2, (2,)),
    (HeteroscedasticGaussian(), 2, ()),
    (HeteroscedasticGaussian(0.1), 6, (3,)),
    (Categorical(), 2, ()),
    (Categorical(), 10, ()),
    (Bernoulli(), 1, ()),
    (likelihoods.StudentT(0.5), 1, ()),
    (likelihoods.StudentT(df=dist.Gamma(2.0, 0.1)), 3, (3,)),
    (likelihoods.Laplace(0.5), 1, ()),
    (likelihoods.Laplace(), 2, (2,)),
    (likelihoods.Poisson(), 1, ()),
    (likelihoods.Poisson(), 3, (3,)),
    (likelihoods.NegativeBinomial(3.0), 1, ()),
    (likelihoods.NegativeBinomial(), 2, (2,)),
    (likelihoods.Beta(3.0), 1, ()),
    (likelihoods.Beta(), 2, (2,)),
    (likelihoods.Ordinal(4), 1, ()),
    (likelihoods.MultivariateNormal(0.5), 2, (2,)),
    (likelihoods.MixtureDensity(2), 6, ()),
    (likelihoods.MixtureDensity(3, 0.1), 15, (2,)),
]
HELD = {
    "noise": torch.tensor(0.8),
    "df": torch.tensor(5.0),
    "concentration": torch.tensor(3.0),
    "cutpoints": torch.tensor([-1.0, 0.5, 2.0]),
    "correlation_cholesky": torch.tensor([[1.0, 0.0], [0.6, 0.8]]),
}
INTEGERS = (Categorical, likelihoods.Ordinal)
CONTRACT = pytest.mark.parametrize("likelihood, outputs, row", ROWS, ids=lambda value: str(value))
INFERRED = [row for row in ROWS if isinstance(row[0], Gaussian) and not isinstance(row[0].scale, float)]


def output(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def law_of(likelihood, f, **values):
    """The law at outputs ``f`` with the likelihood's own sites held at ``values``, and those sites."""
    with poutine.trace() as sites, poutine.condition(data=values):
        law = likelihood(f)
    return law, {n: m["fn"] for n, m in sites.trace.nodes.items() if m["type"] == "sample"}


def test_table_is_complete():
    assert {type(likelihood).__name__ for likelihood, *_ in ROWS} == set(likelihoods.__all__)


@CONTRACT
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_shapes(likelihood, outputs, row, dtype):
    """Batch shape ``[..., n]``, so that Pyro's plate counts rows; event shape one row of y; dtype of the output."""
    assert isinstance(likelihood, Likelihood)
    torch.set_default_dtype(dtype)
    try:
        for lead in ((N,), (4, N))[: 1 if isinstance(likelihood, Categorical) else 2]:  # its third axis means places
            law, _ = law_of(likelihood, output(*lead, outputs).to(dtype))
            assert (law.batch_shape, law.event_shape) == (lead, row)
            y = law.sample()
            assert y.shape == (*lead, *row) and y.dtype == (torch.int64 if isinstance(likelihood, INTEGERS) else dtype)
            assert law.log_prob(y).shape == lead and law.log_prob(y).dtype == dtype
            assert law.log_prob(y).isfinite().all()
    finally:
        torch.set_default_dtype(torch.float32)


@CONTRACT
def test_rows_are_independent(likelihood, outputs, row):
    """The density of a row looks at that row's output only."""
    f, held = output(N, outputs), HELD
    law, _ = law_of(likelihood, f, **held)
    y = law.sample()
    each = torch.stack([law_of(likelihood, f[i : i + 1], **held)[0].log_prob(y[i : i + 1])[0] for i in range(N)])
    torch.testing.assert_close(law.log_prob(y), each)


@CONTRACT
def test_pickles(likelihood, outputs, row):
    again = pickle.loads(pickle.dumps(likelihood))
    f, held = output(N, outputs), HELD
    law, sites = law_of(likelihood, f, **held)
    same, same_sites = law_of(again, f, **held)
    y = law.sample()
    assert torch.equal(law.log_prob(y), same.log_prob(y)) and list(sites) == list(same_sites)


@pytest.mark.parametrize("outputs", [1, 3])
def test_gaussian(outputs):
    f = output(N, outputs)
    law, sites = law_of(Gaussian(0.5), f)
    assert not sites
    y = output(N, outputs, seed=1)
    expected = torch.tensor(scipy.stats.norm(f, 0.5).logpdf(y)).sum(-1)
    torch.testing.assert_close(law.log_prob(y.squeeze(-1) if outputs == 1 else y), expected)
    torch.testing.assert_close(law.mean, f.squeeze(-1) if outputs == 1 else f)


@pytest.mark.parametrize("likelihood, outputs, row", INFERRED, ids=lambda value: str(value))
def test_gaussian_with_unknown_noise(likelihood, outputs, row):
    """The noise is one latent number at the site "noise", from the law that was given, and it is what the law uses."""
    law, sites = law_of(likelihood, output(N, outputs), noise=torch.tensor(0.25, dtype=torch.float64))
    assert list(sites) == ["noise"] and sites["noise"].shape() == ()
    torch.testing.assert_close(law.stddev, torch.full((N, *row), 0.25, dtype=torch.float64))
    expected = {  # in the dtype of the output, whatever the law was made in
        "Gaussian(scale=HalfNormal())": scipy.stats.halfnorm(0, 1.0),
        "Gaussian(scale=Gamma(concentration: 2.0, rate: 2.0))": scipy.stats.gamma(2.0, scale=0.5),
        "Gaussian(scale=HalfCauchy(scale=0.3))": scipy.stats.halfcauchy(0, 0.3),
    }[repr(likelihood)].logpdf(0.5)
    assert sites["noise"].log_prob(torch.tensor(0.5, dtype=torch.float64)).item() == pytest.approx(expected, rel=1e-14)


def test_gaussian_noise_is_half_normal_by_default():
    _, sites = law_of(Gaussian(), output(N, 1))
    assert sites["noise"].log_prob(torch.tensor(0.5)).item() == pytest.approx(scipy.stats.halfnorm.logpdf(0.5), rel=1e-5)


@pytest.mark.parametrize("link", ["softplus", "exp"])
@pytest.mark.parametrize("columns", [1, 3])
def test_heteroscedastic(columns, link):
    """The first half of the outputs are means, the second half raw scales: sd = floor + link."""
    f = output(N, 2 * columns)
    law, sites = law_of(HeteroscedasticGaussian(0.1, link), f)
    assert not sites
    sd = 0.1 + {"softplus": np.log1p, "exp": np.asarray}[link](np.exp(f[:, columns:].numpy()))
    y = output(N, columns, seed=1)
    expected = torch.tensor(scipy.stats.norm(f[:, :columns], sd).logpdf(y)).sum(-1)
    torch.testing.assert_close(law.log_prob(y.squeeze(-1) if columns == 1 else y), expected)
    tiny, _ = law_of(HeteroscedasticGaussian(0.1, link), torch.tensor([[0.0, -1e4]]))
    assert tiny.stddev.item() == pytest.approx(0.1)


@pytest.mark.parametrize("classes", [2, 4])
def test_categorical(classes):
    f, y = output(N, classes), torch.arange(N) % classes
    law, sites = law_of(Categorical(), f)
    expected = f[torch.arange(N), y] - f.logsumexp(-1)
    torch.testing.assert_close(law.log_prob(y), expected)
    assert not sites and not law.support.check(torch.tensor(classes))


def test_bernoulli():
    f, y = output(N, 1), torch.tensor([0.0, 1.0, 1.0, 0.0, 1.0], dtype=torch.float64)
    law, sites = law_of(Bernoulli(), f)
    p = 1 / (1 + (-f[:, 0]).exp())
    torch.testing.assert_close(law.log_prob(y), torch.tensor(scipy.stats.bernoulli(p).logpmf(y)))
    assert not sites and not law.support.check(torch.tensor(2.0))
    extreme = law_of(Bernoulli(), torch.tensor([[200.0], [-200.0]]))[0].log_prob(torch.tensor([0.0, 1.0]))
    torch.testing.assert_close(extreme, torch.tensor([-200.0, -200.0]))


COUNTS = torch.tensor([0.0, 1.0, 4.0, 2.0, 9.0], dtype=torch.float64)
SHARES = torch.tensor([0.1, 0.5, 0.99, 0.3, 0.02], dtype=torch.float64)
REALS = torch.tensor([-3.0, 0.1, 2.0, 0.5, 7.0], dtype=torch.float64)


def sigmoid(f):
    return 1 / (1 + np.exp(-f))


SCIPY = {
    "StudentT": (likelihoods.StudentT(0.5, df=3.0), REALS, lambda f: scipy.stats.t(3, f, 0.5)),
    "Laplace": (likelihoods.Laplace(0.5), REALS, lambda f: scipy.stats.laplace(f, 0.5)),
    "Poisson": (likelihoods.Poisson(), COUNTS, lambda f: scipy.stats.poisson(np.exp(f))),
    "NegativeBinomial": (
        likelihoods.NegativeBinomial(1.7),
        COUNTS,
        lambda f: scipy.stats.nbinom(1.7, 1.7 / (1.7 + np.exp(f))),
    ),
    "Beta": (likelihoods.Beta(2.5), SHARES, lambda f: scipy.stats.beta(2.5 * sigmoid(f), 2.5 * sigmoid(-f))),
}


@pytest.mark.parametrize("name", SCIPY)
def test_density_mean_and_variance_are_scipys(name):
    likelihood, y, reference = SCIPY[name]
    f = output(N, 1)
    law, sites = law_of(likelihood, f)
    known = reference(f[:, 0].numpy())
    density = known.logpmf if name in {"Poisson", "NegativeBinomial"} else known.logpdf
    assert not sites
    torch.testing.assert_close(law.log_prob(y), torch.tensor(density(y.numpy())))
    torch.testing.assert_close(law.mean, torch.tensor(known.mean()))
    torch.testing.assert_close(law.variance, torch.tensor(known.var()))


@pytest.mark.parametrize(
    "name, site",
    [("StudentT", "noise"), ("Laplace", "noise"), ("NegativeBinomial", "concentration"), ("Beta", "concentration")],
)
def test_parameters_are_inferred_by_default_and_may_differ_by_column(name, site):
    kind = getattr(likelihoods, name)
    _, sites = law_of(kind(), output(N, 2))
    assert list(sites) == [site] and sites[site].shape() == ()
    law, _ = law_of(kind(torch.tensor([0.5, 2.0])), output(N, 2))
    assert (law.batch_shape, law.event_shape) == ((N,), (2,))
    with pytest.raises(ModelError, match=rf"{name}: the .* one for each of the 2 columns of y, got \(3,\)"):
        law_of(kind(torch.ones(3)), output(N, 2))
    with pytest.raises(ValueError, match=rf"{name}: the .* must be a finite number > 0, got -1"):
        kind(-1.0)
    with pytest.raises(TypeError, match=rf"{name}: the .* must be a number, a distribution or a prior"):
        kind("0.1")


def test_ordinal():
    """P(y ≤ k) = sigmoid(c_k − f)."""
    f = output(N, 1)
    law, sites = law_of(likelihoods.Ordinal(4), f, cutpoints=HELD["cutpoints"].double())
    below = sigmoid(HELD["cutpoints"].double().numpy() - f.numpy())
    masses = np.diff(np.concatenate([np.zeros((N, 1)), below, np.ones((N, 1))], 1), axis=1)
    torch.testing.assert_close(law.probs, torch.tensor(masses))
    c = HELD["cutpoints"].double()
    free = torch.cat([c[:1], c.diff().log()])
    expected = scipy.stats.norm(0, 2).logpdf(free.numpy()).sum() - float(c.diff().log().sum())
    assert sites["cutpoints"].log_prob(c).item() == pytest.approx(expected, rel=1e-10)
    with pytest.raises(
        ValueError, match="Ordinal: classes must be a whole number of at least 3, got 2; for two use Bernoulli"
    ):
        likelihoods.Ordinal(2)


@pytest.mark.filterwarnings("ignore::UserWarning")  # of runs far too short
@pytest.mark.parametrize("entry", of("likelihood").values(), ids=of("likelihood"))
def test_from_fit_to_export(entry):
    """A short run on draws of the law itself: predictions, scores and groups are finite."""
    x = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    model = bz.BNN(bz.nets.MLP(3, entry.facts["outputs"], hidden=()), priors.Normal(0.5), entry.make())
    with seeded(0, torch.device("cpu")):
        y = model(x)
    posterior = bz.fit(model, (x, y), bz.HMC(chains=2, warmup=20, draws=10, max_leapfrogs=4), progress=False)
    prediction = posterior.predict(x)
    assert prediction.mean.isfinite().all() and prediction.log_prob(y).isfinite().all()
    assert {"posterior", "log_likelihood", "posterior_predictive"} <= set(bz.export.groups(posterior.to_inference_data()))


@pytest.mark.parametrize("name, wrong", [("Poisson", -1.0), ("NegativeBinomial", 0.5), ("Beta", 1.5), ("Ordinal", 4)])
def test_targets_outside_the_support_are_refused_before_work(name, wrong):
    entry = of("likelihood")[name]
    model = bz.BNN(bz.nets.MLP(3, 1, hidden=()), priors.Normal(0.5), entry.make())
    y = torch.full((6,), 0.5) if name == "Beta" else torch.ones(6, dtype=torch.long if name == "Ordinal" else torch.float32)
    y[2] = wrong
    with pytest.raises(bz.DataError, match="y"):
        bz.fit(model, (torch.randn(6, 3), y), bz.MAP(steps=2), progress=False)


@pytest.mark.parametrize(
    "likelihood, outputs, message",
    [
        (Bernoulli(), 2, r"Bernoulli expects .* one output \(for several classes use Categorical\), got \[rows, 2\]"),
        (Categorical(), 1, r"Categorical expects .* at least two \(for one output use Bernoulli\), got \[rows, 1\]"),
        (HeteroscedasticGaussian(), 3, r"HeteroscedasticGaussian expects .* two outputs .* got \[rows, 3\]: change"),
    ],
    ids=["Bernoulli", "Categorical", "HeteroscedasticGaussian"],
)
def test_wrong_number_of_outputs(likelihood, outputs, message):
    with pytest.raises(ValueError, match=message):
        likelihood(output(N, outputs))


@pytest.mark.parametrize("likelihood", [Gaussian(1.0), HeteroscedasticGaussian(), Categorical(), Bernoulli()], ids=repr)
def test_output_without_columns(likelihood):
    with pytest.raises(ValueError, match=r"\[rows, outputs\] .* got \(5,\): change the size of the last layer"):
        likelihood(output(N))


@pytest.mark.parametrize("scale", [0, -1.0, float("nan"), float("inf")], ids=str)
def test_gaussian_scale_must_be_positive(scale):
    with pytest.raises(ValueError, match=rf"Gaussian: the noise scale must be a finite number > 0, got {scale}"):
        Gaussian(scale)


def test_gaussian_scale_of_a_wrong_kind():
    for wrong in ("0.1", None, priors.HalfCauchy):
        with pytest.raises(TypeError, match=r"Gaussian: the noise scale must be a number, a distribution or a prior .* got"):
            Gaussian(wrong)


@pytest.mark.parametrize("floor", [-0.1, float("nan")], ids=str)
def test_heteroscedastic_floor(floor):
    with pytest.raises(ValueError, match=rf"HeteroscedasticGaussian: floor must be at least 0, got {floor}"):
        HeteroscedasticGaussian(floor)
    with pytest.raises(ValueError, match="link must be 'softplus' or 'exp', got 'log'"):
        HeteroscedasticGaussian(link="log")
