"""Diagnostics against ArviZ, whichever version is installed, on draws that are good, bad and broken."""

import math
import warnings
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version

import numpy as np
import pytest
import torch

from bnn_zoo import diagnostics
from bnn_zoo.diagnostics import blocks, chains, ranks

PROB = (0.05, 0.95)  # ArviZ 1.x has (0.11, 0.89) unless told
ARVIZ_0 = version("arviz").startswith("0.")


def autoregressive(rho, chains, draws, seed=0):
    x = np.random.default_rng(seed).standard_normal((chains, draws))
    for t in range(1, draws):
        x[:, t] += rho * x[:, t - 1]
    return x


def with_value(value, at=(0, 3)):
    x = autoregressive(0.5, 4, 200)
    x[at] = value
    return x


def cases():
    yield "ar .7", autoregressive(0.7, 4, 500)
    yield "ar .99", autoregressive(0.99, 4, 500)
    yield "antithetic", autoregressive(-0.5, 4, 500)
    yield "odd draws", autoregressive(0.7, 4, 333)
    yield "one chain", autoregressive(0.7, 1, 400)
    yield "one chain, odd", autoregressive(0.7, 1, 399)
    for draws in range(1, 11):
        yield f"2 x {draws}", autoregressive(0.3, 2, draws, seed=draws)
    yield "3 x 11, slow", autoregressive(0.99, 3, 11)
    yield "ties", autoregressive(0.5, 4, 200).round(1)
    yield "counts", np.random.default_rng(1).poisson(0.3, (4, 200))
    yield "repeated draws", autoregressive(0.5, 4, 100).repeat(3, axis=1)
    yield "constant", np.full((4, 100), 0.3)
    yield "two values in turn", np.tile([1.0, -1.0], (4, 50))
    yield "one chain stuck", with_value(1.0, at=0)
    yield "one chain elsewhere", autoregressive(0.5, 4, 200) + np.array([[0.0], [0.0], [0.0], [3.0]])
    yield "one chain wider", autoregressive(0.5, 4, 200) * np.array([[1.0], [1.0], [1.0], [5.0]])
    yield "nan", with_value(math.nan)
    yield "inf", with_value(math.inf)
    yield "mostly inf", np.where(np.random.default_rng(3).random((4, 200)) < 0.6, math.inf, autoregressive(0.5, 4, 200))
    yield "both infs", with_value([math.inf, -math.inf], at=(0, [3, 5]))
    yield "Cauchy", np.random.default_rng(2).standard_cauchy((4, 300))
    yield "far from zero", 1e5 + autoregressive(0.5, 4, 200)


def reference(name, x):
    az = pytest.importorskip("arviz")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ArviZ divides by zero on constants, and logs what it thinks of NaN
        if name == "rhat":
            return float(az.rhat(x))
        if name == "mcse_mean":
            return float(az.mcse(x, method="mean"))
        method = name.removeprefix("ess_")
        return float(az.ess(x, method=method, **({"prob": PROB} if method == "tail" else {})))


