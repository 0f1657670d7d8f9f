"""The log joint over chunks of rows: the same numbers as all rows at once, float64 sums, flat memory, clear refusals."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from torch.utils.data import Dataset, IterableDataset, TensorDataset

import bnn_zoo as bz
from bnn_zoo import kernels
from bnn_zoo._random import OneStream
from bnn_zoo.backends._rows import density_of
from bnn_zoo.density import ChunkedLogJoint, LogJoint, from_prior
from bnn_zoo.kernels.hmc import Dynamics

N = 103


def numbers(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


X, Y = numbers(N, 4), numbers(N, seed=1)
LABELS = (Y > 0).long() + (Y > 1).long()


def network(likelihood, outputs=1):
    return bz.BNN(bz.nets.MLP(4, outputs, hidden=(5,)), bz.priors.Normal(bz.priors.fan_in), likelihood)


def linear_model(prior):
    return bz.BNN(torch.nn.Linear(4, 1, bias=False), prior, bz.likelihoods.Gaussian())


def two_outcomes(x, y, kind, *, size=None):
    """Two observed sites, one with a mask over rows, an unknown noise scale and a factor that counts once."""
    w = pyro.sample("w", dist.Normal(torch.zeros(4), 1.0).to_event(1))
    noise = pyro.sample("noise", dist.HalfCauchy(1.0))
    pyro.factor("smooth", -w.diff().square().sum())
    with pyro.plate("data", size or len(x), subsample=x):
        with poutine.mask(mask=x[:, 0] > 0):
            pyro.sample("y", dist.Normal(x @ w, noise), obs=y)
        pyro.sample("kind", dist.Binomial(2, logits=x @ w), obs=kind.to(x.dtype))


MODELS = {
    "unknown noise scale": (network(bz.likelihoods.Gaussian()), (X, Y)),
    "classes": (network(bz.likelihoods.Categorical(), 3), (X, LABELS)),
    "hierarchical prior": (linear_model(bz.priors.Normal(bz.priors.HalfCauchy(1.0))), (X, Y)),
    "horseshoe": (linear_model(bz.priors.Horseshoe()), (X, Y)),
    "tempered": (poutine.scale(linear_model(bz.priors.Normal(1.0)), scale=10.0), (X, Y)),
    "two outcomes, mask, factor": (two_outcomes, (X, Y, LABELS)),
}


@pytest.mark.parametrize(
    "name, row_chunk, chains",
    [
        pytest.param(name, 40, 3, marks=[] if name in ("horseshoe", "two outcomes, mask, factor") else pytest.mark.slow)
        for name in MODELS
    ]
    + [("unknown noise scale", n, 1) for n in (1, 500)],
)
def test_same_as_all_rows_at_once(name, row_chunk, chains):
    """Ragged last chunks, one row at a time, one chunk of all; one chain and several."""
    model, rows = MODELS[name]
    whole = LogJoint(model, rows)
    chunked = ChunkedLogJoint(model, rows, row_chunk=row_chunk)
    assert [(s.name, s.shape) for s in chunked.sites] == [(s.name, s.shape) for s in whole.sites]
    position = 0.5 * numbers(chains, whole.dim, seed=2)
    (value, gradient), (expected, slope) = chunked(position), whole(position)
    torch.testing.assert_close(value, expected, rtol=1e-13, atol=1e-10)
    torch.testing.assert_close(gradient, slope, rtol=1e-13, atol=1e-10)
    torch.testing.assert_close(chunked.value(position), expected, rtol=1e-13, atol=1e-10)
    torch.testing.assert_close(chunked.log_jacobian(position), whole.log_jacobian(position), rtol=0, atol=0)
    assert chunked.evaluations == chains


def test_protocol_of_a_log_joint():
    model, rows = MODELS["unknown noise scale"]
    whole, chunked = LogJoint(model, rows), ChunkedLogJoint(model, rows, row_chunk=40)
    assert (chunked.dim, chunked.dtype, chunked.device) == (whole.dim, whole.dtype, whole.device)
    assert chunked.rows == whole.rows  # every row is seen, so Hamiltonian backends take it
    assert not chunked.rows_per_chain and len(chunked.args[0]) == 40
    start = from_prior(chunked, 1, torch.Generator().manual_seed(0))
    sites = chunked.constrain(start)
    for name, value in whole.constrain(start).items():
        torch.testing.assert_close(sites[name], value, rtol=0, atol=0)
    torch.testing.assert_close(chunked.unconstrain(sites), start)
    assert chunked.value(start.expand(2, 3, -1)).shape == (2, 3)
    part = LogJoint(model, (X[:40], Y[:40]), {"size": N})
    torch.testing.assert_close(chunked(start, X[:40], Y[:40])[0], part.value(start))


def test_a_step_taken_into_the_graph_sees_every_chunk():
    """With ``compile``, kernels hand their step to the log joint: it must not be joined to the graph of one chunk."""
    model, rows = MODELS["tempered"]
    chunked = ChunkedLogJoint(model, rows, row_chunk=40, compile=True)
    position = 0.5 * numbers(1, chunked.dim)
    for graph in (kernels.integrators.inline(chunked, lambda log_joint, q: log_joint(q)), chunked):
        for got, expected in zip(graph(position), LogJoint(model, rows)(position), strict=True):
            torch.testing.assert_close(got, expected, rtol=1e-13, atol=1e-10)


def test_chain_without_a_density_is_nan_alone():
    def model(x, y, *, size=None):
        a = pyro.sample("a", dist.Normal(0.0, 1.0))
        covariance = torch.eye(2, dtype=x.dtype) + a * torch.tensor([[0.0, 1.0], [1.0, 0.0]], dtype=x.dtype)
        with pyro.plate("data", size or len(x), subsample=x):
            pyro.sample("y", dist.MultivariateNormal(torch.zeros(2, dtype=x.dtype), covariance), obs=y)

    rows = (X, X[:, :2])
    position = torch.tensor([[0.3], [2.0], [-0.1]], dtype=torch.float64)  # |a| ≥ 1 is no covariance
    log_joint = ChunkedLogJoint(model, rows, row_chunk=30)
    value, gradient = log_joint(position)
    expected, slope = LogJoint(model, rows)(position[[0, 2]])
    assert torch.isnan(value).tolist() == [False, True, False] and log_joint.evaluations == 3
    torch.testing.assert_close(value[[0, 2]], expected)
    torch.testing.assert_close(gradient[[0, 2]], slope)


def test_float32_network_with_float64_sums():
    """The log joint of 200,000 rows, about −3e5, has steps of 0.03 in float32; differences must be finer than that."""
    x = numbers(200_000, 4, dtype=torch.float32)
    y = x.sum(1) + numbers(200_000, seed=1, dtype=torch.float32)
    model = network(bz.likelihoods.Gaussian(1.0))
    chunked = ChunkedLogJoint(model, (x, y), row_chunk=30_000)
    a = from_prior(chunked, 1, torch.Generator().manual_seed(0))
    b = a + 1e-6 * numbers(1, chunked.dim, seed=2, dtype=torch.float32)
    exact = LogJoint(model, (x.double(), y.double()))
    (before, slope), (after, _) = chunked(a), chunked(b)
    assert before.dtype == torch.float64 and slope.dtype == torch.float32
    truth = [float(exact(q.double())[0]) for q in (a, b)]
    assert abs(float(after - before) - (truth[1] - truth[0])) < 0.003
    torch.testing.assert_close(slope.double(), exact(a.double())[1], rtol=1e-4, atol=0.1)
    assert chunked(a.double())[1].dtype == torch.float64  # the gradient comes back in the position's dtype


def test_hmc_kernel_keeps_float32_positions_and_float64_energies():
    x, y = X.float(), Y.float()
    log_joint = ChunkedLogJoint(network(bz.likelihoods.Gaussian()), (x, y), row_chunk=40)
    generator = torch.Generator().manual_seed(0)
    kernel = kernels.HMC(trajectory_length=0.004, jitter=0.0)
    position = from_prior(log_joint, 2, generator)
    random = OneStream(generator, like=position)
    state = kernel.init(position, log_joint, random)
    parameters = Dynamics(kernels.Diagonal(torch.ones_like(position)), torch.full((2,), 0.001))
    for _ in range(3):
        state, info = kernel.step(log_joint, state, parameters, random)
    assert state.position.dtype == state.gradient.dtype == torch.float32
    assert state.log_joint.dtype == info.energy_error.dtype == torch.float64
    assert (info.acceptance_rate > 0.5).all()


# ---------------------------------------------------------------------------------------------------- density_of


class Images(Dataset):
    """Rows of a tensor and labels that are Python numbers, one at a time."""

    def __init__(self, x, y):
        self.x, self.y = x, y

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return self.x[i], int(self.y[i])


def test_density_of_tensors_arrays_and_datasets():
    model = network(bz.likelihoods.Categorical(), 3)
    whole = density_of(model, (X, LABELS), row_chunk=None)
    assert type(whole) is LogJoint
    position = 0.5 * numbers(1, whole.dim)
    value = whole.value(position)
    state = torch.get_rng_state()
    for data in ((X, LABELS), (X.numpy(), LABELS.numpy()), TensorDataset(X, LABELS), Images(X, LABELS)):
        log_joint = density_of(model, data, row_chunk=25, device="cpu")
        assert isinstance(log_joint, ChunkedLogJoint)
        torch.testing.assert_close(log_joint.value(position), value, rtol=0, atol=1e-10)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_dataset_keeps_its_dtype():
    """uint8 images stay uint8 in memory: a model that turns them into numbers itself sees them chunk by chunk."""
    pixels = (X.abs() * 80).clamp(max=255).to(torch.uint8)
    inner = network(bz.likelihoods.Categorical(), 3)

    def model(x, y=None, *, size=None):
        return inner(x.float() / 255, y, size=size)

    log_joint = density_of(model, TensorDataset(pixels, LABELS), row_chunk=25)
    expected = LogJoint(inner, (pixels.float() / 255, LABELS))
    assert log_joint.args[0].dtype == torch.uint8
    position = 0.5 * numbers(1, expected.dim, dtype=torch.float32)
    torch.testing.assert_close(log_joint.value(position).float(), expected.value(position))


@pytest.mark.cuda
def test_chunks_of_rows_on_the_cpu_move_to_the_device():
    model = network(bz.likelihoods.Gaussian())
    log_joint = density_of(model, TensorDataset(X, Y), row_chunk=40, device="cuda")
    position = 0.5 * numbers(2, log_joint.dim)
    value, gradient = log_joint(position.cuda())
    expected, slope = LogJoint(model, (X, Y))(position)
    assert value.is_cuda and gradient.is_cuda
    torch.testing.assert_close(value.cpu(), expected)
    torch.testing.assert_close(gradient.cpu(), slope)


# ---------------------------------------------------------------------------------------------------- memory

STATUS = Path("/proc/self/status")
MEMORY = """
import json
from pathlib import Path
import pyro
import pyro.distributions as dist
import torch
from bnn_zoo.density import ChunkedLogJoint, LogJoint
torch.set_num_threads(1)
def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))

