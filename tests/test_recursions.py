"""Time series written as loops in Python: the log joint is right, and the long graph of small steps becomes C."""

import numpy as np
import pytest
import recursions
import torch
from recursions import DENSITIES, MODELS, series

import bnn_zoo as bz
from bnn_zoo.backends._compiling import MOST, pays
from bnn_zoo.density import compiled

slow = pytest.mark.slow


def joint(model, steps, dtype=torch.float64, **settings):
    log_joint = bz.LogJoint(model, (series(steps).to(dtype),), **settings)
    at = torch.arange(2.0 * log_joint.dim, dtype=dtype).reshape(2, -1)
    return log_joint, 0.4 * torch.sin(1.0 + at)


def complex_step(density, u, y):
    """Value and gradient of a function of complex numbers, to rounding."""
    value, step = density(u, y), 1e-30
    shifted = (density(u + 1j * step * row, y) for row in np.eye(len(u)))
    return value, np.array([x.imag / step for x in shifted])


@pytest.fixture
def c_only(monkeypatch):
    monkeypatch.setattr(compiled, "compile_graph", lambda *_: pytest.fail("an operation is in no table"))


@pytest.mark.parametrize("model", [pytest.param(m, marks=() if m is recursions.arma else slow) for m in DENSITIES])
def test_against_numpy(model, c_only):
    log_joint, position = joint(model, 18, compile=True)
    log_joint.anew(10_000)
    value, gradient = log_joint(position)
    assert log_joint.compiled
    for u, v, g in zip(position.numpy(), value, gradient.numpy(), strict=True):
        wanted, slope = complex_step(DENSITIES[model], u, series(18).numpy())
        assert abs(v - wanted) < 1e-10 * abs(wanted)
        np.testing.assert_allclose(g, slope, rtol=1e-10, atol=1e-10 * abs(slope).max())


@slow
@pytest.mark.parametrize("model", MODELS)
def test_against_the_model_itself(model, c_only):
    """In C, in both dtypes, against the plain model by autograd."""
    for dtype, rtol in ((torch.float64, 1e-9), (torch.float32, 2e-3)):
        log_joint, position = joint(model, 40, dtype, compile=True)
        log_joint.anew(10_000)
        value, gradient = log_joint(position)
        assert log_joint.compiled
        wanted, slope, _ = log_joint.plain(position, *log_joint.tensors)
        torch.testing.assert_close(value.to(wanted), wanted, rtol=rtol / 100, atol=0.0)
        torch.testing.assert_close(gradient.to(slope), slope, rtol=rtol, atol=rtol * float(slope.abs().max()))


def test_long_graphs_are_compiled_to_c_or_not_at_all(monkeypatch):
    """``torch.compile`` would take many minutes over a graph of so many operations."""
    log_joint, _ = joint(recursions.arma, 30)
    assert pays(log_joint, 4, 1_000_000)
    monkeypatch.setattr("bnn_zoo.backends._compiling.becomes_c", lambda *_: False)
    assert pays(log_joint, 4, 1_000_000)
    monkeypatch.setattr("bnn_zoo.backends._compiling.MOST", 100)
    assert MOST > 1_000 and not pays(log_joint, 4, 1_000_000)


@slow
def test_nuts_on_200_steps():
    """The loop of 200 steps by default settings recovers what made the series."""
    posterior = bz.fit(recursions.arma, (recursions.series(200),), bz.NUTS(warmup=300, draws=500), seed=0, progress=False)
    assert posterior.draws.attrs["compiled"] and posterior.summary()["max_rhat"].max() < 1.02