NAMES = ["rhat", "ess_bulk", "ess_tail", "ess_mean", "mcse_mean"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("x", [pytest.param(x, id=label) for label, x in cases()])
def test_agrees_with_arviz(name, x):
    ours = getattr(diagnostics, name)(x)
    assert ours.shape == () and ours.dtype == torch.float64
    np.testing.assert_allclose(float(ours), reference(name, x), rtol=1e-9, atol=1e-15)


def spoiled(rng, x):
    """x with one of many things that happen to draws done to it."""
    C, D = x.shape
    kinds = {
        "nothing": lambda: x,
        "heavy tails": lambda: rng.standard_cauchy((C, D)),
        "heavier tails": lambda: np.exp(5 * x),
        "ties": lambda: x.round(int(rng.integers(0, 2))),
        "counts": lambda: rng.poisson(rng.choice([0.05, 0.3, 3]), (C, D)).astype(float),
        "two values": lambda: (rng.random((C, D)) < rng.choice([0.02, 0.5, 0.98])).astype(float),
        "symmetric ties": lambda: np.sign(x) * rng.integers(0, 5, (C, D)),
        "zeros of both signs": lambda: np.where(rng.random((C, D)) < 0.5, 0.0, -0.0) + (rng.random((C, D)) < 0.1),
        "rejections": lambda: x[:, np.maximum.accumulate(np.where(rng.random(D) < 0.3, np.arange(D), 0))],
        "mirrored": lambda: np.concatenate([x, -x], 1),
        "last bits": lambda: 1 + np.round(20 * x) * 2.0**-52,
        "huge": lambda: 1e300 * x,
        "far": lambda: x + rng.choice([1e5, 1e10, -1e12]),
        "trend": lambda: x + np.linspace(0, 5, D),
        "shifted chain": lambda: x + 3 * (np.arange(C) == 0)[:, None],
        "stuck chain": lambda: np.where((np.arange(C) == 0)[:, None] & (C > 1), x[0, 0], x),
        "stuck at first": lambda: np.where(np.arange(D) < D // 2, x[0, 0], x),
        "inf": lambda: np.where(rng.random((C, D)) < 0.1, rng.choice([-math.inf, math.inf]), x),
        "nan": lambda: np.where(np.arange(C * D).reshape(C, D) == 2, math.nan, x),
        "constant": lambda: np.full((C, D), x[0, 0]),
    }
    kind = rng.choice(list(kinds))
    return kind, kinds[kind]()


@pytest.mark.parametrize("arrays", [250, pytest.param(5000, marks=pytest.mark.slow)])
def test_agrees_with_arviz_on_random_arrays(arrays):
    """Lengths, odd and even, chains, memory and troubles drawn at random; both versions of ArviZ, to 1e-9."""
    for seed in range(arrays):
        rng = np.random.default_rng(seed)
        draws = int(rng.choice([rng.integers(4, 12), rng.integers(12, 60), rng.integers(60, 500)]))
        rho = rng.choice([0, 0.3, 0.7, 0.95, 0.999, -0.3, -0.9])
        kind, x = spoiled(rng, autoregressive(rho, int(rng.integers(1, 7)), draws, seed))
        ours = diagnostics.convergence(x)
        for name, value in zip(ours._fields, ours, strict=True):
            if name == "ess_tail" and ARVIZ_0 and draws_at_quantiles(x):
                continue
            expected, label = reference(name, x), f"{name}, {kind}, {x.shape}, seed {seed}"
            np.testing.assert_allclose(float(value), expected, rtol=1e-9, err_msg=label)


def draws_at_quantiles(x):
    """Where ArviZ 0.23 rounds a quantile: it is a draw itself, or lies between draws that are all but equal."""
    at = np.array(PROB) * (x.size - 1)
    values, i = np.sort(x, axis=None), at.astype(int)
    with np.errstate(invalid="ignore"):
        apart = values[i + 1] - values[i] > 1e-9 * np.abs(values[i])
    return (np.abs(at - at.round()) < 1e-9).any() or not apart.all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("rho", [0.7, 0.99, -0.5])
def test_float32_is_near_float64(name, rho):
    """Rounding to float32 makes a few ties and may move one draw across a quantile: within 1e-2 for tails, else 1e-5."""
    x = autoregressive(rho, 4, 500)
    ours = getattr(diagnostics, name)(torch.tensor(x, dtype=torch.float32))
    assert ours.dtype == torch.float64
    np.testing.assert_allclose(float(ours), reference(name, x), rtol=1e-2 if name == "ess_tail" else 1e-5)


@pytest.mark.skipif(ARVIZ_0, reason="ArviZ 0.23 rounds a quantile that is a draw itself")
def test_a_quantile_that_is_a_draw():
    x = autoregressive(0.5, 1, 1001)
    assert float(diagnostics.ess_tail(x)) == pytest.approx(reference("ess_tail", x), rel=1e-9)


@pytest.mark.parametrize("prob", [(0.11, 0.89), (0.25, 0.75), (0.9, 0.1)])
def test_other_tails(prob):
    az = pytest.importorskip("arviz")
    x = autoregressive(0.7, 4, 500)
    assert float(diagnostics.ess_tail(x, prob=prob)) == pytest.approx(float(az.ess(x, method="tail", prob=prob)), rel=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_trailing_axes_are_a_loop_over_scalars(name, monkeypatch):
    monkeypatch.setattr(blocks, "CACHE", 4 * 50 * 3)  # three scalars at a time
    x = torch.tensor(np.stack([autoregressive(0.5, 4, 50, seed) for seed in range(10)], axis=-1)).reshape(4, 50, 2, 5)
    x[..., 0, 0], x[1, 7, 1, 1] = 2.0, math.nan
    f = getattr(diagnostics, name)
    each = torch.stack([f(x[..., i, j]) for i in range(2) for j in range(5)]).reshape(2, 5)
    torch.testing.assert_close(f(x), each, rtol=1e-13, atol=0, equal_nan=True)
    assert f(x)[1, 1].isnan() and f(x).isnan().sum() == (2 if name == "rhat" else 1)
    assert f(x[..., :0]).shape == (2, 0)


def test_one_call_for_all_three():
    x = np.stack([autoregressive(r, 4, 201) for r in (0.2, 0.9)], -1).reshape(4, 201, 1, 2)
    all_three = diagnostics.convergence(x)
    for name, value in zip(all_three._fields, all_three, strict=True):
        torch.testing.assert_close(value, getattr(diagnostics, name)(x), rtol=1e-12, atol=0)


def test_threads_change_nothing_and_are_given_back(monkeypatch):
    monkeypatch.setattr(blocks, "CACHE", 4 * 100 * 3)
    x = torch.randn(4, 100, 50, generator=torch.Generator().manual_seed(0))
    one = diagnostics.convergence(x)
    seen = set()
    monkeypatch.setattr(chains, "split", lambda x, split=chains.split: seen.add(torch.get_num_threads()) or split(x))
    torch.set_num_threads(3)
    try:
        three = diagnostics.convergence(x)
        with ThreadPoolExecutor(1) as another:
            assert torch.get_num_threads() == another.submit(torch.get_num_threads).result() == 3
        with pytest.raises(ValueError, match="single chain"):
            diagnostics.rhat(torch.zeros(3))
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(1)
    assert seen == {1}
    assert all(torch.equal(a, b) for a, b in zip(one, three, strict=True))


def test_a_file_or_a_stream_instead_of_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "CACHE", 4 * 60 * 5)
    x = np.random.default_rng(0).standard_normal((4, 60, 3, 20)).astype(np.float32)
    on_disk = np.memmap(tmp_path / "draws", np.float32, "w+", shape=x.shape)
    on_disk[:] = x
    on_disk.flush()
    on_disk = np.memmap(tmp_path / "draws", np.float32, "r", shape=x.shape)
    in_memory = diagnostics.convergence(x)
    assert torch.equal(diagnostics.convergence(on_disk).ess_tail, in_memory.ess_tail)
    assert torch.equal(diagnostics.convergence(iter([x[:, :, 0], x[:, :, 1:]])).rhat, in_memory.rhat.flatten())
    assert diagnostics.summarise(x[:, :, i] for i in range(3)) == diagnostics.summarise(x)


def test_sorts_what_differs_in_the_last_bits_only():
    """float64 values whose places ride in their low bits: neighbours to swap, and rows to sort afresh."""
    rng = np.random.default_rng(0)
    apart = rng.standard_normal((2, 4, 250))
    apart[0, 0, 0], apart[0, 0, 1] = apart[0, 1, 2] + np.spacing(apart[0, 1, 2]) * np.array([1, 2])
    x = np.concatenate([apart, 1 + rng.permutation(2000).reshape(2, 4, 250) * 2.0**-52])
    z, values = ranks.normal_scores(torch.tensor(x))
    rows = x.reshape(4, -1)
    np.testing.assert_array_equal(values, np.sort(rows, 1))
    np.testing.assert_array_equal(z.flatten(1).argsort(1), rows.argsort(1))


@pytest.mark.parametrize("prob", [(0.05, 0.95), (0.5, 0.999)])
def test_pairs_are_counted_exactly(prob, monkeypatch):
    """The tails' transform in single precision gives what double precision gives, at the longest chains it is used for."""
    x = torch.tensor(autoregressive(0.99, 2, chains.SINGLE // 2))
    single = diagnostics.ess_tail(x, prob)
    monkeypatch.setattr(chains, "SINGLE", 0)
    assert single == diagnostics.ess_tail(x, prob)


def test_draws_of_a_known_process():
    """An AR(1) chain has N (1 - rho) / (1 + rho) effective draws of its mean, and the mean's error is sd / sqrt(that)."""
    rho, chains, draws, burn = 0.6, 4, 20_000, 100
    x = autoregressive(rho, chains, draws + burn)[:, burn:]
    n_eff = chains * draws * (1 - rho) / (1 + rho)
    assert float(diagnostics.ess_mean(x)) == pytest.approx(n_eff, rel=0.1)
    assert float(diagnostics.mcse_mean(x)) == pytest.approx((1 - rho**2) ** -0.5 / n_eff**0.5, rel=0.05)
    assert float(diagnostics.rhat(x)) < 1.001


def test_stuck_chains_have_infinite_rhat():
    x = torch.arange(4.0)[:, None].expand(4, 100)
    assert diagnostics.rhat(x) > 1e6


def test_does_not_touch_its_input():
    x = torch.randn(4, 100, 3, requires_grad=True)
    before = x.detach().clone()
    assert not any(f(x).requires_grad for f in (diagnostics.rhat, diagnostics.ess_mean, diagnostics.ess_tail))
    assert torch.equal(x, before)
    frozen = before.numpy()
    frozen.flags.writeable = False
    assert torch.equal(diagnostics.rhat(frozen), diagnostics.rhat(x))


def test_bfmi():
    az = pytest.importorskip("arviz")
    energy = autoregressive(0.9, 4, 300)
    ours = diagnostics.bfmi(energy)
    theirs = az.bfmi(energy)
    np.testing.assert_allclose(ours, np.asarray(theirs), rtol=1e-12)
    assert ours.shape == (4,)
    assert (ours < 0.3).all()  # 2 (1 - rho) = 0.2 in the limit
    assert diagnostics.bfmi([[1.0, 3.0, 2.0]]).item() == pytest.approx(2.5)  # (4 + 1)/2 over a variance of 1


def test_summary_is_that_of_the_parts():
    x = torch.tensor(np.stack([autoregressive(r, 4, 200, seed=i) for i, r in enumerate([0, 0.5, 0.9, 0.99])], -1))
    x = torch.cat([x, torch.ones(4, 200, 1, dtype=x.dtype)], -1).reshape(4, 200, 5, 1)
    s = diagnostics.summarise(x)
    rhat, bulk, tail = diagnostics.rhat(x)[:4], diagnostics.ess_bulk(x), diagnostics.ess_tail(x)
    assert (s["scalars"], s["undefined"]) == (5, 1)
    assert s["max_rhat"] == pytest.approx(rhat.max().item())
    assert s["share_rhat_above_1.01"] == pytest.approx((rhat > 1.01).double().mean().item())
    assert s["min_ess_bulk"] == pytest.approx(bulk.min().item())
    assert s["median_ess_bulk"] == pytest.approx(np.median(bulk))
    assert s["min_ess_tail"] == pytest.approx(tail.min().item())


@pytest.mark.parametrize("shape", [(1, 100, 3), (4, 3, 3)])
def test_summary_without_rhat(shape):
    s = diagnostics.summarise(torch.randn(shape, generator=torch.Generator().manual_seed(0)))
    assert s["undefined"] == 3 and math.isnan(s["max_rhat"]) and math.isnan(s["share_rhat_above_1.01"])
    assert math.isnan(s["min_ess_bulk"]) == (shape[1] < 4)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: diagnostics.rhat(torch.zeros(10)), "single chain"),
        (lambda: diagnostics.ess_tail(torch.zeros(2, 10), prob=(5, 95)), "between 0 and 1"),
        (lambda: diagnostics.ess_tail(torch.zeros(2, 10), prob=(0.5,)), "two probabilities"),
        (lambda: diagnostics.bfmi(torch.zeros(2, 10, 3)), "one column"),
        (lambda: diagnostics.bfmi(torch.zeros(2, 1)), "two draws"),
        (lambda: diagnostics.summarise(torch.zeros(2, 10, 0)), "at least one scalar"),
        (lambda: diagnostics.summarise(iter([])), "without items"),
        (lambda: diagnostics.convergence(iter([torch.zeros(3)])), "single chain"),
    ],
)
def test_errors_teach(call, words):
    with pytest.raises(ValueError, match=words):
        call()


@pytest.mark.cuda
def test_cuda_agrees_with_cpu():
    x = torch.tensor(np.stack([autoregressive(0.7, 4, 501, seed) for seed in range(7)], -1).round(2))
    for name in NAMES:
        f = getattr(diagnostics, name)
        torch.testing.assert_close(f(x.cuda()).cpu(), f(x), rtol=1e-10, atol=0)
    assert diagnostics.summarise(x.cuda()) == pytest.approx(diagnostics.summarise(x))
