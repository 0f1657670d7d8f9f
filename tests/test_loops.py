"""Many steps of many chains as one call of C: against the traced graph, step by step, and against steps in torch."""

import pytest
import torch
from targets import orthogonal_design, regression
from torch.func import functionalize, grad_and_value, vmap

import bnn_zoo as bz
from bnn_zoo import kernels, native
from bnn_zoo._torch import make_fx
from bnn_zoo.backends._compiling import TINY_TRAJECTORY, becomes_c
from bnn_zoo.density import LogJoint, compiled
from bnn_zoo.kernels.hmc import metropolis
from bnn_zoo.kernels.integrators import for_each_chain, in_one_call, leapfrog, whole_step

G = torch.Generator().manual_seed(0)
BOTH = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])


def rand(*shape, dtype=torch.float64):
    return torch.randn(shape, generator=G, dtype=torch.float64).to(dtype)


def density(u, x, y):
    """A network with three hidden units at one position ``[13]``."""
    w, b, v, s = u[:6].reshape(2, 3), u[6:9], u[9:12], u[12]
    f = torch.tanh(x @ w + b) @ v
    return -0.5 * ((y - f) ** 2 * torch.exp(-2 * s)).sum() - len(y) * s - 0.5 * (u**2).sum()


def step(scale, q, p, value, x, y):
    """Of a sampler: held, state and shared inputs."""
    q = q + scale[:, None] * p
    slope, value = vmap(grad_and_value(density), (0, None, None))(q, x, y)
    return q, torch.tanh(p + scale[:, None] * slope), value + 0.1 * p.sum(1)


@BOTH
@pytest.mark.parametrize("rows", [7, 33])
def test_against_the_graph(dtype, rows):
    """Of each chain by itself, step by step; the same bits whatever the other chains, and in one call or in several."""
    shared, chains = (rand(rows, 2, dtype=dtype), rand(rows, dtype=dtype)), 5
    inputs = (
        0.05 * rand(chains, dtype=dtype).abs(),
        *(rand(chains, 13, dtype=dtype) for _ in "qp"),
        rand(chains, dtype=dtype),
    )
    one = tuple(t[:1] for t in inputs)
    graph = make_fx(functionalize(step))(*one, *shared)
    loop = native.compile_loop(graph, (*one, *shared), 4, 1)
    kept = [t.clone() for t in inputs]
    for count in (1, 2, 5):
        got, wanted = loop(count, *inputs, *shared), []
        for c in range(chains):
            scale, *state = (t[c : c + 1] for t in inputs)
            for _ in range(count):
                state = graph(scale, *state, *shared)
            wanted.append(state)
        tolerance = {"rtol": 1e-11, "atol": 1e-11} if dtype == torch.float64 else {"rtol": 1e-3, "atol": 1e-3}
        for a, b in zip(got, zip(*wanted, strict=True), strict=True):
            torch.testing.assert_close(a, torch.cat(b), **tolerance)
        alone = loop(count, *(t[2:3].clone() for t in inputs), *shared)
        assert all(torch.equal(a[2:3], b) for a, b in zip(got, alone, strict=True))
        state = inputs[1:]
        for _ in range(count):
            state = loop(1, inputs[0], *state, *shared)
        assert all(map(torch.equal, state, got))
    assert all(map(torch.equal, kept, inputs))


def test_what_is_no_loop():
    """Outputs that are not the next state, or not of one chain; an index out of the range."""
    x, i = rand(1, 4), torch.tensor([[1, 3]])

    def made(f, *inputs, state):
        return native.compile_loop(make_fx(functionalize(f))(*inputs), inputs, len(inputs), state)

    assert made(lambda x: (x[:, :2],), x, state=0) is None and made(lambda x: (x.flatten(),), x, state=1) is None
    look = made(lambda x, i: (x.gather(1, i),), x, i, state=2)
    assert torch.equal(look(1, x.repeat(2, 1), i.repeat(2, 1))[0], x[:, [1, 3]].repeat(2, 1))
    with pytest.raises(IndexError, match="out of the range"):
        look(1, x, torch.tensor([[1, 4]]))


def joints(dtype=torch.float64):
    data = orthogonal_design(16, dtype=dtype)
    return (LogJoint(regression, data, compile=compile) for compile in (False, True))


def phase_of(joint, chains):
    q = rand(chains, joint.dim, dtype=joint.dtype)
    return (q, rand(chains, joint.dim, dtype=joint.dtype), *joint(q))


