"""What a newcomer gets wrong: one table of bad inputs, each with an error that names the thing and the remedy.

No row may begin to sample: the kernels' and SVI's steps are replaced by one that fails the test.
"""

import functools

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import bnn_zoo as bz
from bnn_zoo import DataError, ModelError, kernels

N = 8
X = torch.randn(N, 3, generator=torch.Generator().manual_seed(0))
Y = X.sum(1)
LABELS = torch.arange(N) % 3
NAN, INF = float("nan"), float("inf")


def net(outputs=1):
    with torch.random.fork_rng(devices=[]):  # the table checks that nothing else touches the random state
        return bz.nets.MLP(3, outputs, hidden=(4,))


def bnn(outputs=1, likelihood=None, prior=None, module=None):
    return bz.BNN(module or net(outputs), prior or bz.priors.Normal(), likelihood or bz.likelihoods.Gaussian())


CLASSES, BINARY = bnn(3, bz.likelihoods.Categorical()), bnn(1, bz.likelihoods.Bernoulli())
NUTS, SGLD = bz.NUTS(chains=1, warmup=2, draws=2), bz.SGLD(chains=2, steps=4, step_size=1e-3)
BATCHED = bz.SGLD(chains=2, steps=4, step_size=1e-3, batch_size=4)
FIELD = bz.MeanField(steps=2, draws=2)


def fit(*data, model=None, backend=NUTS, **more):
    return lambda: bz.fit(model or bnn(), data, backend, progress=False, **more)


def with_value(tensor, value, at=0):
    changed = tensor.clone()
    changed[at] = value
    return changed


# ------------------------------------------------------------------------------------------ models that must be refused


def regression(x, y=None):
    slope = pyro.sample("slope", dist.Normal(torch.zeros(3), 1.0).to_event(1))
    with pyro.plate("rows", len(x)):
        return pyro.sample("y", dist.Normal(x @ slope, 1.0), obs=y)


def with_size_ignored(x, y=None, *, size=None):
    return regression(x, y)


def with_batchnorm(x, y=None):
    scale = pyro.sample("scale", dist.HalfNormal(1.0))
    f = nn.BatchNorm1d(3)(x).sum(1)
    with pyro.plate("rows", len(x)):
        return pyro.sample("y", dist.Normal(f, scale), obs=y)


def with_discrete_site(x, y=None):
    kind = pyro.sample("kind", dist.Poisson(0.5))
    with pyro.plate("rows", len(x)):
        return pyro.sample("y", dist.Normal(kind * x.sum(1), 1.0), obs=y)


def with_branch(x, y=None):
    slope = pyro.sample("slope", dist.Normal(0.0, 1.0))
    f = x.sum(1) * slope if slope > 0 else x.sum(1)
    with pyro.plate("rows", len(x)):
        return pyro.sample("y", dist.Normal(f, 1.0), obs=y)


def with_item(x, y=None):
    slope = pyro.sample("slope", dist.Normal(0.0, 1.0))
    with pyro.plate("rows", len(x)):
        return pyro.sample("y", dist.Normal(x.sum(1) * slope.item(), 1.0), obs=y)


def with_changing_sites(x, y=None):
    slope = pyro.sample("slope", dist.Normal(0.0, 1.0))
    pyro.sample(f"noise_{torch.rand(()):.6f}", dist.Normal(0.0, 1.0))
    with pyro.plate("rows", len(x)):
        return pyro.sample("y", dist.Normal(x.sum(1) * slope, 1.0), obs=y)


def with_noise(x, y=None):
    slope = pyro.sample("slope", dist.Normal(0.0, 1.0))
    with pyro.plate("rows", len(x)):
        return pyro.sample("y", dist.Normal(x.sum(1) * slope + torch.randn(len(x)), 1.0), obs=y)


def without_latents(x, y):
    pyro.sample("y", dist.Normal(x.sum(1), 1.0).to_event(1), obs=y)


def on_a_sphere(x, y=None):
    pyro.sample("direction", dist.ImproperUniform(dist.constraints.sphere, (), (3,)))


def dropout_net():
    return nn.Sequential(nn.Dropout(0.5), net()).train()


def wrong_shape(name, shape):
    return dist.Normal(0.0, 1.0)


def not_in_one_event(name, shape):
    return dist.Normal(0.0, 1.0).expand(shape)


