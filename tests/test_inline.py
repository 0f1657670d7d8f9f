"""Rows-last layout, inner steps of samplers in one graph with the log joint, and starting points by Adam."""

from contextlib import nullcontext
from itertools import pairwise

import pyro
import pyro.distributions as dist
import pytest
import torch
from targets import NOISE, orthogonal_design, regression, regression_posterior
from torch import nn
from torch.fx.experimental.proxy_tensor import make_fx

import bnn_zoo as bz
from bnn_zoo import kernels
from bnn_zoo._random import OneStream
from bnn_zoo.density import LogJoint, compiled, log_joint, simplify, ways
from bnn_zoo.density.layout import RowsLast, rows_last
from bnn_zoo.density.starts import Adam, from_prior, from_support
from bnn_zoo.kernels.chees import Lockstep
from bnn_zoo.kernels.hmc import Dynamics
from bnn_zoo.kernels.integrators import bind, inline, leapfrog
from bnn_zoo.kernels.isokinetic import unit
from bnn_zoo.kernels.mclmc import Microcanonical

aten = torch.ops.aten


def numbers(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


X, Y = numbers(9, 3), numbers(9, seed=1)


def mlp(*sizes, act=nn.Tanh, bias=True):
    """A stack of linear layers with ``act`` between them."""
    layers = []
    for i, (a, b) in enumerate(pairwise(sizes)):
        layers += [act()] * (i > 0) + [nn.Linear(a, b, bias=bias)]
    return nn.Sequential(*layers)


class OverTime(nn.Module):
    """Inputs ``[n, time, feature]``."""

    def __init__(self):
        super().__init__()
        self.inner, self.last = nn.Linear(3, 2), nn.Linear(2, 1)

    def forward(self, x):
        return self.last(self.inner(x).tanh().mean(1))


def model(net):
    return bz.BNN(net, bz.priors.Normal(1.0), bz.likelihoods.Gaussian())


def plainly(monkeypatch, chains, *args):
    """The log joint as it was without this layout, for so many chains."""
    with monkeypatch.context() as patch:
        patch.setattr(ways, "RowsLast", nullcontext)
        patch.setattr(simplify, "rows_last", lambda *_: None)
        joint = LogJoint(*args)
        for n in chains:
            joint(torch.zeros(n, joint.dim, dtype=joint.dtype))
    return joint


def count(module, *targets):
    return sum(node.target in targets for node in module.graph.nodes)


# ---------------------------------------------------------------------------------------------------- layout

NETS = {
    "one layer": (lambda: mlp(3, 1), (1, 5)),
    "relu": (lambda: mlp(3, 4, 1, act=nn.ReLU), (1, 2)),
    "tanh": (lambda: mlp(3, 4, 1), (1, 2, 5)),
    "silu, three layers": (lambda: mlp(3, 4, 5, 1, act=nn.SiLU), (1, 5)),
    "no bias": (lambda: mlp(3, 4, 1, bias=False), (5,)),
    "layer norm": (lambda: nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Tanh(), nn.Linear(4, 1)), (2,)),
}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in ("tanh", "layer norm") else pytest.mark.slow) for n in NETS]
)
def test_rows_last_changes_no_value(name, monkeypatch):
    make, numbers_of_chains = NETS[name]
    net = model(make())
    new, old = LogJoint(net, (X, Y)), plainly(monkeypatch, numbers_of_chains, net, (X, Y))
    for chains in numbers_of_chains:
        position = numbers(chains, new.dim, seed=chains)
        torch.testing.assert_close(new(position), old(position), rtol=1e-10, atol=1e-10)


