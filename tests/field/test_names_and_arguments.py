"""Names that sites may have, and arguments of every kind: refused before work starts, or exported under their own names."""

import warnings

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch.utils.data import Dataset, TensorDataset

import bnn_zoo as bz
from bnn_zoo.types import Draws

N = 10
X = torch.randn(N, 3, generator=torch.Generator().manual_seed(0))
Y = X.sum(1)
CHAINS, DRAWS = 2, 3


class Nothing:
    """A backend that must not be reached, or that draws from nowhere."""

    def __init__(self, sites=None, **attrs):
        self.sites, self.attrs = sites, attrs

    def run(self, model, data, *, seed=0, device=None, progress=True):
        assert self.sites is not None, "the backend had started"
        return Draws({n: torch.full((CHAINS, DRAWS, *s), 0.3) for n, s in self.sites.items()}, attrs=self.attrs)


def model_with(name, shape=(2,), observed="y"):
    def model(x, y=None):
        w = pyro.sample("w", dist.Normal(0.0, 1.0).expand([3]).to_event(1))
        b = pyro.sample(name, dist.Normal(0.0, 1.0).expand(shape).to_event(len(shape)))
        with pyro.plate("rows", len(x)):
            return pyro.sample(observed, dist.Normal(x @ w + b.sum(), 1.0), obs=y)

    return model


# ------------------------------------------------------------------------------------------ names

BAD = {
    "layer/w": r"no '/': call it 'layer\.w'",
    "": r"site '' cannot be exported .* a letter",
    "chain": r"call it 'chain_'",
    "draw": r"call it 'draw_'",
    "sample": r"call it 'sample_'",
    "w_dim_0": r"the name that 'w' needs .*call it 'w_dim_0_site'",
}


@pytest.mark.parametrize("name", BAD)
def test_latent_names_that_cannot_be_exported(name):
    """Refused before the backend starts, and the name that is proposed works."""
    with pytest.raises(bz.ModelError, match=BAD[name]) as caught:
        bz.fit(model_with(name), (X, Y), Nothing(), progress=False)
    better = str(caught.value).rsplit("call it ", 1)[1].strip("'")
    sites = {"w": (3,), better: (2,)}
    idata = bz.fit(model_with(better), (X, Y), Nothing(sites), progress=False).to_inference_data()
    assert bz.export.group(idata, "posterior")[better].shape == (CHAINS, DRAWS, 2)


@pytest.mark.parametrize("name", ["a/b", "chain", "obs_id", "pred_id"])
def test_observed_names_that_cannot_be_exported(name):
    with pytest.raises(bz.ModelError, match=f"site '{name}'"):
        bz.fit(model_with("b", observed=name), (X, Y), Nothing(), progress=False)


def test_an_observed_site_called_like_the_mean_of_another():
    def model(y, z):
        m = pyro.sample("m", dist.Normal(0.0, 1.0))
        pyro.sample("y", dist.Normal(m, 1.0).expand([N]).to_event(1), obs=y)
        pyro.sample("y_mean", dist.Normal(m, 1.0).expand([N]).to_event(1), obs=z)

    with pytest.raises(bz.ModelError, match=r"site 'y_mean' has the name that 'y' needs"):
        bz.fit(model, (Y, Y), Nothing(), progress=False)


def test_a_deterministic_site_is_exported_too():
    def model(y):
        m = pyro.sample("m", dist.Normal(0.0, 1.0))
        pyro.deterministic("a/b", 2 * m)
        pyro.sample("y", dist.Normal(m, 1.0).expand([N]).to_event(1), obs=y)

    with pytest.raises(bz.ModelError, match=r"site 'a/b'"):
        bz.fit(model, (Y,), Nothing(), progress=False)


@pytest.mark.parametrize("data", [TensorDataset(X, Y)], ids=["dataset"])
def test_names_are_checked_for_data_sets_too(data):
    before = torch.get_rng_state()
    with pytest.raises(bz.ModelError, match=r"site 'layer/w'"):
        bz.fit(model_with("layer/w"), data, Nothing(), progress=False)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("name", ["x", "lp", "temperature", "obs_id", "x_dim_1", "y_dim_0"])
