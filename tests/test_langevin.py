"""The Langevin family: each sampler against the stationary law of its own recursion, then against NUTS on a network."""

import math

import numpy as np
import pytest
import scipy.linalg
import torch
from pyro import poutine
from targets import orthogonal_design, regression, regression_posterior
from test_backends import run

import bnn_zoo as bz
from bnn_zoo import kernels
from bnn_zoo._random import OneStream
from bnn_zoo.kernels.langevin import Heat
from bnn_zoo.schedules import cyclical, exploring

CHAINS = 4_000


def gaussian(precision):
    """∇log p of N(0, 1/precision)."""
    return lambda q: (-0.5 * (precision * q.square()).sum(1), -precision * q)


def advance(kernel, log_joint, steps, step_size, temperature=1.0, dim=2, dtype=torch.float64, noise=0.0, chains=CHAINS):
    """Positions ``[chain, dim]`` after so many steps from 0; ``noise`` is the sd added to gradients, as minibatches do."""
    generator = torch.Generator().manual_seed(0)

    def noisy(q):
        value, gradient = log_joint(q)
        return value, gradient + noise * torch.randn(q.shape, generator=generator, dtype=dtype)

    start = torch.zeros(chains, dim, dtype=dtype)
    random = OneStream(generator, like=start)
    state = kernel.init(start, noisy, random)
    for _ in range(steps):
        state, info = kernel.step(noisy, state, Heat(step_size, temperature), random)
    return state, info


