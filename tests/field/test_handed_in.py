"""Data as people hand them in: taken as what they are, or refused before work starts with a remedy that works."""

import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import scipy.sparse
import torch
import xarray as xr
from pyro import poutine
from targets import regression
from torch.masked import masked_tensor
from torch.utils.data import ConcatDataset, DataLoader, Dataset, IterableDataset, Subset, TensorDataset

import bnn_zoo as bz
from bnn_zoo import DataError
from bnn_zoo.data import tensors

N = 12
GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(N, 3, generator=GENERATOR)
Y = X.sum(1)
LABELS = torch.arange(N) % 2
FULL = bz.HMC(chains=1, warmup=2, draws=2, max_leapfrogs=2)
SMALL = {"chains": 1, "steps": 4, "step_size": 1e-5}
BATCHED = bz.SGLD(**SMALL, batch_size=4)
FIELD = bz.MeanField(steps=2, draws=2, batch_size=4)
pytestmark = pytest.mark.filterwarnings("ignore:.*diverged")


def bnn(outputs=1, likelihood=None):
    with torch.random.fork_rng():
        net = bz.nets.MLP(3, outputs, hidden=(4,))
    return bz.BNN(net, bz.priors.Normal(), likelihood or bz.likelihoods.Gaussian())


MODEL, BINARY, CLASSES = bnn(), bnn(1, bz.likelihoods.Bernoulli()), bnn(2, bz.likelihoods.Categorical())


def fit(data, model=MODEL, backend=BATCHED, **more):
    return bz.fit(model, data, backend, progress=False, **more)


@pytest.fixture
def no_steps(monkeypatch):
    def step(*_, **__):
        pytest.fail("a step was made")

    for kernel in (bz.kernels.HMC, bz.kernels.SGLD, bz.kernels.Optimise):
        monkeypatch.setattr(kernel, "step", step)


# ------------------------------------------------------------------------------------------------------- arrays taken

FRAME = pd.DataFrame(X.numpy(), columns=["a", "b", "c"])
READ_ONLY = X.numpy().copy()
READ_ONLY.flags.writeable = False
TAKEN = {
    "numpy": (X.numpy(), X),
    "fortran order": (np.asfortranarray(X.numpy()), X),
    "negative strides": (X.numpy()[::-1], X.flip(0)),
    "read-only": (READ_ONLY, X),
    "masked, nothing hidden": (np.ma.masked_array(X.numpy()), X),
    "table": (FRAME, X),
    "table of whole numbers and fractions": (
        FRAME.assign(a=range(N)),
        torch.cat([torch.arange(N)[:, None], X[:, 1:].double()], 1),
    ),
    "table of nullable numbers": (FRAME.astype("Float64"), X.double()),
    "column": (FRAME["b"], X[:, 1]),
    "nullable labels": (pd.Series(LABELS.numpy(), dtype="Int64"), LABELS),
    "truth values": (pd.Series(LABELS.numpy() == 1), LABELS == 1),
    "nullable truth values": (pd.Series(LABELS.numpy() == 1, dtype="boolean"), LABELS == 1),
    "index": (pd.Index(range(N)), torch.arange(N)),
    "xarray": (xr.DataArray(X.numpy(), dims=("row", "feature")), X),
    "unsigned": (np.arange(N, dtype=np.uint32), torch.arange(N)),
    "unsigned tensor": (torch.arange(N).to(torch.uint16), torch.arange(N)),
    "parameter": (torch.nn.Parameter(X), X),
}


@pytest.mark.parametrize("name", TAKEN)
def test_arrays_are_taken_as_what_they_are(name):
    given, expected = TAKEN[name]
    (taken,) = tensors((given,))
    assert not taken.requires_grad
    torch.testing.assert_close(taken, expected, rtol=0, atol=0)


def test_a_fit_to_tables_is_the_fit_to_their_numbers():
    y = pd.Series(Y.numpy(), index=FRAME.index)
    a, b = (fit(data).draws.sites["0.weight"] for data in ((FRAME, y), (X, Y)))
    assert torch.equal(a, b)


# ----------------------------------------------------------------------------------------------------- arrays refused


class Odd:
    """An array of a library that numpy cannot read as numbers."""

    def __array__(self, dtype=None, copy=None):
        return np.array(["a"] * N)