def test_names_that_only_another_group_uses(name):
    """A site named like an argument, a statistic or another group's dimension: groups do not know each other."""
    backend = Nothing({"w": (3,), name: (2,)})
    fitted = bz.fit(model_with(name), (X, Y), backend, progress=False)
    fitted.draws.stats = {"lp": torch.zeros(CHAINS, DRAWS), "temperature": torch.ones(CHAINS, DRAWS)}
    idata = fitted.to_inference_data(test=(X[:4], Y[:4]), prior=2)
    assert bz.export.group(idata, "posterior")[name].dims == ("chain", "draw", f"{name}_dim_0")
    assert bz.export.group(idata, "prior")[name].shape == (1, 2, 2)
    assert bz.export.group(idata, "constant_data")["x"].dims == ("obs_id", "x_dim_1")
    assert bz.export.group(idata, "sample_stats")["lp"].dims == ("chain", "draw")
    np.testing.assert_array_equal(bz.export.group(idata, "constant_data")["x"], X)


def test_an_argument_of_the_site_s_name_in_another_shape():
    def model(x, y=None):
        w = pyro.sample("w", dist.Normal(0.0, 1.0).expand([3, 1]).to_event(2))
        with pyro.plate("rows", len(x)):
            pyro.sample("y", dist.Normal(x @ w, 0.5).to_event(1), obs=None if y is None else y[:, None])

    idata = bz.fit(model, (X, Y), Nothing({"w": (3, 1)}), progress=False).to_inference_data(test=(X[:4], Y[:4]))
    for group, row in (("observed_data", "obs_id"), ("predictions_observed_data", "pred_id")):
        assert bz.export.group(idata, group)["y"].dims == (row, "y_dim_1")
    assert bz.export.group(idata, "log_likelihood")["y"].dims == ("chain", "draw", "obs_id")
    assert set(bz.export.group(idata, "constant_data")) == {"x"}


def test_arguments_named_like_dimensions():
    def model(obs_id, draw, y=None):
        m = pyro.sample("m", dist.Normal(0.0, 1.0))
        with pyro.plate("rows", len(draw)):
            pyro.sample("y", dist.Normal(m * draw, 1.0), obs=y)

    idata = bz.fit(model, (Y, X[:, 0], Y + 1), Nothing({"m": ()}), progress=False).to_inference_data()
    found = bz.export.group(idata, "constant_data")
    np.testing.assert_array_equal(found["obs_id"], Y)
    np.testing.assert_array_equal(found["draw"], X[:, 0])


# ------------------------------------------------------------------------------------------ arguments


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_an_autoencoder_keeps_its_input(dtype):
    """``(x, x)``: the first is what the net sees, the second what is observed."""
    x = X.to(dtype)
    model = bz.BNN(torch.nn.Linear(3, 3).to(dtype), bz.priors.Normal(), bz.likelihoods.Gaussian(1.0))
    sites = {"weight": (3, 3), "bias": (3,)}
    for data in ((x, x), (x, x.clone())):
        idata = bz.fit(model, data, Nothing(sites), progress=False).to_inference_data()
        np.testing.assert_array_equal(bz.export.group(idata, "constant_data")["x"], x)
        np.testing.assert_array_equal(bz.export.group(idata, "observed_data")["y"], x)


def test_labels_that_are_converted_on_the_way():
    net = torch.nn.Linear(3, 2)
    model = bz.BNN(net, bz.priors.Normal(), bz.likelihoods.Categorical())
    labels = (torch.arange(N) % 2).to(torch.int32)
    idata = bz.fit(model, (X, labels), Nothing({"weight": (2, 3), "bias": (2,)}), progress=False).to_inference_data()
    assert set(bz.export.group(idata, "constant_data")) == {"x"}
    np.testing.assert_array_equal(bz.export.group(idata, "observed_data")["y"], labels)