def recursion(precision, step_size, friction, temperature=1.0, noise=0.0):
    """Stationary covariance of (q, v) under v ← (1−a)v − lλq + √(2alT)ξ + l·noise·η, q ← q + v, with l = ε/2."""
    l, a = 0.5 * step_size, friction
    A = np.array([[1 - l * precision, 1 - a], [-l * precision, 1 - a]])
    return scipy.linalg.solve_discrete_lyapunov(A, np.full((2, 2), 2 * a * l * temperature + (l * noise) ** 2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("friction", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("temperature", [1.0, 0.2])
def test_sghmc_has_the_law_of_its_recursion(friction, temperature, dtype):
    precision, step = 3.0, 0.3
    kernel = kernels.SGHMC(friction)
    state, _ = advance(kernel, gaussian(precision), 400, step, temperature, dtype=dtype)
    covariance = recursion(precision, step, friction, temperature)
    seen = np.cov(state.position.flatten().double().numpy(), state.velocity.flatten().double().numpy())
    error = math.sqrt(2 / (2 * CHAINS))
    assert abs(seen[0, 0] / covariance[0, 0] - 1) < 4 * error
    assert abs(seen[1, 1] / covariance[1, 1] - 1) < 4 * error


def test_friction_one_is_sgld():
    log_joint = gaussian(2.0)
    a = advance(kernels.SGHMC(1.0), log_joint, 20, 0.1)[0].position
    b = advance(kernels.SGLD(), log_joint, 20, 0.1)[0].position
    torch.testing.assert_close(a, b)


@pytest.mark.parametrize("kernel", [kernels.SGLD(), kernels.SGHMC(0.2), kernels.SGNHT(0.2), kernels.PSGLD()])
def test_temperature_zero_is_gradient_ascent(kernel):
    """No noise, the maximum is found; and SGLD is SGD step by step, with learning rate ε/2."""
    state, _ = advance(kernel, gaussian(2.0), 300, 0.1, temperature=0.0)
    assert state.position.abs().max() < 1e-6
    start = torch.tensor([[1.0, -2.0]], dtype=torch.float64)
    random = OneStream(torch.Generator(), like=start)
    state = kernel.init(start, gaussian(2.0), random)
    mine = torch.nn.Parameter(start.clone())
    momentum = 0.8 if isinstance(kernel, kernels.SGHMC) else 0.0
    sgd = torch.optim.SGD([mine], lr=0.05, momentum=momentum)
    if isinstance(kernel, kernels.SGLD | kernels.SGHMC):
        for _ in range(20):
            sgd.zero_grad()
            mine.square().sum().backward()
            sgd.step()
            state, _ = kernel.step(gaussian(2.0), state, Heat(0.1, 0.0), random)
        torch.testing.assert_close(state.position, mine.detach())


def test_bias_falls_with_the_step_size():
    """SGLD on N(0, 1/λ): variance ``1/(λ (1 − ελ/4))``, so that halving ε halves the bias."""
    bias = {}
    for step in (0.4, 0.2, 0.1):
        state, _ = advance(kernels.SGLD(), gaussian(2.0), 120, step, dim=20)
        bias[step] = float(state.position.square().mean()) / 0.5 - 1
        assert abs(bias[step] - (1 / (1 - step * 2 / 4) - 1)) < 4 * math.sqrt(2 / (20 * CHAINS))
    assert bias[0.4] > 1.7 * bias[0.2] > 2.8 * bias[0.1] > 0


def test_sgnht_cools_the_noise_of_the_minibatches():
    """Gradient noise of sd 4 heats SGLD and SGHMC by what the recursion says; the thermostat takes it away unasked."""
    precision, step, noise = 1.0, 0.05, 4.0
    hot = recursion(precision, step, 0.1, noise=noise)[0, 0]
    assert hot > 2.5
    state, info = advance(kernels.SGHMC(0.1), gaussian(precision), 600, step, noise=noise)
    assert abs(float(state.position.var()) / hot - 1) < 4 * math.sqrt(2 / (2 * CHAINS))
    thermostat = kernels.SGNHT(0.1, coupling=0.02)
    state, info = advance(thermostat, gaussian(precision), 1500, step, dim=20, noise=noise, chains=400)
    assert abs(float(state.position.var()) - 1.0) < 0.06
    assert abs(float(info.kinetic_temperature.mean()) - 1.0) < 0.03
    assert float(state.friction.mean()) > 0.3  # of which 0.1 answers to the noise that was added on purpose


@pytest.mark.parametrize("temperature", [0.1, pytest.param(1.0, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kernel", [kernels.SGLD(), kernels.SGHMC(0.1), kernels.SGNHT(0.1)])
def test_temperatures_are_those_asked_for(kernel, temperature):
    _, info = advance(kernel, gaussian(1.0), 400, 0.04, temperature, dim=10)
    assert abs(float(info.configurational_temperature().mean()) / temperature - 1) < 0.05
    if info.kinetic_temperature is not None:
        assert abs(float(info.kinetic_temperature.mean()) / temperature - 1) < 0.05


def test_psgld_keeps_the_law_where_its_preconditioner_is_constant():
    """Scales of 1e-2 and 1e2 on |q|-like tails have gradients of constant size: G is constant, and Γ = 0."""
    precision = torch.tensor([1e4, 1e-4], dtype=torch.float64)
    kernel = kernels.PSGLD(decay=0.9999)
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(CHAINS, 2, generator=generator, dtype=torch.float64) / precision.sqrt()
    square = (precision).expand(CHAINS, 2).clone()  # E[g²] = λ
    state = kernels.sgld.PSGLDState(start, square, 1)
    random = OneStream(generator, like=start)
    for _ in range(300):
        state, _ = kernel.step(gaussian(precision), state, Heat(0.02, 1.0), random)
    variance = state.position.var(0) * precision
    G = 1 / (1e-5 + precision.sqrt())
    expected = 1 / (1 - 0.02 * G * precision / 4)
    # V follows the gradients a little (α = 0.9999), for which 3 % are left besides the Monte Carlo error
    assert (variance / expected - 1).abs().max() < 4 * math.sqrt(2 / CHAINS) + 0.03, variance / expected


def test_scale_adaptation_learns_the_size_of_gradients_and_then_stays():
    scale = torch.tensor([1e-3, 1.0, 1e3], dtype=torch.float64)
    log_joint, generator = gaussian(torch.zeros(3).double()), torch.Generator().manual_seed(0)

    def noisy(q):
        return log_joint(q)[0], scale * torch.randn(q.shape, generator=generator, dtype=q.dtype)

    burning, sampling = kernels.SGHMC(0.1, 1.0, True, True), kernels.SGHMC(0.1, 1.0, True, False)
    start = torch.zeros(200, 3).double()
    random, heat = OneStream(generator, like=start), Heat(1e-4, 1.0)
    state = burning.init(start, noisy, random)
    for _ in range(2000):
        state, _ = burning.step(noisy, state, heat, random)
    assert (state.square.sqrt().log().mean(0) - scale.log()).abs().max() < 0.3
    after, _ = sampling.step(noisy, state, heat, random)
    assert torch.equal(after.square, state.square)


# ---------------------------------------------------------------------------------------------- minibatches and models


def test_minibatch_gradients_average_to_the_full_one():
    """Over a partition of the rows: prior once a batch, likelihood times N/n. A mean loss or a missing prior fails this."""
    x, y = orthogonal_design(48)
    full = bz.LogJoint(regression, (x, y))
    q = torch.randn(1, full.dim, generator=torch.Generator().manual_seed(0)).double()
    value, gradient = full(q)
    parts = [bz.LogJoint(regression, (x[i::4], y[i::4]), {"size": 48})(q) for i in range(4)]
    torch.testing.assert_close(sum(p[1] for p in parts) / 4, gradient)
    torch.testing.assert_close(sum(p[0] for p in parts) / 4, value)
    mean_loss = sum(bz.LogJoint(poutine.scale(regression, 1 / 48), (x[i::4], y[i::4]), {"size": 48})(q)[1] for i in range(4))
    assert (mean_loss / 4 / gradient - 1).abs().min() > 0.9
    no_prior = torch.func.grad(lambda w: -0.5 * ((y - x @ w) ** 2).sum() / 0.25)(q[0])
    assert (no_prior - gradient[0]).abs().max() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SGHMC", "SGNHT", "PSGLD"])
def test_minibatches_reach_the_posterior(name):
    x, y = orthogonal_design(rows=256, columns=2)
    mean, covariance = regression_posterior(x, y)
    settings = {"chains": 24, "steps": 5_000, "warmup": 2000, "thinning": 20, "batch_size": 64}
    backend = {
        "SGHMC": bz.SGHMC(**settings, step_size=2e-6, friction=0.2),
        "SGNHT": bz.SGNHT(**settings, step_size=2e-6, friction=0.2, coupling=0.05),
        "PSGLD": bz.PSGLD(**settings, step_size=1.2e-5, decay=0.999, init=bz.density.Adam(200)),
    }[name]
    draws = run(backend, regression, (x, y)).sites["w"]
    assert ((draws.mean((0, 1)) - mean) / covariance.diagonal().sqrt()).abs().max() < 0.25
    assert (draws.std((0, 1)) / covariance.diagonal().sqrt() - 1).abs().max() < 0.12


def test_heat_from_minibatches_is_warned_about():
    x, y = orthogonal_design(rows=256, columns=2)
    hot = bz.SGLD(chains=24, steps=2000, thinning=5, step_size=4e-4, batch_size=8)
    with pytest.warns(UserWarning, match=r"configurational temperature of the draws is .* smaller step_size or larger"):
        bz.fit(regression, (x, y), hot, progress=False)


@pytest.mark.parametrize("cls", [bz.SGLD, bz.PSGLD, bz.SGHMC, bz.SGNHT])
def test_cyclical_keeps_draws_of_the_sampling_stage_only(cls):
    x, y = orthogonal_design(16)
    backend = cls(
        chains=2,
        steps=80,
        warmup=0,
        thinning=5,
        step_size=cyclical(1e-4, cycles=4),
        temperature=exploring(cycles=4, share=0.5),
    )
    stats = run(backend, regression, (x, y)).stats
    assert stats["temperature"].shape == (2, 8) and (stats["temperature"] == 1).all()
    assert stats["step_size"].max() < 0.5e-4


def test_cyclical_schedules():
    steps = cyclical(1.0, cycles=4, steps=102)  # cycles of 26
    assert steps(0) == 1.0 and steps(26) == 1.0 and abs(steps(13) - 0.5) < 1e-12 and 0 < steps(25) < 0.02
    heat = exploring(cycles=2, share=0.25, temperature=0.5, steps=8)
    assert [heat(i) for i in range(8)] == [0, 0.5, 0.5, 0.5] * 2
    assert bz.schedules.as_schedule(cyclical(1.0), 10).steps == 10
    with pytest.raises(ValueError, match="needs its number of steps"):
        cyclical(1.0)(3)


BAD = {
    "friction": (lambda: bz.SGHMC(friction=1.5), r"SGHMC: friction must be between 0"),
    "no friction": (lambda: bz.SGNHT(friction=0.0), r"SGNHT: friction must be between 0"),
    "decay": (lambda: bz.PSGLD(decay=1.0), r"PSGLD: decay must be between 0"),
    "coupling": (lambda: bz.SGNHT(coupling=-1.0), r"SGNHT: coupling must be between"),
    "temperature": (lambda: bz.SGHMC(temperature=-1.0), r"SGHMC: temperature must be at least 0"),
    "warmup": (lambda: bz.SGHMC(steps=10, warmup=10), r"SGHMC: warmup=10 leaves no draw"),
    "thinning": (lambda: bz.PSGLD(steps=10, warmup=5, thinning=6), r"PSGLD: thinning=6 leaves no draw of the 5 steps"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_settings_say_what_to_do(name):
    make, match = BAD[name]
    with pytest.raises(ValueError, match=match):
        make()


@pytest.fixture(scope="module")
def network():
    """A tanh network, its data, five inputs, and what NUTS says there."""
    generator = torch.Generator().manual_seed(0)
    x = torch.linspace(-2, 2, 40, dtype=torch.float64)[:, None]
    y = torch.sin(2 * x[:, 0]) + 0.3 * torch.randn(40, generator=generator, dtype=torch.float64)
    model = bz.BNN(bz.nets.MLP(1, 1, hidden=(8,)), bz.priors.Normal(1.0), bz.likelihoods.Gaussian(0.3))
    test = torch.linspace(-1.8, 1.8, 5, dtype=torch.float64)[:, None]
    nuts = bz.NUTS(chains=4, warmup=300, draws=300, max_tree_depth=6, init=bz.density.Adam(500), compile=True, processes=1)
    return model, (x, y), test, bz.fit(model, (x, y), nuts, progress=False).predict(test)


@pytest.mark.filterwarnings("ignore:.*configurational temperature")  # directions that only the prior holds move slowly
@pytest.mark.slow
@pytest.mark.parametrize("backend", ["SGHMC", "SGLD", "SGNHT", "PSGLD"])
def test_agrees_with_nuts_on_a_small_network(backend, network):
    """Function values at five inputs: means within a third of a posterior sd, sds within a third."""
    model, data, test, nuts = network
    settings = {"chains": 8, "steps": 8_000, "warmup": 3_000, "thinning": 20}
    sampler = {
        "SGLD": bz.SGLD(**settings, step_size=5e-4),
        "SGHMC": bz.SGHMC(**settings, step_size=2e-4, friction=0.2),
        "SGNHT": bz.SGNHT(**settings, step_size=2e-4, friction=0.2),
        "PSGLD": bz.PSGLD(**settings, step_size=2e-4),
    }[backend]
    mine = bz.fit(model, data, sampler, progress=False).predict(test)
    assert ((mine.mean - nuts.mean) / nuts.epistemic).abs().max() < 0.34
    assert (mine.epistemic / nuts.epistemic).log().abs().max() < 0.3
