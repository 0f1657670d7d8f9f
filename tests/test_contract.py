"""What every backend promises, in one place: shapes, seeds, groups of InferenceData, pickling, device, Ctrl-C, bad input."""

import pickle

import pyro
import pytest
import torch
from torch.utils.data import TensorDataset

import bnn_zoo as bz
from bnn_zoo.backends import _stochastic, _variational
from bnn_zoo.catalogue import of
from bnn_zoo.run.loop import Run

METHODS = {name: entry.make() for name, entry in of("backend").items()}
"""A new backend is one row of the catalogue."""
DRAWS = dict.fromkeys(METHODS, 4) | {"MAP": 1, "DeepEnsemble": 1}
ONE_MODE = ("MAP", "DeepEnsemble", "Laplace", "DiagonalLaplace")
MINIBATCH = {n: b for n, b in METHODS.items() if isinstance(b, _stochastic.StochasticGradient | _variational.Variational)}
KINDS = {"NUTS", "MAP", "SGLD", "MeanField", "SWAG", "Laplace"}
"""One of each kind, where the others have the code in common."""
pytestmark = pytest.mark.filterwarnings(  # of runs far too short
    "ignore:.*diverged", "ignore:.*taken back", "ignore:.*curve down", "ignore:.*temperature of the draws"
)


