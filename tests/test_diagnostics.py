"""Diagnostics against ArviZ, whichever version is installed, on draws that are good, bad and broken."""

import math
import warnings
from importlib.metadata import version

import numpy as np
import pytest
import torch

from bnn_zoo import diagnostics

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
    monkeypatch.setattr(diagnostics, "CACHE", 4 * 50 * 3)  # three scalars at a time
    x = torch.tensor(np.stack([autoregressive(0.5, 4, 50, seed) for seed in range(10)], axis=-1)).reshape(4, 50, 2, 5)
    x[..., 0, 0], x[1, 7, 1, 1] = 2.0, math.nan
    f = getattr(diagnostics, name)
    each = torch.stack([f(x[..., i, j]) for i in range(2) for j in range(5)]).reshape(2, 5)
    torch.testing.assert_close(f(x), each, rtol=1e-13, atol=0, equal_nan=True)
    assert f(x)[1, 1].isnan() and f(x).isnan().sum() == (2 if name == "rhat" else 1)
    assert f(x[..., :0]).shape == (2, 0)


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