HIDDEN = np.ma.masked_values(np.r_[np.zeros(N - 2), -999.0, -999.0], -999.0)


def refused():
    return {  # data, message, what the message says to write instead
        "masked values": ((X, HIDDEN.astype("f4")), r"argument 1 is a masked array with 2 masked values of 12", None),
        "masked tensor": ((X, masked_tensor(Y, Y > 0)), r"argument 1 is a masked tensor: .*to_tensor", None),
        "nullable numbers, missing": (
            (X, pd.Series([1.0, None] * 6, dtype="Float64")),
            r"argument 1 .* 6 NaN .* of 12",
            None,
        ),
        "nullable integers, missing": ((X, pd.Series([1, None] * 6, dtype="Int64")), r"argument 1 .* 6 NaN", None),
        "xarray, missing": ((X, xr.DataArray(Y.numpy()).where(Y.numpy() > 0)), r"argument 1 .* NaN", None),
        "text in a table": ((FRAME.assign(city="x"), Y), r"argument 0: column 'city' holds .* expected numbers", None),
        "categories": ((X, pd.Series(["a", "b"] * 6, dtype="category")), r"argument 1: column None holds category", None),
        "dates": (
            (pd.DataFrame({"t": pd.date_range("2026", periods=N)}), Y),
            r"argument 0: column 't' holds datetime64",
            None,
        ),
        "times": ((np.arange(N).astype("M8[D]")[:, None], Y), r"argument 0 .* of times", None),
        "xarray data set": (
            (xr.Dataset({"a": ("row", X[:, 0].numpy())}), Y),
            r"argument 0 is an xarray Dataset: .*data\['a'\]",
            None,
        ),
        "array of another library": ((Odd(), Y), r"argument 0 is an array of <U1: expected numbers", None),
        "sparse": ((X.to_sparse(), Y), r"argument 0 is a sparse tensor .*\.to_dense\(\)", (X.to_sparse().to_dense(), Y)),
        "sparse rows": (
            (X.to_sparse_csr(), Y),
            r"argument 0 is a sparse tensor .*\.to_dense\(\)",
            (X.to_sparse_csr().to_dense(), Y),
        ),
        "SciPy sparse": (
            (scipy.sparse.csr_array(X.numpy()), Y),
            r"argument 0 is a sparse matrix .*\.toarray\(\)",
            (scipy.sparse.csr_array(X.numpy()).toarray(), Y),
        ),
        "half": ((X.half(), Y.half()), r"argument 0 is torch\.float16: .*\.float\(\)", (X.half().float(), Y.half().float())),
        "bfloat16": ((X, Y.bfloat16()), r"argument 1 is torch\.bfloat16: .*\.float\(\)", (X, Y.bfloat16().float())),
        "float8": ((X.to(torch.float8_e4m3fn), Y), r"argument 0 is torch\.float8", (X.to(torch.float8_e4m3fn).float(), Y)),
        "half in numpy": (
            (X.numpy().astype("f2"), Y),
            r"argument 0 .*float16: .*astype\('float32'\)",
            (X.numpy().astype("f2").astype("float32"), Y),
        ),
        "long double": (
            (X.numpy().astype(np.longdouble), Y.double()),
            r"argument 0 .*astype\('float64'\)",
            (X.numpy().astype(np.longdouble).astype("float64"), Y.double()),
        ),
        "big-endian": (
            (X.numpy().astype(">f4"), Y),
            r"argument 0 has the byte order of another machine .*newbyteorder",
            (X.numpy().astype(">f4").astype(np.dtype(">f4").newbyteorder("=")), Y),
        ),
        "complex": ((X, Y.to(torch.complex64)), r"argument 1 is torch\.complex64: expected real numbers", None),
        "complex in numpy": ((X.numpy() + 0j, Y), r"argument 0 is an array of complex64: expected real numbers", None),
        "quantised": (
            (torch.quantize_per_tensor(X, 0.1, 0, torch.qint8), Y),
            r"argument 0 is torch\.qint8: .*\.dequantize\(\)",
            (torch.quantize_per_tensor(X, 0.1, 0, torch.qint8).dequantize(), Y),
        ),
        "meta": ((X.to("meta"), Y), r"argument 0 is on the meta device", None),
        "objects that are numbers": (
            (X.numpy().astype(object), Y),
            r"argument 0 is an array of object that holds numbers: write x\.astype\('float64'\)",
            (X.numpy().astype(object).astype("float64"), Y.double()),
        ),
        "ragged": ((np.array([[1.0], [1.0, 2.0]] * 6, dtype=object), Y), r"argument 0 .* rows differ in length", None),
        "rows in another order": (
            (FRAME, pd.Series(Y.numpy())[::-1]),
            r"arguments 0 and 1 are tables whose row labels",
            None,
        ),
        "mapping": ({"x": X, "y": Y}, r"must be the tuple .* got dict: write \(data\['x'\], data\['y'\]\)", (X, Y)),
        "one table": (FRAME, r"must be the tuple .* got DataFrame: write \(data\[", None),
        "one tensor": (X, r"must be the tuple .* got Tensor", None),
        "loader": (DataLoader(TensorDataset(X, Y), 4), r"got a DataLoader: .* loader\.dataset, and batch_size=4", None),
        "y None": ((X, None), r"y is None: it would be drawn from the prior", None),
        "three arguments": ((X, X, Y), r"fitted to \(x, y\), got 3 arguments", None),
        "table of one column": (
            (FRAME, pd.DataFrame({"price": Y.numpy()})),
            r"y is a table of one column, .* write y\['price'\]",
            (FRAME, pd.DataFrame({"price": Y.numpy()})["price"]),
        ),
        "y as a column": ((X, Y[:, None]), r"write y\.squeeze\(-1\)", (X, Y[:, None].squeeze(-1))),
        "x as a vector": ((X[:, 0], Y), r"write x\[:, None\]", None),
    }


