"""Graphs that run without a compiler: fewer passes over large tensors, written over where nobody looks; values stay."""

import warnings

import pytest
import torch
from targets import orthogonal_design
from torch.fx.experimental.proxy_tensor import make_fx

import bnn_zoo as bz
from bnn_zoo._random import OneStream, Streams, Use
from bnn_zoo.density import LogJoint, compiled
from bnn_zoo.density.in_place import in_place
from bnn_zoo.density.simplify import simplify
from bnn_zoo.kernels import Optimise
from bnn_zoo.kernels.langevin import Heat

G = torch.Generator().manual_seed(0)
A, B, C = (torch.randn(2, 40, 80, generator=G, dtype=torch.float64) for _ in range(3))


def names(graph):
    return [node.target.__name__.split(".")[0] for node in graph.graph.nodes if node.op == "call_function"]


def made(f, *inputs):
    """``f`` traced and put into the form in which it runs, and the names of its calls."""
    graph = in_place(simplify(make_fx(f)(*inputs), inputs), inputs)
    return graph, names(graph)


CASES = {
    "a scaled term": (lambda a, b, c: (a + 3.0 * b,), ["add"]),
    "a term over a number": (lambda a, b, c: (a - b / 4.0,), ["add"]),
    "minus a term": (lambda a, b, c: (a + (-b),), ["add"]),
    "two scaled terms": (lambda a, b, c: (2.0 * a - 3.0 * b,), ["mul", "add"]),
    "a product": (lambda a, b, c: (a + b * c,), ["addcmul"]),
    "a scaled product": (lambda a, b, c: (a - b * (2.0 * c),), ["addcmul"]),
    "a number over a tensor": (lambda a, b, c: (a + 2.0 / b,), ["reciprocal", "add"]),
    "a product that is used twice": (lambda a, b, c: (lambda d: (a + d, d.exp()))(b * c), ["mul", "add", "exp"]),
    "the same twice": (lambda a, b, c: (a.exp() + b, a.exp() * c), ["exp", "add", "mul"]),
    "squares": (lambda a, b, c: (a.square().sum((1, 2)),), ["linalg_vector_norm", "pow", "sum"]),
    "squares of all": (lambda a, b, c: (a.square().sum(),), ["linalg_vector_norm", "pow", "sum"]),
    "two squares": (
        lambda a, b, c: ((a.square() + b.square()).sum((1, 2)),),
        ["linalg_vector_norm", "pow", "sum"] * 2 + ["add"],
    ),
    "squares over rows": (lambda a, b, c: (a.square().sum(0),), ["pow", "sum"]),
    "a chain of calls": (lambda a, b, c: (((a.exp() + 1.0).log() * b).tanh(),), ["exp", "add", "log", "mul", "tanh"]),
}


@pytest.mark.parametrize("name", CASES)
def test_values_stay_and_passes_go(name):
    f, expected = CASES[name]
    before = [t.clone() for t in (A, B, C)]
    graph, calls = made(f, A, B, C)
    assert sorted(calls) == sorted(expected)
    for _ in range(2):
        for got, wanted in zip(graph(A, B, C), f(*before), strict=True):
            torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-12)
    assert all(torch.equal(a, b) for a, b in zip((A, B, C), before, strict=True))


def written(graph):
    return [node for node in graph.graph.nodes if {"out", "grad_input"} & set(node.kwargs)]


def test_what_is_read_later_is_not_written_over():
    """Neither inputs, nor what is read through a view or returned, nor another part of the same memory."""

    def f(a, b, c):
        d = a + b
        flat = d.reshape(2, -1)
        left, right = (d * c).chunk(2, 1)
        e = d.exp()
        return flat.cos(), left + right, e.log() + d, d

    graph, _ = made(f, A, B, C)
    first = graph(A, B, C)
    kept = [t.clone() for t in first]
    graph(B, C, A)
    for got, old, wanted in zip(first, kept, f(A, B, C), strict=True):
        assert torch.equal(got, old)
        torch.testing.assert_close(got, wanted)
    assert len(written(graph)) >= 1


def test_pieces_are_made_where_they_belong():
    def f(a, b, c):
        pieces = (a * b).reshape(2, -1), a[:, 0, :3].exp(), (c.tanh() + b).reshape(2, -1)
        return (torch.cat(pieces, 1),)

    graph, calls = made(f, A, B, C)
    assert "cat" not in calls and len(written(graph)) >= 2
    first = graph(A, B, C)[0]
    kept = first.clone()
    torch.testing.assert_close(graph(B, C, A)[0], f(B, C, A)[0])
    torch.testing.assert_close(first, f(A, B, C)[0])
    assert torch.equal(first, kept)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("chains", [1, 3])
