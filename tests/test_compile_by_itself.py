"""``compile=None``: the full-batch backends compile where that pays."""

import warnings

import pyro
import pyro.distributions as dist
import pytest
import torch
from targets import orthogonal_design, regression

import bnn_zoo as bz
from bnn_zoo.backends._compiling import operations
from bnn_zoo.density import compiled

G = torch.Generator().manual_seed(0)
NETWORK = bz.BNN(bz.nets.MLP(8, 1, hidden=(50,)), bz.priors.Normal(bz.priors.fan_in), bz.likelihoods.Gaussian())
ROWS = torch.randn(90, 8, generator=G), torch.randn(90, generator=G)
LONG = {"warmup": 1_000, "draws": 1_000}


@pytest.mark.parametrize(
    "backend, pays",
    [
        (bz.NUTS(**LONG), True),
        (bz.NUTS(warmup=10, draws=10), False),
        (bz.NUTS(warmup=10, draws=10, thinning=200), True),
        (bz.RandomWalk(**LONG), True),
        (bz.MCLMC(), True),
        (bz.MCLMC(warmup=10, draws=10, thinning=1), False),
        (bz.HMC(**LONG, row_chunk=10), False),
    ],
    ids=str,
)
def test_by_the_length_of_the_run(backend, pays):
    assert backend._pays(bz.LogJoint(NETWORK, ROWS), 2) is pays


def test_where_there_is_nothing_to_join():
    """A linear model has few operations, and NUTS many of its own; convolutions have a library of their own."""
    linear = bz.LogJoint(regression, orthogonal_design(16))
    short = {"warmup": 100, "draws": 100}
    assert not bz.HMC(**short)._pays(linear, 2) and bz.NUTS(**short)._pays(linear, 2)
    images = torch.randn(2, 1, 28, 28, generator=G), torch.tensor([0, 1])
    log_joint = bz.LogJoint(bz.BNN(bz.nets.LeNet5(), bz.priors.Normal(0.1), bz.likelihoods.Categorical()), images)
    assert operations(log_joint, 1) == 0 and not bz.NUTS(**LONG)._pays(log_joint, 1)


@pytest.mark.parametrize("asked", [None, False])
def test_in_a_run(asked, monkeypatch):
    """Compiled without a word where it pays; ``compile=False`` holds."""
    made = []
    monkeypatch.setattr(compiled, "compile_small", lambda f, _: made.append(f) or f.forward)
    monkeypatch.setattr(compiled, "compile_loop", lambda *_: None)
    monkeypatch.setattr("bnn_zoo.backends._compiling.WAIT_SMALL", 0.0)
    monkeypatch.setattr("bnn_zoo.backends._compiling.PER_SECOND", 1e9)
    backend = bz.HMC(chains=2, warmup=20, draws=20, processes=1, compile=asked)
    draws = backend.run(regression, orthogonal_design(16), progress=False)
    assert draws.attrs["compiled"] is bool(made) is (asked is None)


@pytest.mark.parametrize("error", [RuntimeError("no C++ compiler"), AssertionError()], ids=["none", "its own fault"])
def test_nobody_asked_for_a_compiler(error, monkeypatch):
    """A compiler that stops, with whatever (an AssertionError: torch 2.6 on the wine network), is done without."""

    def no_compiler(*_):
        raise error

    monkeypatch.setattr(compiled, "compile_small", lambda *_: None)
    monkeypatch.setattr(compiled, "compile_loop", no_compiler)
    monkeypatch.setattr(compiled, "compile_graph", no_compiler)
    monkeypatch.setattr("bnn_zoo.backends._compiling.WAIT_SMALL", 0.0)
    monkeypatch.setattr("bnn_zoo.backends._compiling.PER_SECOND", 1e9)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draws = bz.HMC(chains=2, warmup=2, draws=3, processes=1).run(regression, orthogonal_design(16), progress=False)
    assert draws.attrs["compiled"] is False


def test_tiny_steps_stay_in_one_process():
    """Where a compiled step of all chains takes microseconds; not in a run too short to be compiled, or if asked."""
    linear, network = bz.LogJoint(regression, orthogonal_design(16)), bz.LogJoint(NETWORK, ROWS)
    assert bz.NUTS(**LONG)._tiny(linear) and bz.NUTS(warmup=5, draws=5, compile=True)._tiny(linear)
    assert not bz.NUTS(warmup=5, draws=5)._tiny(linear) and not bz.NUTS(**LONG, compile=False)._tiny(linear)
    assert not bz.NUTS(**LONG, processes=2)._tiny(linear) and not bz.NUTS(**LONG, row_chunk=4)._tiny(linear)
    assert bz.NUTS(**LONG)._tiny(network) and not bz.NUTS(chains=64, **LONG)._tiny(network)


class Square(torch.autograd.Function):
    """Without a rule for batches: chains are run one by one."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, gradient):
        return 2 * ctx.saved_tensors[0] * gradient


def foreign(y):
    a = pyro.sample("a", dist.Normal(0.0, 1.0))
    pyro.sample("y", dist.Normal(Square.apply(a), 1.0).expand([3]).to_event(1), obs=y)


@pytest.mark.parametrize("asked", [None, True])
def test_chains_that_are_run_one_by_one(asked):
    """Their log joint is no graph: there is nothing to compile."""
    with pytest.warns(UserWarning, match="one chain after the other"):
        backend = bz.HMC(chains=2, warmup=2, draws=3, compile=asked)
        draws = backend.run(foreign, (torch.ones(3),), progress=False)
        assert not bz.NUTS(**LONG)._tiny(bz.LogJoint(foreign, (torch.ones(3),)))
    assert draws.attrs["compiled"] is False and draws.sites["a"].isfinite().all()


def test_decided_once(monkeypatch):
    """However often it is asked: a long graph takes seconds to look at."""
    looks = []
    monkeypatch.setattr("bnn_zoo.backends._compiling.suits", lambda *_: looks.append(1) or True)
    log_joint = bz.LogJoint(regression, orthogonal_design(16))
    for _ in range(3):
        assert bz.NUTS(**LONG)._tiny(log_joint) and bz.NUTS(**LONG)._pays(log_joint, 4)
    assert len(looks) == 1


def test_other_words_are_refused():
    with pytest.raises(TypeError, match="compile must be True, False or None, got 'auto'"):
        bz.NUTS(compile="auto")