with warnings.catch_warnings():  # torch's own, of prototypes
    warnings.simplefilter("ignore")
    REFUSED = refused()


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_a_remedy_that_works(name, no_steps):
    data, message, instead = REFUSED[name]
    for backend in (FULL, replace(BATCHED, batch_size=None), BATCHED):
        with pytest.raises(DataError, match=f"(?s){message}"):
            fit(data, backend=backend)
    if instead is not None:
        with pytest.raises(pytest.fail.Exception, match="a step was made"):  # nothing is wrong any more
            fit(instead, backend=BATCHED)


@pytest.mark.parametrize("device", ["mps", "meta", "gpu", 3.5, "cuda:99"])
def test_devices_that_cannot_be_used(device, no_steps):
    with pytest.raises(DataError, match="device="):
        fit((X, Y), device=device)


def test_nested_tensors():
    with pytest.warns(UserWarning):  # torch's own, of a prototype
        nested = torch.nested.nested_tensor([X[0], X[1, :2]])
    with pytest.raises(DataError, match="argument 0 is a nested tensor"):
        tensors((nested, Y[:2]))


@pytest.mark.parametrize("scaled", [False, True], ids=["model", "handler"])
def test_a_model_that_observes_nothing(scaled, no_steps):
    """With y left out or None: also where a handler hides that the model is a BNN, and for models of one's own."""
    for model in (poutine.scale(MODEL, 2.0) if scaled else regression,):
        for data in ((X, None), (X,)) if scaled else ((X, None),):
            with pytest.raises(DataError, match="the model observes nothing"):
                fit(data, model=model, backend=FULL)


def test_a_model_without_data_is_none_of_those():
    def funnel():
        scale = pyro.sample("scale", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(0.0, scale.exp()))

    assert fit((), model=funnel, backend=FULL).draws.draws == 2


# ------------------------------------------------------------------------------------------------------------ Datasets


class Items(Dataset):
    """A data set of these items."""

    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        return self.items[i]


class Stream(IterableDataset):
    def __iter__(self):
        return iter([(x, y) for x, y in zip(X, Y, strict=True)])


class NoLength(Dataset):
    def __getitem__(self, i):
        return X[i], Y[i]


def picture():
    image = pytest.importorskip("PIL.Image")
    return image.new("RGB", (3, 1))


