"""Small graphs as C: operations against torch itself, in both dtypes, on layouts and numbers that are easy to get wrong."""

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from classics import MODELS
from torch.func import functionalize, grad_and_value, vmap
from torch.nn import functional as F

import bnn_zoo as bz
from bnn_zoo import native
from bnn_zoo._torch import make_fx
from bnn_zoo.density import compiled
from bnn_zoo.native import library

G = torch.Generator().manual_seed(0)
HARD = torch.tensor([0.0, -0.0, 1.0, -1.0, 0.3, -2.5, 30.0, -40.0, 1e-30, math.inf, -math.inf, math.nan])


def rand(*shape):
    return torch.randn(shape, generator=G)


A, B, C, POSITIVE = rand(3, 4, 5), rand(4, 1), rand(3, 4, 4), rand(3, 4, 5).exp()
MASK, INDEX, ROWS = rand(3, 4, 5) > 0, torch.tensor([3, 0, -1, 3]), torch.tensor([[0], [2]])
PICKED = torch.randint(4, (3, 4, 4), generator=G)
PAIRS = (HARD.repeat_interleave(len(HARD)), HARD.repeat(len(HARD)))
SPD = C @ C.mT + 4.0 * torch.eye(4)


def network_layers(w, x, b, v):
    """A layer with its gradients: one loop over hidden units or over rows, whichever is longer."""
    h = torch.tanh(w @ x.mT + b[:, None])
    g = v[:, None] * (1 - h * h)
    return torch.mv(h.mT, v), g @ x, g.sum(1), torch.mv(h, x[:, 0]), (g @ x).sum(0) * v.sum()


def joined_loops(x, y):
    """What is computed in a loop and read in it, once or again later, in another order too; a sum of sums."""
    h = x * y
    k = h.exp() + y
    centred = k - k.sum(1, keepdim=True)
    return k.sum(1), (k * x).sum(1), (h.mT + y[:, None]).sum(0), centred, (centred.mT * h.mT).sum(0), k.mT.sum(0).sum()


