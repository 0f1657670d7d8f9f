"""Which rows and which site a log likelihood is of: masks, missing values, weights, several observed sites.

The oracle is the same model on the seen rows alone, or SciPy at each draw.
"""

import warnings

import arviz as az
import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import scipy.stats
import torch
from pyro import poutine
from scipy.special import logsumexp

import bnn_zoo as bz
from bnn_zoo.types import Draws

CHAINS, DRAWS, N = 2, 30, 12
F64 = torch.float64
NAN = float("nan")


def numbers(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


SEEN = torch.arange(N) % 4 != 2
ROWS = SEEN.nonzero().flatten()
Y = numbers(N)
BAD = torch.where(SEEN, Y, torch.tensor(-30.0, dtype=F64))  # what stands in a table where nothing was measured
MISSING = torch.where(SEEN, Y, torch.tensor(NAN, dtype=F64))
MEANS = {"m": 0.3 * numbers(CHAINS, DRAWS, seed=1)}
EXACT = scipy.stats.norm(MEANS["m"].numpy()[..., None], 1.0).logpdf(Y.numpy())


def posterior(model, data, sites=None, **attrs):
    return bz.Posterior(model, data, Draws(dict(sites or MEANS), attrs=attrs))


def quietly(f, *args, **kwargs):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Estimated shape parameter of Pareto")
        return f(*args, **kwargs)


def by_handler(seen, y=None):
    m = pyro.sample("m", dist.Normal(0.0, 1.0))
    with pyro.plate("rows", len(seen)), poutine.mask(mask=seen):
        return pyro.sample("y", dist.Normal(m, 1.0), obs=y)


def by_law(seen, y=None):
    m = pyro.sample("m", dist.Normal(0.0, 1.0))
    with pyro.plate("rows", len(seen)):
        return pyro.sample("y", dist.Normal(m, 1.0).expand(seen.shape).mask(seen), obs=y)


def by_scale(seen, y=None):
    m = pyro.sample("m", dist.Normal(0.0, 1.0))
    with pyro.plate("rows", len(seen)), poutine.scale(scale=seen.to(m.dtype)):
        return pyro.sample("y", dist.Normal(m, 1.0), obs=y)


def by_nan(seen, y=None):
    m = pyro.sample("m", dist.Normal(0.0, 1.0))
    with pyro.plate("rows", len(seen)):
        return pyro.sample("y", dist.NanMaskedNormal(m, 1.0).expand(seen.shape), obs=y)


def plain(y=None, n=N):
    m = pyro.sample("m", dist.Normal(0.0, 1.0))
    with pyro.plate("rows", n if y is None else len(y)):
        return pyro.sample("y", dist.Normal(m, 1.0), obs=y)


HIDES = {"handler": (by_handler, BAD), "law": (by_law, BAD), "scale": (by_scale, BAD), "NaN": (by_nan, MISSING)}


@pytest.mark.parametrize("name", HIDES)
def test_hidden_rows_are_not_scored(name):
    """Log likelihood, leave-one-out and predictive groups are those of the seen rows alone, under their own numbers."""
    model, y = HIDES[name]
    whole, alone = posterior(model, (SEEN, y)), posterior(plain, (Y[SEEN],))
    np.testing.assert_allclose(whole.log_likelihood()["y"], EXACT[..., ROWS])
    idata, expected = whole.to_inference_data(), alone.to_inference_data()
    for group in ("log_likelihood", "posterior_predictive", "observed_data"):
        found = bz.export.group(idata, group)
        assert found["y"].dims[-1] == "obs_id" and found["obs_id"].values.tolist() == ROWS.tolist()
        assert found["y"].shape == bz.export.group(expected, group)["y"].shape
    np.testing.assert_array_equal(bz.export.group(idata, "observed_data")["y"], Y[SEEN])
    assert bz.export.group(idata, "constant_data")["seen"].sizes == {"obs_id": N}
    scores = bz.export.loo(idata), bz.export.loo(expected)
    for kind in ("elpd_loo", "elpd"):
        if kind in scores[0]:
            assert float(scores[0][kind]) == pytest.approx(float(scores[1][kind]), rel=1e-12)
    own = quietly(az.loo, idata)
    assert int(own.n_data_points) == len(ROWS)


def test_labels_of_the_rows_that_are_left():
    labels = [f"patient {i}" for i in range(N)]
    idata = posterior(by_handler, (SEEN, BAD)).to_inference_data(coords={"obs_id": labels})
    found = bz.export.group(idata, "log_likelihood")["obs_id"].values.tolist()
    assert found == [labels[i] for i in ROWS]
    assert bz.export.group(idata, "constant_data")["obs_id"].values.tolist() == labels


@pytest.mark.parametrize("name", HIDES)
def test_hidden_rows_of_predictions(name):
    """The predictive law is known everywhere; scores and exported predictions are those of rows that count."""
    model, y = HIDES[name]
    fitted = posterior(model, (SEEN, y))
    prediction = fitted.predict(SEEN)
    assert prediction.mean.shape == (N,) and prediction.draws.isfinite().all()
    scored = prediction.log_prob(y)
    mixture = logsumexp(EXACT, (0, 1)) - np.log(CHAINS * DRAWS)
    np.testing.assert_allclose(scored[SEEN], mixture[ROWS])
    assert scored[~SEEN].isnan().all()
    idata = fitted.to_inference_data(test=(SEEN, y))
    for group in ("predictions", "predictions_log_likelihood", "predictions_observed_data"):
        assert bz.export.group(idata, group)["pred_id"].values.tolist() == ROWS.tolist()
    np.testing.assert_allclose(bz.export.group(idata, "predictions_log_likelihood")["y"], EXACT[..., ROWS])


def test_summary_of_hidden_rows():
    table = posterior(by_handler, (SEEN, BAD)).summary()
    assert table.loc["log likelihood y", "scalars"] == len(ROWS) and table.loc["predictions y", "scalars"] == N


def test_a_mask_of_everything():
    hidden = poutine.mask(plain, mask=False)
    fitted = posterior(hidden, (Y,))
    assert fitted.log_likelihood() == {}
    assert "log_likelihood" not in bz.export.groups(fitted.to_inference_data())
    assert fitted.predict(None).log_prob(Y).isnan().all()


def test_a_mask_that_changes_from_draw_to_draw_keeps_its_rows():
    def model(y):
        m = pyro.sample("m", dist.Normal(0.0, 1.0))
        with pyro.plate("rows", len(y)), poutine.mask(mask=(torch.arange(len(y)) < 3) | (m > 0)):
            pyro.sample("y", dist.Normal(m, 1.0), obs=y)

    first, last = {"m": MEANS["m"].clone()}, EXACT.copy()
    first["m"][0, 0], first["m"][-1, -1] = 0.2, -0.2
    last = scipy.stats.norm(first["m"].numpy()[..., None], 1.0).logpdf(Y.numpy())
    last[..., 3:] *= (first["m"] > 0).numpy()[..., None]
    np.testing.assert_allclose(posterior(model, (Y,), first).log_likelihood()["y"], last)


def test_missing_parts_of_a_row():
    """Rows of several numbers: those seen in part count with their part, those of NaN alone not at all."""
    y = numbers(N, 2, seed=3)
    y[1, 0], y[4] = NAN, NAN

    def model(y):
        m = pyro.sample("m", dist.Normal(0.0, 1.0))
        with pyro.plate("rows", len(y)):
            pyro.sample("y", dist.NanMaskedMultivariateNormal(m.expand(2), torch.eye(2, dtype=F64)), obs=y)

    def by_column(y):
        m = pyro.sample("m", dist.Normal(0.0, 1.0))
        with pyro.plate("rows", len(y)):
            pyro.sample("y", dist.NanMaskedNormal(m, 1.0).expand(y.shape).to_event(1), obs=y)

    kept = [i for i in range(N) if i != 4]
    expected = np.nansum(scipy.stats.norm(MEANS["m"].numpy()[..., None, None], 1.0).logpdf(y.numpy()), -1)[..., kept]
    for one in (model, by_column):
        np.testing.assert_allclose(posterior(one, (y,)).log_likelihood()["y"], expected)
        idata = posterior(one, (y,)).to_inference_data()
        assert bz.export.group(idata, "log_likelihood")["obs_id"].values.tolist() == kept
        assert bz.export.group(idata, "observed_data")["y"].shape == (N - 1, 2)


def test_hidden_cells_of_a_table():
    """Two plates, cells hidden here and there: the scored ones are one axis, numbered row by row."""
    y, seen = numbers(3, 4, seed=4), torch.tensor([[1, 1, 0, 1], [0, 1, 1, 1], [1, 1, 1, 1]], dtype=torch.bool)

    def model(seen, y):
        m = pyro.sample("m", dist.Normal(0.0, 1.0))
        with pyro.plate("groups", 3, dim=-2), pyro.plate("members", 4, dim=-1), poutine.mask(mask=seen):
            pyro.sample("y", dist.Normal(m, 1.0), obs=y)

    expected = scipy.stats.norm(MEANS["m"].numpy()[..., None], 1.0).logpdf(y[seen].numpy())
    fitted = posterior(model, (seen, y))
    np.testing.assert_allclose(fitted.log_likelihood()["y"], expected)
    found = bz.export.group(fitted.to_inference_data(), "log_likelihood")
    assert found["y"].dims == ("chain", "draw", "y_cell")
    assert found["y_cell"].values.tolist() == seen.flatten().nonzero().flatten().tolist()


def test_obs_mask_of_pyro():
    def model(seen, y):
        m = pyro.sample("m", dist.Normal(0.0, 1.0))
        with pyro.plate("rows", len(y)):
            pyro.sample("y", dist.Normal(m, 1.0).expand(y.shape), obs=y, obs_mask=seen)

    sites = MEANS | {"y_unobserved": numbers(CHAINS, DRAWS, N, seed=5)}
    fitted = posterior(model, (SEEN, BAD), sites)
    np.testing.assert_allclose(fitted.log_likelihood()["y_observed"], EXACT[..., ROWS])
    assert bz.export.group(fitted.to_inference_data(), "posterior")["y"].shape == (CHAINS, DRAWS, N)


def test_scale_tempers_the_posterior_and_not_the_density_of_a_row():
    """Documented: the pointwise log likelihood is of one row, whatever it counts in the posterior."""
    weights = torch.linspace(0.5, 3.0, N, dtype=F64)

    def weighted(weights, y):
        m = pyro.sample("m", dist.Normal(0.0, 1.0))
        with pyro.plate("rows", len(y)), poutine.scale(scale=weights):
            pyro.sample("y", dist.Normal(m, 1.0), obs=y)

    for model, data in ((poutine.scale(plain, scale=0.1), (Y,)), (weighted, (weights, Y))):
        np.testing.assert_allclose(posterior(model, data).log_likelihood()["y"], EXACT)


# ------------------------------------------------------------------------------------------ several observed sites


def two(x, y=None, z=None):
    m = pyro.sample("m", dist.Normal(0.0, 1.0))
    with pyro.plate("rows", len(x)):
        pyro.sample("y", dist.Normal(m * x, 1.0), obs=y)
        pyro.sample("z", dist.Poisson((m * x).exp()), obs=z)


X, Z = numbers(N, seed=6), torch.arange(N) % 3
MU = MEANS["m"].numpy()[..., None] * X.numpy()
OF_Y, OF_Z = scipy.stats.norm(MU, 1.0).logpdf(Y.numpy()), scipy.stats.poisson(np.exp(MU)).logpmf(Z.numpy())


def mixture(each):
    return logsumexp(each, (0, 1)) - np.log(CHAINS * DRAWS)


def test_the_predicted_site_is_scored():
    """Whichever of several sites is left open; the others are given."""
    fitted = posterior(two, (X, Y, Z))
    z, y = fitted.predict(X, Y), fitted.predict(X, None, Z)
    assert (z.site, y.site) == ("z", "y")
    np.testing.assert_allclose(z.log_likelihood(Z), OF_Z)
    np.testing.assert_allclose(z.log_prob(Z), mixture(OF_Z))
    np.testing.assert_allclose(y.log_prob(Y), mixture(OF_Y))
    with pytest.raises(bz.ModelError, match=r"leaves \['y', 'z'\]: give the values of all but one, .*predict\(x, None, z\)"):
        fitted.predict(X)


def test_everything_of_two_sites():
    fitted = posterior(two, (X, Y, Z))
    idata = fitted.to_inference_data(test=(X, Y, Z), prior=3)
    for group in ("log_likelihood", "predictions_log_likelihood"):
        np.testing.assert_allclose(bz.export.group(idata, group)["y"], OF_Y)
        np.testing.assert_allclose(bz.export.group(idata, group)["z"], OF_Z)
    assert set(bz.export.group(idata, "predictions")) == {"y", "y_mean", "z", "z_mean"}
    assert set(bz.export.group(idata, "constant_data")) == {"x"}
    assert bz.export.group(idata, "prior_predictive")["z"].dims == ("chain", "draw", "obs_id")
    assert set(fitted.summary().index) >= {"predictions y", "predictions z", "log likelihood y", "log likelihood z"}
    with pytest.raises(ValueError, match=r"var_name= to be one of \['y', 'z'\]"):
        bz.export.loo(idata)
    own = quietly(az.loo, idata, var_name="z")
    ours = bz.export.loo(idata, "z", reff=1.0)
    kind = "elpd_loo" if bz.export.arviz_major() < 1 else "elpd"
    assert float(ours[kind]) == pytest.approx(float(own[kind]), abs=0.3)
    table = bz.compare({"one": idata, "two": idata}, var_name="z")
    assert table["elpd"].iloc[0] == pytest.approx(float(bz.export.loo(idata, "z")[kind]))


def test_sites_with_rows_of_their_own_number():
    """The second one has other rows, of which some are hidden: its axis is its own."""

    def model(y, seen, z):
        m = pyro.sample("m", dist.Normal(0.0, 1.0))
        with pyro.plate("rows", len(y)):
            pyro.sample("y", dist.Normal(m, 1.0), obs=y)
        with pyro.plate("others", len(z)), poutine.mask(mask=seen):
            pyro.sample("z", dist.Normal(-m, 2.0), obs=z)

    z = numbers(5, seed=8)
    for seen, axis, kept in ((torch.ones(5) > 0, "z_dim_0", range(5)), (torch.arange(5) < 3, "z_obs_id", range(3))):
        fitted = posterior(model, (Y, seen, z))
        idata = fitted.to_inference_data(test=(Y[:7], seen, z))
        found = bz.export.group(idata, "log_likelihood")
        assert found["y"].dims[-1] == "obs_id" and found["z"].dims[-1] == axis
        assert found[axis].values.tolist() == list(kept)
        expected = scipy.stats.norm(-MEANS["m"].numpy()[..., None], 2.0).logpdf(z.numpy())[..., list(kept)]
        np.testing.assert_allclose(found["z"], expected)
        assert bz.export.group(idata, "predictions")["y"].shape[-1] == 7


def test_sites_that_hide_different_rows():
    def model(seen, y, z):
        m = pyro.sample("m", dist.Normal(0.0, 1.0))
        with pyro.plate("rows", len(y)):
            pyro.sample("y", dist.Normal(m, 1.0), obs=y)
            with poutine.mask(mask=seen):
                pyro.sample("z", dist.Normal(m, 1.0), obs=z)

    found = bz.export.group(posterior(model, (SEEN, Y, BAD)).to_inference_data(), "log_likelihood")
    assert found["y"].dims[-1] == "obs_id" and found["z"].dims[-1] == "z_obs_id"
    assert found["z_obs_id"].values.tolist() == ROWS.tolist()
    np.testing.assert_allclose(found["z"], EXACT[..., ROWS])


# ------------------------------------------------------------------------------------------ values that y cannot have


def classes():
    net = torch.nn.Sequential(torch.nn.Linear(1, 3, bias=False)).double()
    sites = {"0.weight": numbers(CHAINS, DRAWS, 3, 1, seed=9)}
    labels = torch.arange(N) % 3
    return posterior(bz.BNN(net, bz.priors.Normal(), bz.likelihoods.Categorical()), (X[:, None], labels), sites), labels


@pytest.mark.parametrize(
    "spoil, says",
    [
        (lambda y: y + 1, r"site 'y': 4 of 12 values lie outside the support of Categorical"),
        (lambda y: y - 1, r"site 'y': 4 of 12 values lie outside"),
        (lambda y: y.double(), r"labels must be integers .*write y\.long\(\)"),
        (lambda y: y[:, None], r"expects y of shape \(12,\), as predicted; got \(12, 1\): write y\.squeeze\(-1\)"),
        (lambda y: y[:-1], r"expects y of shape \(12,\)"),
        (lambda y: ["cat"] * N, r"y is an array of <U3: expected numbers"),
    ],
)
def test_labels_that_are_none(spoil, says):
    fitted, labels = classes()
    with pytest.raises(bz.DataError, match=says):
        fitted.predict(X[:, None]).log_prob(spoil(labels))


def test_labels_that_are_none_as_test_rows():
    fitted, labels = classes()
    with pytest.raises(bz.DataError, match=r"site 'y': 4 of 12 values lie outside"):
        fitted.to_inference_data(test=(X[:, None], labels + 1))
    with pytest.raises(bz.DataError, match=r"site 'y': 4 of 12 values lie outside"):
        bz.Posterior(fitted.model, (X[:, None], labels + 1), fitted.draws).log_likelihood()


def test_targets_of_every_kind():
    import pandas as pd

    fitted = posterior(two, (X, Y, Z)).predict(X, None, Z)
    expected = mixture(OF_Y)
    for y in (Y, Y.numpy(), Y.tolist(), pd.Series(Y.numpy(), index=range(5, 5 + N))):
        np.testing.assert_allclose(fitted.log_prob(y), expected)
    with pytest.raises(bz.DataError, match=r"site 'y': 3 of 12 values are NaN: drop these rows, or mask them"):
        fitted.log_prob(MISSING)


def test_a_support_that_depends_on_the_draw():
    """Outside it at some draws: zero density there, and no error."""

    def model(y=None):
        m = pyro.sample("m", dist.Normal(0.0, 1.0))
        with pyro.plate("rows", N):
            pyro.sample("y", dist.Uniform(torch.zeros(N, dtype=F64), m.abs() + 0.2), obs=y)

    y = torch.full((N,), 0.3, dtype=F64)
    sites = {"m": torch.linspace(1.0, 0.0, CHAINS * DRAWS, dtype=F64).reshape(CHAINS, DRAWS)}
    top = sites["m"].numpy()[..., None] + 0.2
    expected = np.where(y.numpy() < top, -np.log(top), -np.inf)
    fitted = posterior(model, (y,), sites)
    np.testing.assert_allclose(fitted.log_likelihood()["y"], expected)
    np.testing.assert_allclose(fitted.predict().log_prob(y), mixture(expected))


def test_latent_sites_without_draws():
    """A discrete site that a fit summed out has no draws: what depends on it is refused, never taken at a made-up value."""

    def model(x, y=None):
        m = pyro.sample("m", dist.Normal(0.0, 1.0))
        with pyro.plate("rows", len(x)):
            kind = pyro.sample("kind", dist.Bernoulli(0.3 * torch.ones(len(x), dtype=F64)))
            pyro.deterministic("centre", m + 5 * kind)
            return pyro.sample("y", dist.Normal(m + 5 * kind, 1.0), obs=y)

    fitted = posterior(model, (X, Y))
    for use in (fitted.log_likelihood, lambda: fitted.predict(X)):
        with pytest.raises(bz.ModelError, match=r"'kind'"):
            use()
    with pytest.warns(UserWarning, match=r"left out: sites \['kind'\] have neither draws nor values .*MixtureSameFamily"):
        idata = fitted.to_inference_data()
    assert set(bz.export.group(idata, "posterior")) == {"m"}
    assert "log_likelihood" not in bz.export.groups(idata)
    assert list(fitted.summary().index) == ["m"]


@pytest.mark.parametrize("sites", [{}, {"m": torch.zeros(2, 0)}], ids=["no site", "no draw"])
def test_a_posterior_without_draws(sites):
    with pytest.raises(bz.DataError, match="at least one draw of one site"):
        bz.Posterior(plain, (Y,), Draws(sites))