GOOD = {
    "three parts of a set": ConcatDataset(
        [TensorDataset(X[:4], Y[:4]), TensorDataset(X[4:6], Y[4:6]), Items([(X[i], Y[i]) for i in range(6, N)])]
    ),
    "subset": Subset(TensorDataset(X, Y), list(range(8))),
    "Python floats": Items([(X[i], float(Y[i])) for i in range(N)]),
    "numpy numbers": Items([(X[i].numpy(), np.float64(Y[i])) for i in range(N)]),
    "integers as targets": Items([(X[i], int(LABELS[i])) for i in range(N)]),
    "tensors and numbers": Items([(X[i], Y[i] if i % 2 else float(Y[i])) for i in range(N)]),
    "lists of two": Items([[X[i], Y[i]] for i in range(N)]),
    "as many as a batch": TensorDataset(X[:4], Y[:4]),
}


@pytest.mark.parametrize("name", GOOD)
def test_data_sets_that_are_taken(name):
    draws = fit(GOOD[name]).draws
    assert draws.sites["0.weight"].dtype == torch.float32 and torch.isfinite(draws.sites["0.weight"]).all()


@pytest.mark.parametrize(
    "label",
    [int, torch.tensor, *(pytest.param(t, marks=pytest.mark.slow) for t in (np.int64, bool))],
    ids=lambda f: f.__name__,
)
def test_labels_of_all_kinds(label):
    given = Items([(X[i], label(int(LABELS[i]))) for i in range(N)])
    for model in (BINARY, CLASSES):
        a = fit(given, model=model).draws.sites["0.weight"]
        assert torch.equal(a, fit(TensorDataset(X, LABELS), model=model).draws.sites["0.weight"])


def bad_sets():
    pairs = [(X[i], Y[i]) for i in range(N)]
    return {
        "pictures": (Items([(picture(), 0)] * N), r"got Image as part 0 of an item: add transforms\.ToTensor\(\)"),
        "text": (Items([("a", Y[i]) for i in range(N)]), r"got str as part 0 .* encode text"),
        "no label": (Items([(X[i], None) for i in range(N)]), r"got None as part 1 .* leave out items without a label"),
        "one label missing": (Items([*pairs[1:], (X[0], None)]), r"got None as part 1"),
        "mappings": (
            Items([{"input_ids": X[i], "label": Y[i]} for i in range(N)]),
            r"got dict: write a Dataset whose __getitem__ returns \(item\['input_ids'\], item\['label'\]\)",
        ),
        "inputs alone": (Items(list(X)), r"got Tensor: return \(Tensor, label\)"),
        "rows of several lengths": (
            Items([(X[i, : 2 + i % 2], Y[i]) for i in range(N)]),
            r"part 0 .* one shape .*\(2,\), \(3,\)",
        ),
        "items of several lengths": (Items([*pairs[1:], (X[0], Y[0], Y[0])]), r"all of one length: got items of"),
        "NaN": (Items([*pairs[1:], (X[0], Y[0] * float("nan"))]), r"part 1 of an item has 1 NaN or infinite values of 4"),
        "NaN in tensors": (
            TensorDataset(X, torch.where(Y[3] == Y, torch.nan, Y)),
            r"column 1 of the data set has 1 NaN .* of 12",
        ),
        "half": (Items([(X[i].half(), Y[i]) for i in range(N)]), r"part 0 of an item is torch\.float16: .*\.float\(\)"),
        "sparse": (Items([(X[i].to_sparse(), Y[i]) for i in range(N)]), r"part 0 of an item is a sparse tensor"),
        "stream": (Stream(), r"an IterableDataset has no known number of rows: .*torch\.stack"),
        "no length": (NoLength(), r"the data set NoLength has no length"),
        "empty": (Items([]), r"the data set is empty"),
        "three items": (TensorDataset(X[:3], Y[:3]), r"batch_size=4 is larger than the data, 3 rows"),
        "loader": (DataLoader(TensorDataset(X, Y), 8), r"got a DataLoader: pass the Dataset .* batch_size=8"),
    }


@pytest.mark.parametrize("name", bad_sets())
@pytest.mark.parametrize(
    "backend",
    [BATCHED, *(pytest.param(b, marks=pytest.mark.slow) for b in (FIELD, bz.MAP(steps=9, batch_size=4)))],
    ids=lambda b: type(b).__name__,
)
def test_data_sets_that_are_refused(name, backend):
    """Within one epoch: what only shows in a batch is found when the batch comes."""
    data, message = bad_sets()[name]
    with pytest.raises(DataError, match=f"(?s){message}"):
        fit(data, backend=replace(backend, steps=9))