UNARY = ["neg", "abs", "exp", "log", "log1p", "log2", "expm1", "sqrt", "rsqrt", "reciprocal", "sin", "cos", "atan", "tanh"]
UNARY += [
    "sgn",
    "sign",
    "sigmoid",
    "relu",
    "erf",
    "erfc",
    "lgamma",
    "floor",
    "ceil",
    "isnan",
    "isinf",
    "isfinite",
    "nan_to_num",
]
BINARY = [
    "add",
    "sub",
    "mul",
    "div",
    "maximum",
    "minimum",
    "pow",
    "logaddexp",
    "remainder",
    "xlogy",
    "lt",
    "le",
    "gt",
    "ge",
    "eq",
    "ne",
]
CASES = {
    **{name: (getattr(torch, name), (HARD,)) for name in UNARY},
    **{name: (getattr(torch, name), PAIRS) for name in BINARY},
    "softplus": (F.softplus, (HARD,)),
    "silu": (F.silu, (HARD[:9],)),
    "logsigmoid": (F.logsigmoid, (HARD,)),
    "clamp": (lambda x: (x.clamp(-0.5, 0.7), x.clamp(max=0.1), x.clamp(min=0.0)), (HARD,)),
    "powers": (lambda x: tuple(x**p for p in (2, 3, 0.5, -0.5, -1, -2, 1, 1.7, 0)), (HARD,)),
    "scalars": (lambda x: (2.5 - x, x * 0.1, x + 3, x / 7, 1 / x, x > 0, x - 2 * x), (HARD,)),
    "alpha": (lambda x, y: (torch.add(x, y, alpha=3), torch.sub(x, y, alpha=0.5), torch.rsub(x, y, alpha=2)), (A, B)),
    "where": (lambda m, x, y: (torch.where(m, x, y), torch.where(m, 0.0, x), x.masked_fill(m, -1.5)), (MASK, A, B)),
    "logic": (lambda x, y: ((x > 0) & (y > 0), (x > 0) | ~(y > 0), (x > 0) ^ (y > 0), torch.logical_not(x)), (A, B)),
    "casts": (lambda m, x: (m.to(x.dtype) + x, x.bool(), m + x, (m * 3).sum(0), x.long() * 2), (MASK, A)),
    "broadcast": (lambda x, y: x.unsqueeze(1) * y + x.mean(-1, keepdim=True)[:, None], (A, B)),
    "views": (
        lambda x: (x.mT, x[:, 1], x[..., ::2] * 2, x.permute(2, 0, 1).reshape(10, 6), x.flatten(), x.transpose(0, 2)[1:]),
        (A,),
    ),
    "used twice": (lambda x: (x.exp() * x.exp() + x, (x * 2).unbind(1)[2], (x * 2).split([1, 3], 1)[1].clone()), (A,)),
    "sums": (
        lambda x: (x.sum(), x.sum(1), x.sum((0, 2), keepdim=True), x.exp().sum(-1), x.mean(0), x.mT.sum(1), x.mean()),
        (A,),
    ),
    "long sum": (lambda x: (x.sum(), (x * x).sum(0), x.mT.sum(0), x[:25].flatten().sum()), (rand(53, 37),)),
    "no terms": (lambda x: (x[:, :0].sum(1), x[:0].sum(0)), (A,)),
    "extremes": (lambda x: (x.amax(1), x.amin((0, 2)), x.amax()), (A,)),
    "extremes of nan": (lambda x, y: (torch.stack([x, y]).amax(0), torch.stack([x, y]).amin(0)), PAIRS),
    "any": (lambda m: (m.any(1), m.all(0), m.any(), m.sum(1)), (MASK,)),
    "joined": (
        lambda x, y: (
            torch.cat([x, 2 * x, y.expand(3, 4, 1)], 2),
            torch.stack([x, x.exp()], 1),
            torch.cat([x, x[:, :0]], 1),
        ),
        (A, B),
    ),
    "padded": (lambda x: (F.pad(x, (1, 2), value=3.0), F.pad(x, (-1, 2, 0, -2)), F.pad(x, (0, -1, -2, 1, 1, 0))), (A,)),
    "filled": (
        lambda x: (x.new_full((2, 3), 7.0) + 1, torch.zeros_like(x), torch.ones(3) * 2, torch.arange(4), torch.eye(3)),
        (A,),
    ),
    "mm": (lambda x, y: (x[0].mT @ x[0], x[0] @ x[1].mT), (A, C)),
    "vectors": (lambda x: (torch.dot(x[0, 0], x[1, 1]), torch.mv(x[0], x[1, 1])), (A,)),
    "bmm": (lambda x, y: (y @ x, x.mT @ y, (x.mT @ y.mT) + 1), (A, C)),
    "long products": (lambda x, y: (x @ y, x[0] @ y[:, 0]), (rand(7, 40), rand(40, 3))),
    "side by side": (lambda x, y: (x @ y, y.sum(1), (y.exp() * y).sum((0, 1))), (rand(3, 4, 21), rand(3, 21, 6))),
    "outer products": (
        lambda x, y: (
            x[:, :, :1] @ y[:, :1],
            torch.tanh((x[0, :, :1] @ y[0, :1]).mT).sum(1),
            (x[1, :, :1] @ y[1, :1])[1:, ::2] + 1,
        ),
        (A, C),
    ),
    "network": (network_layers, (rand(20, 3), rand(37, 3), rand(20), rand(20))),
    "short network": (network_layers, (rand(7, 1), rand(101, 1), rand(7), rand(7))),
    "joined loops": (joined_loops, (rand(6, 21), rand(21))),
    "square": (lambda x: (x + x.mT, (x * x.mT).sum(0), (x.mT.exp() + 1).sum(1), x.exp().mT * x), (rand(5, 5),)),
    "one number": (
        lambda x: (x * torch.full((3, 1, 5), 0.3).to(x), x + torch.zeros(4, 1).to(x), x / (-torch.zeros(5).to(x))),
        (A,),
    ),
    "addmm": (
        lambda x, y: (torch.addmm(x[0, :, :4], y[0], y[1], beta=0.5, alpha=2), F.linear(x[0], x[1, :2], x[0, :2, 0])),
        (A, C),
    ),
    "triangles": (lambda x: (x.tril(), x.triu(1), x.tril(-1), x.diagonal(dim1=-2, dim2=-1)), (C,)),
    "cumsum": (lambda x: (x.cumsum(-1), x.cumsum(0), x.flip(1), x.mT.flip((0, 2))), (A,)),
    "cumprod": (lambda x: (x.cumprod(-1), x.cumprod(0), x.mT.cumprod(1)), (A,)),
    "cholesky": (lambda x: torch.linalg.cholesky_ex(x), (SPD,)),
    "not definite": (lambda x: torch.linalg.cholesky_ex(x - 6 * torch.eye(4).to(x))[1], (SPD,)),
    "triangular": (
        lambda c, y: (
            torch.linalg.solve_triangular(c, y, upper=False),
            torch.linalg.solve_triangular(c, y.mT, upper=False, left=False),
            torch.linalg.solve_triangular(c.mT, y, upper=True),
            torch.linalg.solve_triangular(c.mT, y.mT, upper=True, left=False),
        ),
        (C.tril() + 3 * torch.eye(4), A),
    ),
    "unitriangular": (lambda c, y: torch.linalg.solve_triangular(c, y, upper=True, unitriangular=True), (C, A)),
    "gather": (lambda x, k: (x.gather(2, k), x.mT.gather(1, k.mT), x.gather(-1, k[:, :2, :1])), (A, PICKED)),
    "scatter": (
        lambda x, k, y: (
            x.scatter_add(2, k, y),
            x.scatter(2, k[:, :, :1], y[:, :, :1]),
            x.scatter(1, k[:, :1], 2.5),
            x.mT.scatter_add(1, k[:, :2, :1].mT, y.mT),
        ),
        (A, PICKED, C),
    ),
    "index": (
        lambda x, i, j: (x[:, i], x[..., i], x[i[1:3], i[1:3] + 1], x[:, j, i], x[j.squeeze(1)], x[i[:3] * 0, :, i[:3]]),
        (A, INDEX, ROWS),
    ),
}