def test_rows_last_on_other_rows():
    """Minibatches: rows are inputs of the graph, the same for all chains or one set each."""
    net = model(mlp(3, 4, 1))
    batches = numbers(2, 4, 3, seed=5), numbers(2, 4, seed=6)
    for own in (False, True):
        settings = {"kwargs": {"size": 9}, "rows_per_chain": own}
        joint = LogJoint(net, (X[:4], Y[:4]), **settings)
        rows = batches if own else tuple(b[0] for b in batches)
        position = numbers(2, joint.dim, seed=7)
        got = joint(position, *rows)
        for c in range(2):
            single = LogJoint(net, tuple(b[c if own else 0] for b in batches), {"size": 9})
            one = tuple(t[c : c + 1] for t in got)
            torch.testing.assert_close(one, single(position[c : c + 1]), rtol=1e-10, atol=1e-10)


def test_inputs_of_three_dimensions_are_left_alone(monkeypatch):
    x = numbers(9, 5, 3)
    first = nn.functional.linear(x, numbers(2, 3))
    with RowsLast():
        assert torch.equal(nn.functional.linear(x, numbers(2, 3)), first)
    net = model(OverTime())
    new, old = LogJoint(net, (x, Y)), plainly(monkeypatch, (1, 2), net, (x, Y))
    for chains in (1, 2):
        position = numbers(chains, new.dim, seed=chains)
        torch.testing.assert_close(new(position), old(position), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("bias", [None, numbers(4, seed=3)], ids=["no bias", "bias"])
def test_linear_as_transposed_product(bias):
    weight = numbers(4, 3, seed=2)
    with RowsLast():
        out = nn.functional.linear(X, weight, bias)
    torch.testing.assert_close(out, nn.functional.linear(X, weight, bias), rtol=1e-12, atol=1e-12)
    assert out.stride() == (1, 9)  # rows lie along memory


def rewritten(f, *inputs):
    """``f`` traced, and its graph after ``rows_last`` with dead calls removed; both give the same."""
    before, module = make_fx(f)(*inputs), make_fx(f)(*inputs)
    shapes = simplify.Values(module)
    shapes.run(*inputs)
    rows_last(module, shapes.seen)
    module.graph.eliminate_dead_code()
    module.recompile()
    torch.testing.assert_close(module(*inputs), f(*inputs), rtol=1e-12, atol=1e-12)
    return before, module


def test_cancel():
    """A transpose of a transpose is nothing; of other dimensions it stays."""
    before, after = rewritten(lambda a: a.transpose(0, 1).transpose(-1, 0).exp(), numbers(3, 4))
    assert (count(before, aten.transpose.int), count(after, aten.transpose.int)) == (2, 0)
    _, after = rewritten(lambda a: a.transpose(0, 1).transpose(1, 2).exp(), numbers(2, 3, 4))
    assert count(after, aten.transpose.int) == 2


def test_sink():
    """Through one elementwise call, through several and with two tensors that are transposed alike."""
    for f in (lambda a: a.mT.tanh().mT, lambda a: (a.mT.tanh() * 2.0 + 1.0).mT, lambda a: (a.mT * a.exp().mT).mT):
        before, after = rewritten(f, numbers(2, 3, 4))
        assert count(before, aten.transpose.int) >= 2 and count(after, aten.transpose.int) == 0


def test_sink_leaves_what_is_not_transposed_alike():
    a, b = numbers(3, 3), numbers(3, 3, seed=1)
    for f in (lambda a, b: (a.transpose(0, 1) + b).transpose(0, 1), lambda a, b: (a.transpose(0, 1) + b[0]).transpose(0, 1)):
        _, after = rewritten(f, a, b)
        assert count(after, aten.transpose.int) == 2
    _, after = rewritten(lambda a: a.transpose(0, 1) + a.transpose(1, 2), numbers(3, 3, 3))
    assert count(after, aten.transpose.int) == 2
    with_where = lambda a, b: torch.where(a.transpose(0, 1) > 0, a.transpose(0, 1), b.transpose(0, 1)).transpose(0, 1)
    _, after = rewritten(with_where, a, b)
    assert count(after, aten.transpose.int) == 0


@pytest.mark.parametrize("contiguous", [True, False])
def test_merge(contiguous):
    """One product with rows that all chains share, instead of one a chain."""

    def f(w, x):
        w = w if contiguous else w.transpose(1, 2)
        return torch.bmm(w, x.expand(5, *x.shape))

    w = numbers(5, 4, 3) if contiguous else numbers(5, 3, 4)
    before, after = rewritten(f, w, numbers(3, 7, seed=1))
    assert (count(before, aten.bmm.default), count(before, aten.mm.default)) == (1, 0)
    assert (count(after, aten.bmm.default), count(after, aten.mm.default)) == (0, 1)


def test_merge_leaves_rows_that_differ():
    _, after = rewritten(torch.bmm, numbers(5, 4, 3), numbers(5, 3, 7, seed=1))
    assert (count(after, aten.bmm.default), count(after, aten.mm.default)) == (1, 0)


def test_layout_of_a_network(monkeypatch):
    """On a two-layer network the first layer is one product, and fewer transposes are left."""
    net = model(mlp(3, 4, 1))
    new, old = LogJoint(net, (X, Y)), plainly(monkeypatch, (5,), net, (X, Y))
    position = numbers(5, new.dim)
    after, before = new.graph(position), old.graph(position)
    assert count(after, aten.mm.default) > count(before, aten.mm.default)
    assert count(after, aten.bmm.default) < count(before, aten.bmm.default)
    with monkeypatch.context() as patch:
        patch.setattr(simplify, "rows_last", lambda *_: None)
        unswept = LogJoint(net, (X, Y)).graph(position)
    assert count(after, aten.transpose.int) < count(unswept, aten.transpose.int)


# ---------------------------------------------------------------------------------------------------- inlining


@pytest.fixture
def traced_only(monkeypatch):
    """``torch.compile`` gives back the graph: what is traced is covered, without the compiler's seconds."""
    calls = []
    for small in ("compile_small", "compile_loop"):
        monkeypatch.setattr(compiled, small, lambda *_: None)
    monkeypatch.setattr(compiled, "compile_graph", lambda f, _: calls.append(f) or f.forward)
    return calls


def two():
    """The same log joint, eager and (as if) compiled."""
    return LogJoint(regression, (X, Y)), LogJoint(regression, (X, Y), compile=True)


def walk(joint, name, count=2, chains=3, seed=0):
    """Positions after each of ``count`` transitions of a kernel."""
    ones, position = torch.ones(chains, dtype=torch.float64), 0.5 * numbers(chains, joint.dim)
    random = OneStream(torch.Generator().manual_seed(seed), like=position)
    metric = kernels.Diagonal(torch.ones_like(position))
    dynamics = Dynamics(metric, 0.05 * ones)
    kernel, parameters = {
        "NUTS": (kernels.NUTS(4), dynamics),
        "HMC": (kernels.HMC(max_leapfrogs=8), dynamics),
        "ChEES": (kernels.ChEES(8), Lockstep(*dynamics, 0.6)),
        "AdjustedMCLMC": (kernels.AdjustedMCLMC(max_steps=4), dynamics),
        "MCLMC": (kernels.MCLMC(), Microcanonical(torch.ones_like(position), 0.2 * ones, 3.0 * ones)),
    }[name]
    state, positions = kernel.init(position, joint, random), []
    for _ in range(count):
        state, _ = kernel.step(joint, state, parameters, random)
        positions.append(state.position)
    assert (positions[-1] != position).any()
    return torch.stack(positions)


@pytest.mark.parametrize("name", ["NUTS", "HMC", "ChEES", "AdjustedMCLMC", "MCLMC"])
def test_inlined_steps_equal_eager_ones(name, traced_only):
    """In NUTS's first leaf several inputs are the same tensor, later they are not: they must not be traced as one."""
    eager, inlined = two()
    torch.testing.assert_close(walk(inlined, name), walk(eager, name), rtol=1e-10, atol=1e-10)
    assert traced_only  # and not by the way round of the eager log joint
    if name in ("NUTS", "MCLMC", "AdjustedMCLMC"):
        assert inlined.evaluations == eager.evaluations
    else:  # graphs of several steps: those not needed were paid for
        assert eager.evaluations <= inlined.evaluations < 2.5 * eager.evaluations


@pytest.mark.parametrize("name", ["HMC", "ChEES"])
@pytest.mark.parametrize("steps", [1, 2, 8])
def test_any_number_of_steps_in_a_graph(name, steps, traced_only, monkeypatch):
    monkeypatch.setattr(log_joint, "UNROLL", steps)
    eager, inlined = two()
    torch.testing.assert_close(walk(inlined, name), walk(eager, name), rtol=1e-10, atol=1e-10)
    assert inlined.evaluations >= eager.evaluations and (steps > 1 or inlined.evaluations == eager.evaluations)


def test_unrolling_is_for_cheap_gradients(monkeypatch):
    eager, inlined = two()
    assert inlined.unroll(2) == log_joint.UNROLL and eager.unroll(2) == 1
    assert inlined.unroll(10**8) == 1


def add(log_joint, a, b):
    """A step that tells its inputs apart."""
    value, gradient = log_joint(a)
    return a - b, value, gradient


def test_inputs_that_are_the_same_tensor_in_the_first_call(traced_only):
    eager, inlined = two()
    a, b = numbers(2, eager.dim), numbers(2, eager.dim, seed=1)
    for pair in ((a, a), (a, b), (b, a)):
        torch.testing.assert_close(inlined.inline(add)(*pair), inline(eager, add)(*pair))


def test_one_graph_for_each_shape_and_function(traced_only):
    _, inlined = two()
    step = inlined.inline(add)
    assert inlined.inline(add) is step
    for chains in (2, 2, 3, 2):
        a = numbers(chains, inlined.dim)
        before = inlined.evaluations
        difference, value, gradient = step(a, a)
        assert inlined.evaluations - before == chains
        assert (difference == 0).all() and value.shape == (chains,) and gradient.shape == a.shape
    assert len(step.graphs) == 2 and len(traced_only) == 2


def test_inputs_that_are_held(traced_only):
    """Held inputs are those of the binding, the others those of the call; gradients are counted."""
    eager, inlined = two()
    kinds = [inlined.inline(add), inline(eager, add)]
    for seed in (0, 1):
        held = numbers(3, eager.dim, seed=seed)
        calls = [bind(kind, held) for kind in kinds]
        for other in (2, 3, 4):
            b = numbers(3, eager.dim, seed=other)
            before = inlined.evaluations
            torch.testing.assert_close(calls[0](b), calls[1](b))
            torch.testing.assert_close(calls[0](b)[0], held - b)
            assert inlined.evaluations - before == 2 * 3
    assert len(traced_only) == 1


def turned(log_joint, a, b):
    """A step whose output lies column by column."""
    value, gradient = log_joint(b)
    return (a + gradient).mT.contiguous().mT, value


def test_outputs_that_lie_by_columns_are_inputs_again():
    eager, inlined = two()
    a, b = numbers(3, eager.dim), 0.1 * numbers(3, eager.dim, seed=1)
    calls, points = [bind(inlined.inline(turned), a), bind(inline(eager, turned), a)], [b, b]
    for _ in range(3):
        points = [0.01 * call(point)[0] for call, point in zip(calls, points, strict=True)]
    torch.testing.assert_close(*points)


def test_patience(traced_only, monkeypatch):
    """The log joint itself is compiled only after many calls."""
    monkeypatch.setattr(log_joint, "PATIENCE", 3)
    eager, patient = two()
    position = numbers(2, eager.dim)
    for i in range(5):
        torch.testing.assert_close(patient(position), eager(position))
        assert len(traced_only) == (i >= 3)


def test_other_log_joints_are_called_as_they_are():
    """A plain function has no graph to go into."""

    def gaussian(x):
        return -0.5 * x.square().sum(-1), -x

    a = numbers(2, 3)
    _, value, gradient = inline(gaussian, add)(a, a)
    torch.testing.assert_close((value, gradient), gaussian(a))


def one_correlation(y):
    """Positive definite only where |a| < 1."""
    a = pyro.sample("a", dist.Normal(0.0, 1.0))
    covariance = torch.eye(2) + a * (1 - torch.eye(2))
    pyro.sample("y", dist.MultivariateNormal(torch.zeros(2), covariance_matrix=covariance), obs=y)


def test_broken_cholesky_inside_an_inlined_step(traced_only):
    """That chain's value is NaN, as outside; the others go on."""
    inlined = LogJoint(one_correlation, (numbers(2),), compile=True)
    good = torch.tensor([[0.1], [0.5], [0.3]], dtype=torch.float64)
    expected = inlined.inline(add)(good, good)
    bad = good.clone()
    bad[1] = 2.0
    _, value, gradient = inlined.inline(add)(bad, bad)
    assert value.isnan().tolist() == [False, True, False]
    torch.testing.assert_close((value[[0, 2]], gradient[[0, 2]]), (expected[1][[0, 2]], expected[2][[0, 2]]))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:Guards may run slower on Python 3.13.0")
@pytest.mark.parametrize("name", ["leapfrog", pytest.param("MCLMC", marks=pytest.mark.slow), "NUTS"])
def test_compiled_steps_equal_eager_ones(name):
    """The real compiler, on a linear regression."""
    x, y = orthogonal_design(16)
    eager, compiled = (LogJoint(regression, (x, y), compile=c) for c in (False, True))
    if name != "leapfrog":
        torch.testing.assert_close(walk(compiled, name, 3), walk(eager, name, 3), rtol=1e-9, atol=1e-9)
        return
    position = numbers(2, 4)
    metric, step = kernels.Diagonal(torch.ones_like(position)), torch.full((2, 1), 0.05, dtype=torch.float64)
    ends = [leapfrog(joint, metric, step, (position, unit(position), *joint(position)), 5) for joint in (eager, compiled)]
    torch.testing.assert_close(*ends, rtol=1e-9, atol=1e-9)


# ---------------------------------------------------------------------------------------------------- Adam


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_adam_finds_the_mode_of_ridge_regression(dtype):
    """``regression`` is ridge regression with penalty s²: the mode is the posterior mean."""
    x, y = orthogonal_design(dtype=dtype)
    mode, _ = regression_posterior(x, y)
    penalised = torch.linalg.solve(x.T @ x + NOISE**2 * torch.eye(4, dtype=dtype), x.T @ y)
    torch.testing.assert_close(mode, penalised)
    joint = LogJoint(regression, (x, y))
    start = Adam(steps=400, learning_rate=0.05)(joint, 3, torch.Generator().manual_seed(0))
    assert start.shape == (3, 4) and start.dtype == dtype and not start.requires_grad
    best = joint(mode[None])[0]
    assert (joint(start)[0] > best - 1e-3).all() and (joint(start)[0] < best + 1e-3).all()
    assert joint.evaluations >= 3 * 400


def test_adam_never_ends_below_where_it_began():
    """With a step far too large it returns the best point seen, per chain, and not the last."""
    joint = LogJoint(regression, orthogonal_design())
    seen = []

    def watched(position):
        value, gradient = LogJoint.__call__(joint, position)
        seen.append((position.clone(), value))
        return value, gradient

    watched.rows_per_chain = False
    begin = numbers(3, 4)
    start = Adam(steps=20, learning_rate=5.0, init=lambda *_: begin)(watched, 3, torch.Generator())
    values = torch.stack([value for _, value in seen])
    assert torch.equal(seen[0][0], begin) and (values[-1] < values.amax(0)).any()
    torch.testing.assert_close(joint(start)[0], values.amax(0), rtol=0, atol=1e-9)


def test_adam_is_reproducible_and_touches_nothing_global():
    joint = LogJoint(model(mlp(3, 4, 1)), (X, Y))
    state = torch.random.get_rng_state()
    first, second, other = (Adam(steps=30)(joint, 2, torch.Generator().manual_seed(s)) for s in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(first, second) and not torch.equal(first, other)
    assert (first[0] != first[1]).all()
    from_there = Adam(steps=30, init=from_support)(joint, 2, torch.Generator().manual_seed(0))
    assert not torch.equal(from_there, first)
    better = joint(first)[0] - joint(from_prior(joint, 2, torch.Generator().manual_seed(0)))[0]
    assert (better > 0).all()


def test_adam_with_nan_gradients_at_the_start():
    """A chain that starts where the log joint is NaN stays finite; the others climb."""

    def broken(position):
        value, gradient = -0.5 * position.square().sum(-1), -position
        lost = position[:, 0] > 1.0
        return torch.where(lost, torch.nan, value), torch.where(lost.unsqueeze(-1), torch.nan, gradient)

    broken.rows_per_chain = False
    begin = torch.tensor([[2.0, 1.0], [0.5, 1.0]], dtype=torch.float64)
    start = Adam(steps=200, learning_rate=0.05, init=lambda *_: begin)(broken, 2, torch.Generator())
    assert torch.equal(start[0], begin[0]) and start[1].abs().max() < 0.05


def test_adam_starts_a_sampler():
    draws = bz.NUTS(chains=2, warmup=5, draws=4, init=Adam(steps=10)).run(regression, orthogonal_design(16), progress=False)
    assert draws.sites["w"].shape == (2, 4, 4) and "Adam(steps=10" in draws.attrs["settings"]


@pytest.mark.parametrize("settings", [{"steps": 0}, {"learning_rate": 0.0}, {"learning_rate": float("nan")}])
def test_adam_settings(settings):
    with pytest.raises(ValueError, match=r"Adam needs steps >= 1 and a learning rate > 0, got"):
        Adam(**settings)


def test_the_same_rows_given_twice_stay_two_inputs():
    """x and y may be one tensor in the first call and two in the next."""

    def model(x, y, size=None):
        w = pyro.sample("w", dist.Normal(torch.zeros((), dtype=x.dtype), 1.0))
        with pyro.plate("data", size or len(x), subsample=x):
            pyro.sample("y", dist.Normal(w * x, 1.0), obs=y)

    a, b = torch.linspace(-1, 1, 5, dtype=torch.float64), torch.linspace(2, 3, 5, dtype=torch.float64)
    position = torch.tensor([[0.5], [2.0]], dtype=torch.float64)
    used = LogJoint(model, (a, a))
    used(position, a, a)
    torch.testing.assert_close(used(position, a, b), LogJoint(model, (a, b))(position, a, b))


def test_a_constant_of_one_value_holds_one_number():
    """Scales of priors, expanded to their weights, take no memory and no reading; what varies is kept whole."""
    joint = LogJoint(bz.BNN(mlp(3, 40, 1), bz.priors.Normal(0.5), bz.likelihoods.Gaussian(1.0)), (X, Y))
    module = joint.graph(torch.zeros(2, joint.dim, dtype=joint.dtype))
    folded = dict(module.named_buffers())
    uniform = [t for t in folded.values() if t.numel() and bool((t == t.flatten()[0]).all())]
    assert max(t.numel() for t in uniform) >= 120
    assert all(t.untyped_storage().nbytes() == t.element_size() for t in uniform)
    varied = torch.arange(6.0).reshape(2, 3)
    torch.testing.assert_close(simplify._compact(varied), varied)