def model(x, y, *, size=None):
    w = pyro.sample("w", dist.Normal(torch.zeros(4, 300), 1.0).to_event(2))
    with pyro.plate("data", size or len(x), subsample=x):
        pyro.sample("y", dist.Normal(torch.tanh(x @ w).sum(1), 1.0), obs=y)

x, position = torch.randn(40_000, 4), torch.zeros(1, 1200)
y, peaks = x.sum(1), []
for rows in (10_000, 40_000):
    ChunkedLogJoint(model, (x[:rows], y[:rows]), row_chunk=1_000)(position)
    peaks.append(peak())
LogJoint(model, (x, y))(position)
print(json.dumps([*peaks, peak()]))
"""


@pytest.mark.slow
def test_memory_is_set_by_the_chunk():
    """Peak resident memory, MiB: four times the rows in chunks of 1,000 add nothing; at once they add 300 numbers a row."""
    if not STATUS.exists():
        pytest.skip(f"peak memory is read from {STATUS}, which this system lacks (ru_maxrss starts at the parent's)")
    out = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True).stdout
    quarter, chunked, at_once = json.loads(out.splitlines()[-1])
    assert chunked - quarter < 15
    assert at_once - chunked > 100


# ---------------------------------------------------------------------------------------------------- refusals


def linear(x):
    return x @ pyro.sample("w", dist.Normal(torch.zeros(4), 1.0).to_event(1))


def without_size(x, y=None):
    return MODELS["unknown noise scale"][0](x, y)


def size_ignored(x, y, *, size=None):
    f = linear(x)
    with pyro.plate("data", len(x)):
        pyro.sample("y", dist.Normal(f, 1.0), obs=y)


def no_plate(x, y, *, size=None):
    pyro.sample("y", dist.Normal(linear(x), 1.0).to_event(1), obs=y)


def rows_depend_on_each_other(x, y, *, size=None):
    f = linear(x - x.mean(0))
    with pyro.plate("data", size or len(x), subsample=x):
        pyro.sample("y", dist.Normal(f, 1.0), obs=y)


def a_latent_for_each_row(x, y, *, size=None):
    with pyro.plate("data", size or len(x), subsample=x):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("y", dist.Normal(z, 1.0), obs=y)


def late(value, like):
    """``like`` with ``value`` in row 90."""
    changed = like.clone()
    changed[90] = value
    return changed


class Words(Dataset):
    def __len__(self):
        return 3

    def __getitem__(self, i):
        return "word"


class Stream(IterableDataset):
    def __iter__(self):
        yield from zip(X, Y, strict=True)


GAUSSIAN, CATEGORICAL = MODELS["unknown noise scale"][0], MODELS["classes"][0]
REFUSALS = {
    "no rows in a chunk": (GAUSSIAN, (X, Y), 0, ValueError, r"row_chunk .* at least 1, got 0"),
    "half a row": (GAUSSIAN, (X, Y), 2.5, ValueError, r"row_chunk .* whole number .* got 2\.5"),
    "True": (GAUSSIAN, (X, Y), True, ValueError, r"row_chunk .* whole number .* got True"),
    "unequal rows": (GAUSSIAN, (X, Y[:-1]), 40, bz.DataError, r"same number of rows, got lengths \[103, 102\]"),
    "no tensor": (GAUSSIAN, (X, 3), 40, bz.DataError, r"same number of rows, got lengths \[103, None\]"),
    "model without size": (
        without_size,
        (X, Y),
        40,
        bz.ModelError,
        r"chunks of rows call model\(\*rows, size=N\), but this model takes \(x, y\): add size=None .* row_chunk=None",
    ),
    "model that ignores size": (
        size_ignored,
        (X, Y),
        40,
        bz.ModelError,
        r"a sum over rows, scaled to 103 .*'data': 40 of 40.*write pyro\.plate\('data', size",
    ),
    "likelihood outside a plate": (no_plate, (X, Y), 40, bz.ModelError, r"found no plate over the data.*write pyro\.plate"),
    "rows that depend on each other": (
        rows_depend_on_each_other,
        (X, Y),
        40,
        bz.ModelError,
        r"let no row depend on another",
    ),
    "latent for each row": (
        a_latent_for_each_row,
        (X, Y),
        40,
        bz.ModelError,
        r"sites \['z'\] change with the number of rows",
    ),
    "latent for each row, no ragged chunk": (
        a_latent_for_each_row,
        (X[:64], Y[:64]),
        32,
        bz.ModelError,
        r"sites \['z'\] change with the number of rows",
    ),
    "label out of range in a later chunk": (
        CATEGORICAL,
        (X, late(7, LABELS)),
        40,
        bz.DataError,
        r"rows 80 to 102: .*1 of \d+ values lie outside the support of Categorical",
    ),
    "NaN in a later chunk's y": (GAUSSIAN, (X, late(np.nan, Y)), 40, bz.DataError, r"argument 1 .* 1 NaN or infinite"),
    "NaN in a later chunk's x": (GAUSSIAN, (late(np.nan, X), Y), 40, bz.DataError, r"argument 0 .* 4 NaN or infinite"),
    "NaN in a Dataset": (GAUSSIAN, TensorDataset(late(np.nan, X), Y), 40, bz.DataError, r"part 0 .* 4 NaN or infinite"),
    "Dataset of words": (GAUSSIAN, Words(), 40, bz.DataError, r"tuples of tensors or numbers .* got str"),
    "Dataset without length": (GAUSSIAN, Stream(), 40, bz.DataError, r"IterableDataset has no known number of rows"),
    "empty Dataset": (GAUSSIAN, TensorDataset(X[:0], Y[:0]), 40, bz.DataError, r"data set is empty"),
    "Dataset at once": (GAUSSIAN, TensorDataset(X, Y), None, bz.DataError, r"all rows at once, got a torch Dataset"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_refusal(case):
    model, data, row_chunk, error, message = REFUSALS[case]
    with pytest.raises(error, match=message):
        density_of(model, data, row_chunk=row_chunk)