def test_the_advice_for_a_stream_works():
    x, y = (torch.stack(column) for column in zip(*Stream(), strict=True))
    assert torch.equal(x, X) and fit((x, y)).draws.draws == 2


def test_rows_read_in_chunks_are_looked_at_as_well():
    chunked = replace(FULL, row_chunk=4)
    for name in ("mappings", "one label missing", "rows of several lengths", "stream", "no length"):
        data, message = bad_sets()[name]
        with pytest.raises(DataError, match=f"(?s){message}"):
            fit(data, backend=chunked)
    data = Items([(X[i] if i < 4 else X[i, :2], Y[i]) for i in range(N)])
    with pytest.raises(DataError, match="one shape throughout"):
        fit(data, backend=chunked)


# -------------------------------------------------------------------------------------------------- labels of all rows


def labels_with(value):
    changed = LABELS.clone()
    changed[-1] = value
    return changed


class Pictured(Items):
    """As torchvision has it: items with labels that stand at ``targets`` too."""

    def __init__(self, labels):
        super().__init__([(X[i], int(label)) for i, label in enumerate(labels)])
        self.targets = labels.tolist()


SHAPES = {
    "tensors": lambda y: (X, y),
    "tensor data set": lambda y: TensorDataset(X, y),
    "subset": lambda y: Subset(TensorDataset(X, y), list(range(N))),
    "concatenation": lambda y: ConcatDataset([TensorDataset(X[:6], y[:6]), TensorDataset(X[6:], y[6:])]),
    "targets": Pictured,
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("value", [2, -1])
def test_labels_of_all_rows_are_looked_at_before_the_first_step(shape, value, no_steps):
    for model in (BINARY, CLASSES):
        for backend in (BATCHED, bz.MAP(steps=4, batch_size=4)):
            with pytest.raises(DataError, match=r"site 'y': 1 of \d+ values lie outside the support of \w+"):
                fit(SHAPES[shape](labels_with(value)), model=model, backend=backend)


def test_labels_that_no_one_shows_are_looked_at_batch_by_batch():
    given = Items([(X[i], int(label)) for i, label in enumerate(labels_with(2))])
    for model in (BINARY, CLASSES):
        for backend in (BATCHED, FIELD):
            with pytest.raises(DataError, match=r"site 'y': 1 of \d+ values lie outside the support"):
                fit(given, model=model, backend=replace(backend, steps=9))


def test_labels_that_a_transform_changes_are_not_taken_from_targets():
    """``targets`` before a transform say nothing of what the items hold."""
    data = Pictured(LABELS)
    data.targets = [7 + label for label in data.targets]
    assert fit(data, model=BINARY).draws.draws == 2


def counts(x, totals, y=None, *, size=None):
    """A binomial count of another total in each row: its support is another in each row."""
    logits = pyro.sample("logits", dist.Normal(0.0, 1.0))
    with pyro.plate("data", size or len(x), subsample=x):
        return pyro.sample("y", dist.Binomial(totals, logits=logits), obs=y)


def test_supports_that_differ_from_row_to_row(no_steps):
    totals, y = torch.arange(N).float() + 1, torch.arange(N).float()
    with pytest.raises(pytest.fail.Exception, match="a step was made"):
        fit((X, totals, y), model=counts)
    with pytest.raises(DataError, match=r"site 'y': 1 of \d+ values lie outside the support of Binomial"):
        fit((X, totals, torch.where(y == 11, 13.0, y)), model=counts)


def test_several_sites_and_targets_that_are_shifted(no_steps):
    """Observed values that are no argument of the model are asked for by running it on all rows."""

    def model(x, y, *, size=None):
        rate = pyro.sample("rate", dist.Gamma(1.0, 1.0))
        with pyro.plate("data", size or len(x), subsample=x):
            pyro.sample("a", dist.Exponential(rate), obs=y.abs())
            pyro.sample("b", dist.Exponential(rate), obs=y - 3.0)

    with pytest.raises(DataError, match=r"site 'b': 1 of 12 values lie outside"):
        fit((X, torch.where(torch.arange(N) == N - 1, 1.0, 4.0)), model=model)