def rows(dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(24, 3, generator=generator, dtype=dtype)
    return x, (x[:, 0] > 0).long()


def model():
    return bz.BNN(bz.nets.MLP(3, 2, hidden=(4,)), bz.priors.Normal(1.0), bz.likelihoods.Categorical())


MODEL = model()


def fit(name, seed=0, data=None, **changed):
    from dataclasses import replace

    return bz.fit(MODEL, rows() if data is None else data, replace(METHODS[name], **changed), seed=seed, progress=False)


@pytest.fixture(scope="module")
def fitted():
    """Posteriors of METHODS with seed 0, each made once for the tests that only read it."""
    made = {}

    def of(name):
        if name not in made:
            made[name] = fit(name)
        return made[name]

    return of


def of_both_dtypes():
    """In float64 one of each kind; the others are slow."""
    for name in METHODS:
        yield pytest.param(name, torch.float32, id=f"{name}-float32")
        marks = [] if name in {"NUTS", "SGLD"} else pytest.mark.slow
        yield pytest.param(name, torch.float64, marks=marks, id=f"{name}-float64")


@pytest.mark.parametrize("name, dtype", list(of_both_dtypes()))
def test_shapes_seeds_and_nothing_global(name, dtype, fitted):
    torch.manual_seed(7)
    pyro.get_param_store().clear()
    pyro.param("mine", torch.ones(2))
    before, kind = torch.random.get_rng_state(), torch.get_default_dtype()
    first = fit(name, 0, rows(dtype)).draws
    again = (fitted(name) if dtype == torch.float32 else fit(name, 0, rows(dtype))).draws
    assert torch.equal(torch.random.get_rng_state(), before) and torch.get_default_dtype() == kind
    assert list(pyro.get_param_store().keys()) == ["mine"]
    pyro.get_param_store().clear()
    shapes = {n: (2, DRAWS[name], *p.shape) for n, p in model().net.named_parameters()}
    assert {n: tuple(v.shape) for n, v in first.sites.items()} == shapes
    assert all(v.dtype == dtype and v.device.type == "cpu" for v in first.sites.values())
    assert all(v.shape[:2] == (2, DRAWS[name]) for v in first.stats.values())
    assert all(torch.equal(first.sites[n], again.sites[n]) for n in shapes)
    if dtype == torch.float64:
        other = fit(name, 1, rows(dtype)).draws
        assert not all(torch.equal(first.sites[n], other.sites[n]) for n in shapes)
    assert all(torch.isfinite(v).all() for v in first.sites.values())
    assert first.attrs["backend"] == name and first.attrs["seed"] == 0 and first.attrs["gradients"] > 0


@pytest.mark.parametrize("name", METHODS)
def test_inference_data_prediction_and_pickling(name, fitted):
    posterior = fitted(name)
    x, y = rows()
    data = posterior.to_inference_data(test=(x, y))
    groups = {"posterior", "log_likelihood", "posterior_predictive", "observed_data", "constant_data", "predictions"}
    found = set(data.children) if hasattr(data, "children") else set(data.groups())
    assert groups <= found
    assert dict(data["posterior"].sizes)["chain"] == 2 and dict(data["posterior"].sizes)["draw"] == DRAWS[name]
    prediction = posterior.predict(x)
    torch.testing.assert_close(prediction.mean.sum(-1), torch.ones(24), rtol=0, atol=1e-5)
    assert torch.isfinite(prediction.log_prob(y)).all()
    again = pickle.loads(pickle.dumps(posterior.draws))
    assert all(torch.equal(again.sites[n], v) for n, v in posterior.draws.sites.items())


@pytest.mark.parametrize("name", METHODS)
def test_pickling_of_settings(name):
    backend = METHODS[name]
    assert pickle.loads(pickle.dumps(backend)) == backend


@pytest.mark.parametrize(
    "name", [n if n in KINDS - {"MeanField"} else pytest.param(n, marks=pytest.mark.slow) for n in MINIBATCH]
)
def test_minibatches_of_tensors_and_of_a_dataset(name):
    for data in (rows(), TensorDataset(*rows())):
        draws = fit(name, data=data, batch_size=8).draws
        assert draws.attrs["batch_size"] == 8 and all(torch.isfinite(v).all() for v in draws.sites.values())


@pytest.mark.parametrize("name", [n for n in METHODS if n not in MINIBATCH])
def test_full_batch_methods_refuse_a_dataset(name):
    with pytest.raises(bz.DataError, match="all rows at once, got a torch Dataset"):
        fit(name, data=TensorDataset(*rows()))


@pytest.mark.parametrize("name", [n if n in KINDS else pytest.param(n, marks=pytest.mark.slow) for n in METHODS])
def test_ctrl_c_keeps_what_was_made(name, monkeypatch):
    """Full batch: the third draw is interrupted. Stochastic gradients: step 33 of 40. Optimisers: where they were."""
    early = dict.fromkeys(ONE_MODE, 8) | {"MeanField": 6, "MCDropout": 6}
    method, original = METHODS[name], Run.advance
    after = early.get(name, 33) if name in MINIBATCH else method.warmup + 2 * method.thinning

    def interrupted(self, i):
        if self.step == after:
            raise KeyboardInterrupt
        return original(self, i)

    monkeypatch.setattr(Run, "advance", interrupted)
    with pytest.warns(UserWarning, match="interrupted"):
        draws = fit(name, **({} if name in MINIBATCH else {"processes": 1})).draws
    made = DRAWS[name] if name in early or name == "SWAG" else 2
    assert next(iter(draws.sites.values())).shape[1] == made
    assert draws.attrs["interrupted"] or name in (*ONE_MODE, "SWAG")


def broken():
    x, y = rows()
    return {
        "NaN": ((x.clone().fill_(torch.nan), y), "NaN or infinite"),
        "labels out of range": ((x, y + 5), "y"),
        "rows differ": ((x, y[:-1]), "rows"),
        "empty": ((x[:0], y[:0]), "empty"),
        "not a tuple": (x, "tuple"),
        "uint8": ((x.byte(), y), "uint8"),
    }


@pytest.mark.parametrize("what", broken())
@pytest.mark.parametrize("name", METHODS)
def test_bad_data_is_refused_before_work_starts(name, what, monkeypatch):
    data, match = broken()[what]
    started = []
    monkeypatch.setattr(Run, "__init__", lambda *a, **k: started.append(1))
    with pytest.raises(bz.DataError, match=match):
        fit(name, data=data)
    assert not started


@pytest.mark.parametrize("name", METHODS)
def test_batchnorm_and_a_missing_device_are_refused(name):
    with pytest.raises(bz.ModelError, match="BatchNorm"):
        net = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
        bz.fit(bz.BNN(net, bz.priors.Normal(1.0), bz.likelihoods.Categorical()), rows(), METHODS[name], progress=False)
    if not torch.cuda.is_available():
        with pytest.raises(bz.DataError, match="no CUDA device"):
            bz.fit(model(), rows(), METHODS[name], device="cuda", progress=False)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", METHODS)
def test_on_a_gpu(name):
    draws = bz.fit(model(), rows(), METHODS[name], device="cuda", progress=False).draws
    assert all(v.device.type == "cpu" and torch.isfinite(v).all() for v in draws.sites.values())
    assert draws.attrs["device"].startswith("cuda")