def no_law(name, shape):
    return "Normal"


def posterior(model=None, data=(X, Y)):
    """A tiny one, made before the steps are forbidden."""
    model = model or bnn()
    sites = bz.fit(model, data, bz.SGLD(chains=1, steps=4, step_size=1e-3), progress=False).draws
    return bz.Posterior(model, data, sites)


@functools.cache
def regression_posterior():
    return posterior()


class OddImages(torch.utils.data.Dataset):
    """Gives images that are no tensors, as torchvision does without transforms."""

    def __len__(self):
        return N

    def __getitem__(self, i):
        return {"image": X[i], "label": Y[i]}


NO_CUDA = pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")

TABLE = {
    # ---- data
    "NaN in x": (fit(with_value(X, NAN), Y), DataError, r"argument 0 .* 3 NaN or infinite values of 24: drop or impute"),
    "NaN in y": (fit(X, with_value(Y, NAN)), DataError, r"argument 1 .* 1 NaN or infinite values of 8: drop or impute"),
    "infinite x": (fit(with_value(X, INF), Y), DataError, r"argument 0 .* NaN or infinite"),
    "NaN for SGLD": (fit(with_value(X, NAN), Y, backend=BATCHED), DataError, r"argument 0 .* drop or impute"),
    "NaN for MeanField": (fit(with_value(X, NAN), Y, backend=FIELD), DataError, r"argument 0 .* drop or impute"),
    "NaN in numpy": (fit(np.full((N, 3), np.nan), Y.numpy()), DataError, r"argument 0 .* 24 NaN"),
    "empty": (fit(X[:0], Y[:0]), DataError, r"argument 0 of the data is empty, shape \(0, 3\): expected at least one row"),
    "lengths": (fit(X, Y[:-1]), DataError, r"x has 8 rows, so y must too, got y of shape \(7,\)"),
    "lengths, minibatch": (fit(X, Y[:-1], backend=BATCHED), DataError, r"same number of rows, got lengths \[8, 7\]"),
    "y as a column": (
        fit(X, Y[:, None]),
        DataError,
        r"y must have the shape .* \(8,\), got \(8, 1\): write y\.squeeze\(-1\)",
    ),
    "y of two columns": (
        fit(X, Y[:, None].expand(N, 2)),
        ModelError,
        r"Gaussian\(.*\) needs 2 outputs of the net for y of shape \(n, 2\), got 1: .* as nets\.MLP\(3, 2\) has",
    ),
    "y of three axes": (fit(X, Y[:, None, None]), DataError, r"y must have the shape .* \(8,\), got \(8, 1, 1\)"),
    "y as one column of two": (
        fit(X, Y, model=bnn(2)),
        ModelError,
        r"Gaussian\(.*\) needs 1 output of the net for y of shape \(n,\), got 2: .* 1 output, as nets\.MLP\(3, 1\) has",
    ),
    "y as a column, raw model": (
        fit(X, Y[:, None], model=regression),
        DataError,
        r"site 'y': expected observed values of shape \(8,\), got \(8, 1\)",
    ),
    "one feature as a vector": (fit(X[:, 0], Y), DataError, r"x must be \[rows, …features\] .* got \(8,\).*x\[:, None\]"),
    "labels too large": (fit(X, LABELS + 1, model=CLASSES), DataError, r"site 'y': 2 .* outside .* range from 1 to 3"),
    "labels negative": (fit(X, LABELS - 1, model=CLASSES), DataError, r"site 'y': 3 .* outside .* range from -1 to 1"),
    "labels as floats": (fit(X, LABELS.float(), model=CLASSES), DataError, r"labels must be integers .* write y\.long\(\)"),
    "binary labels 1 and 2": (fit(X, LABELS % 2 + 1, model=BINARY), DataError, r"site 'y': 3 .* Bernoulli.* from 1 to 2"),
    "images of bytes": (fit(X.to(torch.uint8), Y), DataError, r"x is torch\.uint8: .* x\.float\(\) / 255"),
    "images of integers": (
        fit(X.long(), Y),
        DataError,
        r"x is torch\.int64, and the net does not take that .*: write x\.float\(\)",
    ),
    "array of objects": (fit(np.array([["a"] * 3] * N, dtype=object), Y), DataError, r"argument 0 is an array of object"),
    "array of text": (fit(np.array([["a"] * 3] * N), Y), DataError, r"argument 0 is an array of <U1: .* encode text"),
    "lists": (fit(X.tolist(), Y.tolist()), DataError, r"x must be a tensor, got list: use torch\.as_tensor"),
    "mixed dtypes": (
        fit(X, Y.double()),
        DataError,
        r"mixed floating dtypes \(argument 0 is torch\.float32, argument 1 is torch\.float64\): use one",
    ),
    "no values": (fit(X, Y.to("meta")), DataError, r"argument 1 is on the meta device, .* expected data on 'cpu' or 'cuda'"),
    "no such device": (fit(X, Y, device="gpu"), DataError, r"device='gpu'.*'cpu' or 'cuda'"),
    "not a tuple": (lambda: bz.fit(bnn(), X, NUTS), DataError, r"must be the tuple .* such as \(x, y\); got Tensor"),
    "x alone": (fit(X), (DataError, ModelError), r"\by\b.* (observed|missing|data)"),
    "features of another number": (
        fit(X[:, :2], Y),
        DataError,
        r"the net fails on rows of shape \(2,\), torch\.float32: .*\(8x2 and 3x4\)",
    ),
    "missing argument": (fit(), ModelError, r"the model fails on these data, at or after the start .* argument: 'x'"),
    "data set for NUTS": (
        lambda: bz.fit(bnn(), TensorDataset(X, Y), NUTS),
        DataError,
        r"all rows at once, got a torch Dataset: pass the tensors \(x, y\), or use SGLD or MeanField with batch_size",
    ),
    "data set without batch size": (
        lambda: bz.fit(bnn(), TensorDataset(X, Y), SGLD),
        DataError,
        r"got a torch Dataset: .* with batch_size",
    ),
    "data set of dictionaries": (
        lambda: bz.fit(bnn(), OddImages(), BATCHED),
        DataError,
        r"must give tuples of tensors .* got dict",
    ),
    "empty data set": (lambda: bz.fit(bnn(), TensorDataset(X[:0], Y[:0]), BATCHED), DataError, r"data set is empty"),
    "minibatch for NUTS": (
        fit(X, Y, model=functools.partial(bnn(), size=100)),
        DataError,
        r"NUTS needs every row, but plate 'data' sees 8 of 100; use SGLD or pass the whole set",
    ),
    "size below the rows": (
        fit(X, Y, model=functools.partial(bnn(), size=4)),
        DataError,
        r"size is the number of rows of the whole data set: expected at least 8, got 4",
    ),
    "batch larger than the data": (
        fit(X, Y, backend=bz.SGLD(batch_size=9)),
        DataError,
        r"batch_size=9 is larger than the data, 8 rows: use batch_size=None",
    ),
    # ---- models
    "model without size": (
        fit(X, Y, model=regression, backend=BATCHED),
        ModelError,
        r"minibatches call model\(\*rows, size=N\), but this model takes \(x, y\): add size=None",
    ),
    "model that ignores size": (
        fit(X, Y, model=with_size_ignored, backend=BATCHED),
        ModelError,
        r"minibatches of 4 rows need .* all 8 rows, found \[\"'rows': 4 of 4\"\]: write pyro\.plate\('data', size",
    ),
    "BatchNorm in a BNN": (
        lambda: bnn(module=nn.Sequential(net(4), nn.BatchNorm1d(4))),
        ModelError,
        r"layer '1' is BatchNorm1d .* bnn_zoo\.nets\.replace_batchnorm\(net\), .* net\.eval\(\)",
    ),
    "BatchNorm in a raw model": (
        fit(X, Y, model=with_batchnorm),
        ModelError,
        r"the model runs BatchNorm1d in training mode: .* bnn_zoo\.nets\.replace_batchnorm\(net\), or call \.eval\(\)",
    ),
    "discrete latent": (
        fit(X, Y, model=with_discrete_site),
        ModelError,
        r"site 'kind' \(Poisson\) is latent and discrete.* sum it out by hand",
    ),
    "no bijection": (
        fit(X, Y, model=on_a_sphere),
        ModelError,
        r"site 'direction' \(ImproperUniform\): no bijection .* unconstrained site",
    ),
    "branch on a value": (
        fit(X, Y, model=with_branch),
        ModelError,
        r"after site 'slope' the model's control flow depends on the value of a site .* torch\.where",
    ),
    "branch on a value, two chains": (
        fit(X, Y, model=with_branch, backend=SGLD),
        ModelError,
        r"after site 'slope' the model's control flow depends .* torch\.where",
    ),
    "value taken out by item()": (
        fit(X, Y, model=with_item),
        ModelError,
        r"after site '\w+' the model's control flow depends on the value of a site \(.*\.item\(\)",
    ),
    "sites that change": (
        fit(X, Y, model=with_changing_sites),
        ModelError,
        r"two runs .* different sites .*noise_.*fixed set",
    ),
    "noise outside of sites": (fit(X, Y, model=with_noise), ModelError, r"draws random numbers outside pyro\.sample"),
    "noise, two chains": (fit(X, Y, model=with_noise, backend=SGLD), ModelError, r"random numbers outside pyro\.sample"),
    "dropout in training": (
        fit(X, Y, model=bnn(module=dropout_net())),
        ModelError,
        r"draws random numbers outside pyro\.sample \(dropout in training mode\?\).* call net\.eval\(\)",
    ),
    "dropout in training, two chains": (
        fit(X, Y, model=bnn(module=dropout_net()), backend=SGLD),
        ModelError,
        r"net\.eval\(\)",
    ),
    "nothing to infer": (fit(X, Y, model=without_latents), ModelError, r"no latent site: there is nothing to infer"),
    "frozen net": (
        lambda: bnn(module=net().requires_grad_(False)),
        ModelError,
        r"no parameter with requires_grad=True: there is nothing to infer",
    ),
    "net that is no module": (lambda: bnn(module=lambda x: x), TypeError, r"torch\.nn\.Module as its net, .* got <function"),
    "net as a class": (lambda: bnn(module=nn.Linear), TypeError, r"torch\.nn\.Module as its net, .* got <class"),
    "net that drops rows": (
        fit(X, Y, model=bnn(module=nn.Sequential(nn.Flatten(0), nn.Linear(24, 1)))),
        DataError,
        r"one row of output a row of x: x has 8",
    ),
    "prior as a class": (
        lambda: bnn(prior=bz.priors.Normal),
        TypeError,
        r"an instance as its prior, such as Normal\(1\.0\); got <class",
    ),
    "prior as a number": (lambda: bnn(prior=1.0), TypeError, r"an instance as its prior, such as Normal\(1\.0\)"),
    "likelihood as a class": (
        lambda: bnn(likelihood=bz.likelihoods.Gaussian),
        TypeError,
        r"an instance as its likelihood, such as Gaussian\(\); got <class",
    ),
    "prior of a wrong shape": (
        fit(X, Y, model=bnn(prior=wrong_shape)),
        ModelError,
        r"site '0\.weight': the prior gives .* event shape \(\), the weight needs event shape \(4, 3\) .*\.expand\(shape\)",
    ),
    "prior that gives no law": (
        fit(X, Y, model=bnn(prior=no_law)),
        ModelError,
        r"site '0\.weight': the prior must give a distribution, got str",
    ),
    "prior of independent weights": (
        fit(X, Y, model=bnn(prior=not_in_one_event)),
        ModelError,
        r"site '0\.weight': the prior gives batch shape \(4, 3\) and event shape \(\), .*\.to_event\(len\(shape\)\)",
    ),
    "prior table without a fit": (
        fit(X, Y, model=bnn(prior=bz.priors.PerSite({"*.bias": bz.priors.Normal()}))),
        ModelError,
        r"no prior for '0\.weight': its patterns are \['\*\.bias'\]; add one",
    ),
    "prior scale": (lambda: bz.priors.Normal(-1.0), ValueError, r"Normal: the scale must be a finite number > 0, got -1"),
    "noise scale": (lambda: bz.likelihoods.Gaussian(0.0), ValueError, r"Gaussian: the noise scale must be .* > 0, got 0"),
    "one output for classes": (
        fit(X, LABELS, model=bnn(1, bz.likelihoods.Categorical())),
        ModelError,
        r"Categorical expects .* at least two .* got \[rows, 1\]: change the size of the last layer",
    ),
    "two outputs for Bernoulli": (
        fit(X, LABELS % 2, model=bnn(2, bz.likelihoods.Bernoulli())),
        ModelError,
        r"Bernoulli\(\) needs 1 output of the net for y of shape \(n,\), got 2: .* as nets\.MLP\(3, 1\) has",
    ),
    "three outputs for mean and sd": (
        fit(X, Y, model=bnn(3, bz.likelihoods.HeteroscedasticGaussian())),
        ModelError,
        r"HeteroscedasticGaussian\(.*\) needs 2 outputs of the net .* got 3: .* as nets\.MLP\(3, 2\) has",
    ),
    "model that is none": (fit(X, Y, model="model"), TypeError, r"fit needs a Pyro model, something to call, got str"),
    "bare network": (fit(X, Y, model=net()), (TypeError, ModelError), r"BNN\(net, prior, likelihood\)"),
    # ---- settings
    "backend as a class": (fit(X, Y, backend=bz.NUTS), TypeError, r"backend with its settings, such as NUTS\(chains=4\)"),
    "backend as a string": (fit(X, Y, backend="nuts"), TypeError, r"such as NUTS\(chains=4\); got 'nuts'"),
    "no chains": (lambda: bz.NUTS(chains=0), ValueError, r"NUTS: chains must be at least 1, got 0"),
    "no draws": (lambda: bz.HMC(draws=0), ValueError, r"HMC: draws must be at least 1, got 0"),
    "negative warm-up": (lambda: bz.NUTS(warmup=-1), ValueError, r"NUTS: warmup must be at least 0, got -1"),
    "no thinning": (lambda: bz.NUTS(thinning=0), ValueError, r"NUTS: thinning must be at least 1, got 0"),
    "step size 0": (lambda: bz.HMC(step_size=0.0), ValueError, r"HMC: step_size must be between 0\.0 and inf, got 0"),
    "step size NaN": (lambda: bz.SGLD(step_size=NAN), ValueError, r"SGLD: step_size must be between .* got nan"),
    "step size negative": (lambda: bz.SGLD(step_size=-1e-3), ValueError, r"SGLD: step_size must be between .* got -0\.001"),
    "target_accept": (lambda: bz.NUTS(target_accept=1.0), ValueError, r"target_accept must be between 0\.0 and 1\.0, got 1"),
    "tree depth": (lambda: bz.NUTS(max_tree_depth=0), ValueError, r"max_tree_depth must be at least 1, got 0"),
    "jitter": (lambda: bz.HMC(jitter=1.0), ValueError, r"HMC: jitter must be .* got 1"),
    "trajectory length": (lambda: bz.HMC(trajectory_length=0.0), ValueError, r"HMC: trajectory_length must be between"),
    "leapfrogs": (lambda: bz.HMC(max_leapfrogs=0), ValueError, r"HMC: max_leapfrogs must be at least 1"),
    "warm-up of all steps": (
        lambda: bz.SGLD(steps=100, warmup=100),
        ValueError,
        r"SGLD: warmup=100 leaves no draw of steps=100: make more steps",
    ),
    "thinning that leaves nothing": (
        lambda: bz.SGLD(steps=100, warmup=50, thinning=60),
        ValueError,
        r"SGLD: thinning=60 leaves no draw",
    ),
    "temperature": (lambda: bz.SGLD(temperature=-1.0), ValueError, r"SGLD: temperature must be at least 0\.0, got -1"),
    "batch size 0": (lambda: bz.SGLD(batch_size=0), ValueError, r"SGLD: batch_size must be at least 1, got 0"),
    "steps 0": (lambda: bz.MeanField(steps=0), ValueError, r"MeanField: steps must be at least 1, got 0"),
    "learning rate": (lambda: bz.MeanField(learning_rate=0.0), ValueError, r"MeanField: learning_rate must be between"),
    "particles": (lambda: bz.MeanField(particles=0), ValueError, r"MeanField: particles must be at least 1, got 0"),
    "chains as a fraction": (lambda: bz.NUTS(chains=2.5), (TypeError, ValueError), r"NUTS: chains must be .*2\.5"),
    "chains as text": (lambda: bz.NUTS(chains="4"), (TypeError, ValueError), r"NUTS: chains must be .*'4'"),
    "mass matrix as a string": (
        lambda: bz.NUTS(mass_matrix="dense"),
        TypeError,
        r"NUTS: mass_matrix must be .*DenseMass\(\).* got 'dense'",
    ),
    "mass matrix as a class": (lambda: bz.NUTS(mass_matrix=bz.DenseMass), TypeError, r"mass_matrix must be .*DenseMass\(\)"),
    "seed": (fit(X, Y, seed=None), TypeError, r"seed must be an integer from 0 to 2\*\*64 - 1, got None"),
    "seed: a truth value": (fit(X, Y, seed=True), TypeError, r"seed must be an integer .*, got True"),
    "seed: a fraction": (fit(X, Y, seed=3.0), TypeError, r"seed must be an integer .*, got 3\.0"),
    "seed: text": (fit(X, Y, seed="3"), TypeError, r"seed must be an integer .*, got '3'"),
    "seed: negative": (fit(X, Y, seed=-1), ValueError, r"seed must be an integer .*, got -1: write seed % 2\*\*64"),
    "seed: of 65 bits": (fit(X, Y, seed=2**64), ValueError, r"seed must be an integer .* write seed % 2\*\*64"),
}
AFTER_FIT = {
    "predict: number of features": (
        lambda p, _: p.predict(X[:, :2]),
        DataError,
        r"argument 0: the model was fitted to rows of shape \(3,\), got \(2,\)",
    ),
    "predict: one row without its dimension": (
        lambda p, _: p.predict(X[0]),
        DataError,
        r"rows of shape \(3,\), got \(\): write x\[None\] for one row",
    ),
    "predict: NaN": (lambda p, _: p.predict(with_value(X, NAN)), DataError, r"argument 0 .* NaN .*: drop or impute"),
    "predict: empty": (lambda p, _: p.predict(X[:0]), DataError, r"argument 0 of the data is empty"),
    "predict: bytes": (lambda p, _: p.predict(X.to(torch.uint8)), DataError, r"x is torch\.uint8"),
    "predict: objects": (lambda p, _: p.predict(np.array([["a"] * 3], dtype=object)), DataError, r"array of object"),
    "predict: with y": (lambda p, _: p.predict(X, Y), ModelError, r"leaves \[\]: pass the inputs only"),
    "predict: a list": (lambda p, _: p.predict(X.tolist()), DataError, r"x must be a tensor, got list: use"),
    "log_prob: shape": (
        lambda p, _: p.predict(X).log_prob(Y[:, None]),
        ValueError,
        r"expects y of shape \(8,\).* got \(8, 1\)",
    ),
    "test: features": (lambda p, _: p.to_inference_data(test=(X[:, :2], Y)), DataError, r"rows of shape \(3,\), got \(2,\)"),
    "test: x alone": (
        lambda p, _: p.to_inference_data(test=(X,)),
        DataError,
        r"test must be all of the model's arguments, such as \(x, y\), .* use predict\(x\)",
    ),
    "test: lengths": (lambda p, _: p.to_inference_data(test=(X, Y[:-1])), DataError, r"x has 8 rows, so y must too"),
    "save: file exists": (lambda p, path: p.save(path), FileExistsError, r"there\.nc exists[:;] save under another name"),
    "load: no such file": (lambda _, path: bz.load(path.with_name("none.nc")), FileNotFoundError, r"none\.nc"),
}


@pytest.fixture
def no_sampling(monkeypatch):
    def step(*_, **__):
        pytest.fail("sampling had started")

    for cls in (kernels.HMC, kernels.NUTS, kernels.SGLD, pyro.infer.SVI):
        monkeypatch.setattr(cls, "step", step)


def check(run, error, message):
    state, dtype = torch.get_rng_state(), torch.get_default_dtype()
    with pytest.raises(error, match=f"(?s){message}"):
        run()
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_default_dtype() == dtype


@pytest.mark.parametrize("row", TABLE)
def test_bad_input(row, no_sampling):
    check(*TABLE[row])


@NO_CUDA
@pytest.mark.parametrize("backend", [NUTS, SGLD, BATCHED, FIELD], ids=lambda b: type(b).__name__)
def test_no_cuda(backend, no_sampling):
    check(fit(X, Y, backend=backend, device="cuda"), DataError, r"device='cuda' .* no CUDA device: use device='cpu' or None")


@pytest.mark.parametrize("row", AFTER_FIT)
def test_bad_input_after_fit(row, tmp_path):
    path = tmp_path / "there.nc"
    path.touch()
    run, error, message = AFTER_FIT[row]
    fitted = regression_posterior()
    check(lambda: run(fitted, path), error, message)