def test_log_joint_of_a_network_is_that_of_the_model(chains, dtype):
    """Value and gradient against the model itself by autograd, at positions beside the one that was compared."""
    x, y = torch.randn(20, 70, generator=G).to(dtype), torch.randint(0, 3, (20,), generator=G)
    net = bz.nets.MLP(70, 3, hidden=(90,), activation=torch.nn.ReLU)
    joint = LogJoint(bz.BNN(net, bz.priors.Normal(0.3), bz.likelihoods.Categorical()), (x, y))
    for scale in (0.1, 0.5):
        position = scale * torch.randn(chains, joint.dim, generator=G).to(dtype)
        value, gradient = joint(position)
        wanted, slope, size = joint.plain(position, x, y)
        close = 1e-12 if dtype == torch.float64 else 3e-6
        assert ((value - wanted).abs() <= close * size).all()
        assert ((gradient - slope).abs() <= 30 * close * slope.abs().max()).all()
    (graph,) = joint._graphs.values()
    assert written(graph)


@pytest.mark.parametrize("size", [7, 5_000])
def test_noise_of_a_move_is_the_noise_that_is_given(size):
    one, other = (Streams(3, Use.MOVES, range(2), torch.device("cpu"), torch.float64) for _ in range(2))
    x, drift = torch.ones(2, size, dtype=torch.float64), torch.linspace(0, 1, 2 * size, dtype=torch.float64).view(2, size)
    for _ in range(2):
        wanted = torch.add(x, drift, alpha=0.5).add(other.normal(size), alpha=0.25)
        assert torch.equal(one.moved(x, drift, 0.5, 0.25), wanted)


class Plain(torch.optim.Optimizer):
    """An optimiser without torch's ``maximize``."""

    def __init__(self, params, lr):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                p.sub_(p.grad, alpha=group["lr"])


@pytest.mark.parametrize("make", [torch.optim.SGD, torch.optim.Adam, Plain], ids=lambda make: make.__name__)
def test_optimisers_climb_and_remember_where_they_were(make):
    kernel, random = Optimise(make), OneStream(torch.Generator(), torch.zeros(2, 3))
    start = torch.tensor([[1.0, -2.0, 0.5], [0.0, 3.0, 1.0]])
    target = lambda q: (-0.5 * q.square().sum(1), -q)
    state = kernel.init(start, target, random)
    leaf = start.clone().requires_grad_()
    own = make([leaf], lr=0.1)
    for _ in range(3):
        before = state.position.clone()
        state, info = kernel.step(target, state, Heat(0.1, 0.0), random)
        assert torch.equal(info.position, before) and torch.equal(info.gradient, -before)
        leaf.grad = leaf.detach().clone()
        own.step()
        torch.testing.assert_close(state.position, leaf.detach(), rtol=0, atol=0)
    assert torch.equal(start, torch.tensor([[1.0, -2.0, 0.5], [0.0, 3.0, 1.0]]))


NETWORK = bz.BNN(bz.nets.MLP(4, 1, hidden=(5,)), bz.priors.Normal(1.0), bz.likelihoods.Gaussian(0.3))
LOCAL = bz.handlers.LocalReparameterization
STEPS = {"steps": 6, "draws": 3, "handler": LOCAL, "init": bz.density.from_support}


@pytest.mark.parametrize("asked, seconds, expected", [(None, 1e-3, True), (False, 1e-3, False)])
def test_variational_runs_compile_where_that_pays(asked, seconds, expected, monkeypatch):
    """With what may as well be a compiler: the same noise, so the same run."""
    monkeypatch.setattr(compiled, "compile_graph", lambda f, _: f.forward)
    monkeypatch.setattr("bnn_zoo.backends._compiling.WAIT", seconds)
    data = orthogonal_design(16)
    draws = bz.MeanField(**STEPS, compile=asked).run(NETWORK, data, progress=False)
    again = bz.MeanField(**STEPS, compile=False).run(NETWORK, data, progress=False)
    assert draws.attrs["compiled"] is expected
    torch.testing.assert_close(draws.history["elbo"], again.history["elbo"])


def test_a_compiler_that_changes_the_gradient_is_found_out(monkeypatch):
    """In a graph with random numbers too: both are run under the same ones, and torch's state is as it was."""

    def wrong(f, _):
        return lambda *inputs: (*f(*inputs)[:2], f(*inputs)[2] * 1.02)

    monkeypatch.setattr(compiled, "compile_graph", wrong)
    with pytest.warns(UserWarning, match="gives other values"):
        draws = bz.MeanField(**STEPS, compile=True).run(NETWORK, orthogonal_design(16), progress=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = bz.MeanField(**STEPS, compile=False).run(NETWORK, orthogonal_design(16), progress=False)
    assert draws.attrs["compiled"] is False
    torch.testing.assert_close(draws.history["elbo"], again.history["elbo"])


@pytest.mark.slow
def test_compiled_steps_see_the_noise_of_the_others():
    data = orthogonal_design(16)
    runs = [bz.MeanField(**STEPS, compile=c).run(NETWORK, data, progress=False) for c in (True, False)]
    assert [run.attrs["compiled"] for run in runs] == [True, False]
    torch.testing.assert_close(runs[0].history["elbo"], runs[1].history["elbo"], rtol=1e-6, atol=1e-6)