@BOTH
@pytest.mark.parametrize("metric", [kernels.Diagonal, kernels.Dense], ids=lambda m: m.__name__)
def test_trajectories(dtype, metric):
    """In one call as in eager steps; a trajectory of n steps has the bits of n trajectories of one."""
    eager, looped = joints(dtype)
    start, chains = phase_of(eager, 3), 3
    spread = 0.5 + rand(chains, eager.dim, dtype=dtype).abs()
    mass = (
        metric(spread) if metric is kernels.Diagonal else metric(torch.diag_embed(spread), torch.diag_embed(spread.sqrt()))
    )
    size = torch.tensor([[0.05], [-0.05], [0.02]], dtype=dtype)
    before = looped.evaluations
    end = leapfrog(looped, mass, size, start, 5)
    assert looped.compiled and looped.evaluations - before == 15
    slack = 1e-10 if dtype == torch.float64 else 2e-4
    torch.testing.assert_close(end, leapfrog(eager, mass, size, start, 5), rtol=slack, atol=slack)
    step_by_step = start
    for _ in range(5):
        step_by_step = leapfrog(looped, mass, size, step_by_step, 1)
    assert all(map(torch.equal, end, step_by_step))
    uniform = torch.tensor([0.2, 0.999, 0.0], dtype=dtype)
    ends = [for_each_chain(joint, metropolis(metric), *mass, uniform, *start, *end) for joint in (looped, eager)]
    torch.testing.assert_close(*ends, rtol=slack, atol=slack)


def test_only_where_a_step_becomes_c(monkeypatch):
    """Not without a compiler, with one that fails, gives other values, or with chains that share a tensor."""
    eager, looped = joints()
    start, size = phase_of(eager, 2), torch.full((2, 1), 0.1, dtype=torch.float64)
    mass = torch.ones_like(start[0])

    def whole(joint, *held):
        return in_one_call(joint, whole_step(kernels.Diagonal), held, start, 2)

    assert whole(eager, mass, size) is None and whole(looped, mass, size[:1]) is None
    assert whole(looped, mass, size) is not None

    def broken(*_):
        raise RuntimeError("a compiler that stops")

    for compiler in (lambda *_: None, broken, lambda *_: lambda count, *inputs: tuple(t + 1 for t in inputs[2:6])):
        monkeypatch.setattr(compiled, "compile_loop", compiler)
        assert whole(next(reversed([*joints()])), mass, size) is None


def test_draws_of_runs(monkeypatch):
    """The same in a run of HMC when it is run again; chains of small trajectories stay in one process."""
    monkeypatch.setattr(compiled, "compile_graph", lambda *_: pytest.fail("this graph is small"))
    backend = bz.HMC(chains=3, warmup=20, draws=10, compile=True)
    first, again = (backend.run(regression, orthogonal_design(16), progress=False) for _ in range(2))
    assert first.attrs["compiled"] and first.attrs["processes_used"] == 1
    assert all(torch.equal(first.sites[name], again.sites[name]) for name in first.sites)
    many = -(-TINY_TRAJECTORY // (4 * 16))
    assert not bz.HMC(chains=many + 1, compile=True)._tiny(LogJoint(regression, orthogonal_design(16)))


def test_microcanonical_steps_of_one_chain(monkeypatch):
    """C where the step of all chains would be too large for it, with the draws that the traced graph gives."""
    monkeypatch.setattr(compiled, "compile_graph", lambda *_: pytest.fail("one chain's gradient is small"))
    x, y = rand(500, 8), rand(500)
    model = bz.BNN(bz.nets.MLP(8, 1, hidden=(50,)), bz.priors.Normal(bz.priors.fan_in), bz.likelihoods.Gaussian())
    log_joint = LogJoint(model, (x, y))
    assert not becomes_c(log_joint, 4) and log_joint.loops(4)
    short = {"chains": 4, "warmup": 12, "draws": 4, "thinning": 1, "processes": 1}
    fast, plain = (bz.MCLMC(**short, compile=c).run(model, (x, y), progress=False) for c in (True, False))
    assert fast.attrs["compiled"] and not plain.attrs["compiled"]
    assert fast.attrs["gradients"] == plain.attrs["gradients"]
    for name, drawn in fast.sites.items():
        torch.testing.assert_close(drawn, plain.sites[name], rtol=1e-6, atol=1e-6)


def test_microcanonical_runs_are_compiled_where_that_pays():
    """By the length of the run: C for one chain takes a second, whatever the number of chains."""
    model = bz.BNN(bz.nets.MLP(8, 1, hidden=(50,)), bz.priors.Normal(bz.priors.fan_in), bz.likelihoods.Gaussian())
    log_joint = LogJoint(model, (rand(500, 8), rand(500)))
    assert bz.MCLMC()._pays(log_joint, 4) and not bz.MCLMC(warmup=20, draws=10, thinning=1)._pays(log_joint, 4)


@pytest.mark.parametrize(
    ("sizes", "rows", "loops"), [((8, 100), 927, True), ((64, 20, 20), 300, False), ((8, 300), 927, False)]
)
def test_how_large_one_chain_may_be(sizes, rows, loops):
    """Wide networks of few inputs, whose products are few beside their tanhs; not those whose products take the time."""
    net = bz.nets.MLP(sizes[0], 1, hidden=sizes[1:])
    model = bz.BNN(net, bz.priors.Normal(bz.priors.fan_in), bz.likelihoods.Gaussian())
    assert LogJoint(model, (rand(rows, sizes[0]), rand(rows))).loops(4) is loops