def test_arguments_that_are_no_tensors():
    def model(count, kind, options, y=None):
        m = pyro.sample("m", dist.Normal(0.0, 1.0))
        assert kind == "plain" and options is None
        with pyro.plate("rows", count):
            pyro.sample("y", dist.Normal(m, 1.0), obs=y)

    fitted = bz.fit(model, (N, "plain", None, Y), Nothing({"m": ()}), progress=False)
    idata = fitted.to_inference_data(test=(N, "plain", None, Y), prior=2)
    assert "constant_data" not in bz.export.groups(idata)
    assert fitted.predict(4, "plain", None).mean.tolist() == pytest.approx([0.3] * 4)
    assert len(fitted.summary()) == 3


def test_data_that_are_not_rows():
    """A matrix between points [n, n] at other points: an axis as long as the data may have another length."""

    def model(distance, y=None):
        scale = pyro.sample("scale", dist.LogNormal(0.0, 1.0))
        covariance = torch.exp(-distance / scale) + 0.1 * torch.eye(len(distance))
        pyro.sample("y", dist.MultivariateNormal(torch.zeros(len(distance)), covariance), obs=y)

    distance = torch.cdist(X, X)
    fitted = bz.fit(model, (distance, Y), Nothing({"scale": ()}), progress=False)
    assert fitted.predict(distance[:4, :4]).mean.shape == (4,)
    idata = fitted.to_inference_data()
    assert bz.export.group(idata, "log_likelihood")["y"].dims == ("chain", "draw")
    assert bz.export.group(idata, "observed_data")["y"].dims == ("obs_id",)


def fitted():
    def model(x, y=None):
        w = pyro.sample("w", dist.Normal(0.0, 1.0).expand([3]).to_event(1))
        with pyro.plate("rows", len(x)):
            return pyro.sample("y", dist.Normal(x @ w, 1.0), obs=y)

    return bz.fit(model, (X, Y), Nothing({"w": (3,)}), progress=False)


def network():
    model = bz.BNN(torch.nn.Linear(3, 1), bz.priors.Normal(), bz.likelihoods.Gaussian(1.0))
    return bz.fit(model, (X, Y), Nothing({"weight": (1, 3), "bias": (1,)}), progress=False)


@pytest.mark.parametrize("make", [fitted, network])
@pytest.mark.parametrize(
    "use, error, says",
    [
        (lambda p: p.predict(), bz.DataError, r"predict: the model takes \(x.*got 0 arguments"),
        (lambda p: p.predict(X, Y, Y, Y), bz.DataError, r"predict: the model takes"),
        (lambda p: p.predict(None), bz.DataError, r"x must be a tensor, got NoneType|argument 0|arguments: "),
        (
            lambda p: p.predict(X[:, :2]),
            bz.DataError,
            r"argument 0: the model was fitted to rows of shape \(3,\), got \(2,\)",
        ),
        (lambda p: p.predict(X[0]), bz.DataError, r"write x\[None\] for one row"),
        (lambda p: p.to_inference_data(prior=-1), ValueError, r"prior must be a whole number, 0 or more, got -1"),
        (lambda p: p.to_inference_data(prior=2.5), ValueError, r"prior must be a whole number"),
        (lambda p: p.summary(rows=0), ValueError, r"rows=0"),
        (lambda p: p.summary(rows=-3), ValueError, r"rows=-3"),
        (
            lambda p: p.summary(probe=(X[:, :2], Y)),
            bz.DataError,
            r"argument 0: the model was fitted to rows of shape \(3,\)",
        ),
        (lambda p: p.to_inference_data(test=X), bz.DataError, r"tuple of the model's arguments"),
    ],
)
def test_arguments_that_do_not_fit(make, use, error, says):
    with pytest.raises(error, match=says):
        use(make())


@pytest.mark.parametrize("make", [fitted, network])
def test_whole_numbers_where_the_fit_had_real_ones(make):
    posterior = make()
    whole = (10 * X).round()
    torch.testing.assert_close(posterior.predict(whole.long()).f, posterior.predict(whole).f)
    torch.testing.assert_close(posterior.predict(whole.double()).f, posterior.predict(whole).f)