def graph_of(f, inputs):
    def several(*flat):
        made = f(*flat)
        return tuple(made) if isinstance(made, tuple | list) else (made,)

    return make_fx(functionalize(several))(*[t.clone() for t in inputs])


def agree(f, inputs, dtype):
    """The C of f against f, at these inputs; what tells them apart is how sums are ordered and how exp is rounded."""
    inputs = tuple(t.to(dtype) if t.is_floating_point() else t for t in inputs)
    graph = graph_of(f, inputs)
    run = native.compile_small(graph, inputs)
    assert run is not None, "an operation without C, or no C compiler"
    got, expected = run(*inputs), graph(*inputs)
    tolerance = {"rtol": 1e-12, "atol": 1e-13} if dtype == torch.float64 else {"rtol": 3e-5, "atol": 2e-5}
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, equal_nan=True, **tolerance)
    again = run(*inputs)
    assert all(torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in zip(got, again, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_operations(dtype):
    """All at once, as one program: the compiler is started once. A failure names its case."""
    for name, (f, inputs) in CASES.items():
        try:
            graph_of(f, inputs)
        except Exception as error:
            raise AssertionError(f"{name} cannot be traced") from error
    names = list(CASES)
    sizes = [len(CASES[name][1]) for name in names]

    def whole(*flat):
        made, start = [], 0
        for name, size in zip(names, sizes, strict=True):
            result = CASES[name][0](*flat[start : start + size])
            made += list(result) if isinstance(result, tuple | list) else [result]
            start += size
        return tuple(made)

    agree(whole, [t for name in names for t in CASES[name][1]], dtype)


def network(u, x, y):
    """The log joint of a small network at one position."""
    w, b, v, s = u[:6].reshape(2, 3), u[6:9], u[9:12], u[12]
    f = torch.tanh(x @ w + b) @ v
    return -0.5 * ((y - f) ** 2 * torch.exp(-2 * s)).sum() - len(y) * s - 0.5 * (u**2).sum()


def poisson(u, x, y):
    rate = u[:2][(x[:, 0] > 0).long()] + u[2]
    return (y.abs().floor() * rate - rate.exp() - torch.lgamma(y.abs().floor() + 1)).sum() + F.logsigmoid(u[3:5]).sum()


def mixture(u, x, y):
    mu, log_p = u[:3], torch.log_softmax(u[3:6], -1)
    return torch.logsumexp(log_p - 0.5 * (y[:, None] - mu) ** 2, -1).sum() - F.softplus(u).sum()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("density", [network, poisson, mixture])
def test_gradients(density, dtype):
    """Densities with their gradients, batched over chains, as the engine traces them; log_softmax and logsumexp are in no
    table and are written out first."""
    x, y, u = rand(20, 2), rand(20), rand(3, 13)
    agree(lambda u, x, y: vmap(grad_and_value(density), (0, None, None))(u, x, y)[::-1], (u, x, y), dtype)


def test_unknown_operations_are_left_to_torch():
    x = rand(3, 3)
    for f in (
        torch.linalg.eigvalsh,
        torch.sort,
        lambda x: torch.rand(3) + x,
        lambda x: x.to(torch.float16),
        lambda x: x.clamp(x[0]),
    ):
        graph = graph_of(f, (x,))
        assert not native.suits(graph, (x,)) and native.compile_small(graph, (x,)) is None
    large = torch.zeros(native.LARGEST + 1)
    assert not native.suits(graph_of(torch.exp, (large,)), (large,)) and native.suits(graph_of(torch.exp, (x,)), (x,))
    assert not native.suits(graph_of(lambda x: (x[:, None] * x).sum(), (large[:300],)), (large[:300],))


def test_an_index_out_of_range():
    x, i = rand(4), torch.tensor([1, 3])
    run = native.compile_small(graph_of(lambda x, i: (x[i],), (x, i)), (x, i))
    assert torch.equal(run(x, torch.tensor([-4, 0]))[0], x[[0, 0]])
    for wrong in (4, -5):
        with pytest.raises(IndexError, match="out of the range"):
            run(x, torch.tensor([0, wrong]))


def test_outputs_are_new_and_inputs_stay():
    x = rand(4)
    run = native.compile_small(graph_of(lambda x: (x, x * 2, x.view(2, 2)), (x,)), (x,))
    first = run(x)
    for made in first:
        made.zero_()
    assert x.abs().min() > 0 and torch.equal(run(x)[1], 2 * x)


def sizes(folder):
    return [path.name for path in Path(folder).rglob("*.so")]


def test_libraries_are_kept(tmp_path, monkeypatch):
    """One a graph, found again by another process under the same name; a folder that cannot be written to is passed over."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    code = "import torch\nfrom bnn_zoo import native\nfrom bnn_zoo._torch import make_fx\nx = torch.ones(3)\n"
    code += "assert native.compile_small(make_fx(lambda x: (x.exp().sum() * x * 0.123, x.tanh()))(x), (x,))(x)[1][0] > 0.7"
    for _ in range(2):
        subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | {"PYTHONHASHSEED": "random"})
        assert len(sizes(tmp_path)) == 1
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    x = rand(3)
    assert native.compile_small(graph_of(lambda x: (x * 0.4567,), (x,)), (x,))(x)[0].equal(x * 0.4567)


def test_without_a_compiler(monkeypatch):
    monkeypatch.setattr(library, "_compiler", lambda: None)
    x = rand(3)
    assert native.compile_small(graph_of(torch.exp, (x,)), (x,)) is None


def test_a_compiler_that_fails(monkeypatch):
    monkeypatch.setattr(library, "_compiler", lambda: ("false",))
    x = rand(3)
    assert native.compile_small(graph_of(lambda x: x * 0.98765, (x,)), (x,)) is None


def test_a_run_uses_it(monkeypatch):
    """A small model by NUTS: compiled without torch's compiler, in one process, the same draws when run again."""
    monkeypatch.setattr(compiled, "compile_graph", lambda *_: pytest.fail("this graph is small"))
    x = rand(30, 2)
    model = bz.BNN(bz.nets.MLP(2, 1, hidden=(3,)), bz.priors.Normal(1.0), bz.likelihoods.Gaussian())
    backend = bz.NUTS(chains=2, warmup=20, draws=10, compile=True)
    first, again = (backend.run(model, (x, x.sum(1)), progress=False) for _ in range(2))
    assert first.attrs["compiled"] and first.attrs["processes_used"] == 1
    assert all(torch.equal(first.sites[name], again.sites[name]) for name in first.sites)


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_statistical_models(model, monkeypatch):
    """They all become C, and are what the plain model is by autograd."""
    monkeypatch.setattr(compiled, "compile_graph", lambda *_: pytest.fail("an operation is in no table"))
    log_joint = bz.LogJoint(model, MODELS[model], dtype=torch.float64, compile=True)
    log_joint.anew(10_000)
    position = 0.5 * torch.sin(torch.arange(3.0 * log_joint.dim, dtype=torch.float64)).reshape(3, -1)
    value, gradient = log_joint(position)
    assert log_joint.compiled
    expected, slope, _ = log_joint.plain(position, *log_joint.tensors)
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=0.0)
    torch.testing.assert_close(gradient, slope, rtol=1e-10, atol=1e-11 * float(slope.abs().max()))