def test_real_numbers_where_the_fit_had_indices():
    net = torch.nn.Sequential(torch.nn.Embedding(5, 2), torch.nn.Flatten(), torch.nn.Linear(6, 1))
    x = torch.arange(3 * N).reshape(N, 3) % 5
    sites = {"0.weight": (5, 2), "2.weight": (1, 6), "2.bias": (1,)}
    model = bz.BNN(net, bz.priors.Normal(), bz.likelihoods.Gaussian(1.0))
    posterior = bz.fit(model, (x, Y), Nothing(sites), progress=False)
    with pytest.raises(bz.DataError, match=r"fitted to torch\.int64, got torch\.float32: write x\.long\(\)"):
        posterior.predict(x.float())


def test_a_value_for_each_training_row_has_none_for_other_rows():
    def model(x, y=None):
        with pyro.plate("rows", len(x)):
            own = pyro.sample("own", dist.Normal(0.0, 1.0))
            pyro.sample("y", dist.Normal(own * x[:, 0], 1.0), obs=y)

    posterior = bz.fit(model, (X, Y), Nothing({"own": (N,)}), progress=False)
    assert posterior.predict(X).mean.shape == (N,)
    for other in (X[:4], X[:1]):  # one row would broadcast
        with pytest.raises(bz.DataError, match=r"site 'own': its draws have shape \(10,\), and with these arguments it has"):
            posterior.predict(other)


def test_a_prior_that_cannot_be_sampled():
    def model(y):
        m = pyro.sample("m", dist.ImproperUniform(dist.constraints.real, (), ()))
        with pyro.plate("rows", len(y)):
            pyro.sample("y", dist.Normal(m, 1.0), obs=y)

    posterior = bz.fit(model, (Y,), Nothing({"m": ()}), progress=False)
    with pytest.raises(bz.ModelError, match=r"prior=5 asks for draws .*ImproperUniform.*leave prior=0") as caught:
        posterior.to_inference_data(prior=5)
    assert "Trace Shapes" not in str(caught.value)
    assert "posterior" in bz.export.groups(posterior.to_inference_data())


def test_deterministic_sites_of_changing_shape():
    """Left out with a warning; the others stay."""

    def model(y):
        m = pyro.sample("m", dist.Normal(0.0, 1.0))
        pyro.deterministic("positive", y[y > m])
        pyro.deterministic("twice", 2 * m)
        with pyro.plate("rows", len(y)):
            pyro.sample("y", dist.Normal(m, 1.0), obs=y)

    draws = Draws({"m": torch.linspace(-1.0, 1.0, 6).reshape(2, 3)})
    posterior = bz.Posterior(model, (Y,), draws)
    with pytest.warns(UserWarning, match=r"left out: \['positive'\]"):
        idata = posterior.to_inference_data()
    np.testing.assert_allclose(bz.export.group(idata, "posterior")["twice"], 2 * draws.sites["m"])
    assert "positive" not in bz.export.group(idata, "posterior")


def test_predict_after_a_data_set_reads_one_row_and_leaves_the_random_state():
    class Noisy(Dataset):
        reads = 0

        def __len__(self):
            return N

        def __getitem__(self, i):
            Noisy.reads += 1
            return X[i] + 0 * torch.randn(3), Y[i]

    model = bz.BNN(torch.nn.Linear(3, 1), bz.priors.Normal(), bz.likelihoods.Gaussian(1.0))
    posterior = bz.Posterior(model, Noisy(), Draws({"weight": torch.ones(1, 2, 1, 3), "bias": torch.ones(1, 2, 1)}))
    before = torch.get_rng_state()
    posterior.predict(X)
    assert Noisy.reads == 1
    assert posterior.log_likelihood()["y"].shape == (1, 2, N)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    "fitted_on, asked, devices, expected",
    [
        ("cuda:0", None, 1, torch.device("cuda:0")),
        ("cuda:3", None, 2, None),  # not on this machine
        ("cuda:0", None, 0, None),
        ("cpu", None, 1, None),
        ("cuda:0", "cpu", 1, "cpu"),
    ],
)
def test_predictions_are_made_where_the_fit_was(fitted_on, asked, devices, expected, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: devices > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: devices)
    seen = []
    monkeypatch.setattr(bz.posterior, "tensors", lambda args, device, **_: seen.append(device) or args)
    posterior = fitted()
    posterior.draws.attrs["device"] = fitted_on
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        posterior.predict(X, device=asked)
    assert seen == [expected]
