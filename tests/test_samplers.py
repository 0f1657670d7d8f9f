"""AdjustedMCLMC, ChEES, MCLMC and RandomWalk: the kernels' algebra, their laws, their tuning, their settings."""

import math
from dataclasses import replace

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from targets import correlated_design, gamma_rate, orthogonal_design, regression, regression_posterior

import bnn_zoo as bz
from bnn_zoo import kernels
from bnn_zoo._random import OneStream
from bnn_zoo.diagnostics import ess_bulk, ess_mean
from bnn_zoo.kernels import LEAPFROG, MCLACHLAN
from bnn_zoo.kernels.chees import Flight, Lockstep, TrajectoryLength, van_der_corput
from bnn_zoo.kernels.energy_variance import EnergyVariance
from bnn_zoo.kernels.hmc import Dynamics
from bnn_zoo.kernels.isokinetic import trajectory, turn, unit
from bnn_zoo.kernels.mclmc import MCLMCState, Microcanonical
from bnn_zoo.kernels.window_adaptation import WindowAdaptation
from bnn_zoo.run.loop import Run

SAMPLERS = {
    "AdjustedMCLMC": bz.AdjustedMCLMC(chains=16, warmup=80, draws=40),
    "ChEES": bz.ChEES(chains=16, warmup=150, draws=150),
    "RandomWalk": bz.RandomWalk(chains=16, warmup=300, draws=60, thinning=8),
    "MCLMC": bz.MCLMC(chains=16, warmup=350, draws=60, thinning=4),
}
QUICK = {
    "AdjustedMCLMC": bz.AdjustedMCLMC(chains=2, warmup=10, draws=6, max_steps=3),
    "ChEES": bz.ChEES(chains=2, warmup=10, draws=6, max_leapfrogs=16),
    "RandomWalk": bz.RandomWalk(chains=2, warmup=10, draws=6, thinning=2),
    "MCLMC": bz.MCLMC(chains=2, warmup=10, draws=6, thinning=2),
}
HAMILTONIAN = {"lp", "energy", "energy_error", "diverging", "n_steps", "step_size", "acceptance_rate"}
STATS = dict.fromkeys(QUICK, HAMILTONIAN) | {"MCLMC": {"lp", "energy_error", "diverging", "step_size", "length"}}
BIAS = {"MCLMC": 0.05}
"""Of a sampler without an accept step: in standard deviations, at the default energy variance."""


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(shape, generator=seeded(seed), dtype=torch.float64)


def run(backend, model, data=(), seed=0):
    return backend.run(model, data, seed=seed, progress=False)


def has_law(draws, mean, sd, bias=0.0, errors=4.0):
    """Sample means and sds within ``errors`` Monte Carlo standard errors, plus ``bias`` sds, of the truth."""
    x = draws.double()
    off = (x.mean((0, 1)) - mean).abs() / sd
    assert (off <= errors / ess_mean(x).sqrt() + bias).all(), off
    off = (x.std((0, 1)) / sd - 1).abs()
    assert (off <= errors / (2 * ess_bulk((x - mean) ** 2)).sqrt() + bias).all(), off


# ---------------------------------------------------------------------------------------------------- isokinetic dynamics


def rugged(x):
    """A log density that is not Gaussian, and its gradient."""
    with torch.enable_grad():
        z = x.detach().requires_grad_()
        scales = torch.linspace(0.5, 2.0, x.shape[-1], dtype=x.dtype)
        value = -(z / scales).cosh().log().sum(-1) - 0.1 * (z[:, 0] * z[:, 1]) ** 2
        (gradient,) = torch.autograd.grad(value.sum(), z)
    return value.detach(), gradient


@pytest.mark.parametrize("dim", [2, 5])
def test_turn_is_the_flow_of_the_velocity(dim):
    """u' = (1 − u uᵀ) g / (d − 1), and K' = u·g, integrated by RK4 in 2,000 steps."""
    u, g, time = unit(normal(6, dim)), 3.0 * normal(6, dim, seed=1), 1.3

    def slope(v):
        along = (v * g).sum(-1, keepdim=True)
        return (g - v * along) / (dim - 1), along.squeeze(-1)

    new, kinetic = turn(u, g, torch.full((6, 1), time, dtype=torch.float64))
    v, work, h = u, torch.zeros(6, dtype=torch.float64), time / 2000
    for _ in range(2000):
        a, p = slope(v)
        b, q = slope(v + h / 2 * a)
        c, r = slope(v + h / 2 * b)
        d, s = slope(v + h * c)
        v, work = v + h / 6 * (a + 2 * b + 2 * c + d), work + h / 6 * (p + 2 * q + 2 * r + s)
    torch.testing.assert_close(new, v, rtol=0, atol=1e-9)
    torch.testing.assert_close(kinetic, work, rtol=0, atol=1e-9)
    torch.testing.assert_close(new.norm(dim=-1), torch.ones(6, dtype=torch.float64))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_turn_by_huge_and_by_no_gradients(dtype):
    """A huge gradient turns the velocity onto it at the price |g| ε; none leaves it."""
    u = unit(normal(2, 3).to(dtype))
    g = torch.tensor([[1e6, 0.0, 0.0], [0.0, 0.0, 0.0]], dtype=dtype)
    new, kinetic = turn(u, g, torch.ones(2, 1, dtype=dtype))
    torch.testing.assert_close(new, torch.stack([torch.tensor([1.0, 0.0, 0.0], dtype=dtype), u[1]]))
    torch.testing.assert_close(kinetic, torch.tensor([1e6, 0.0], dtype=dtype), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("coefficients", [LEAPFROG, MCLACHLAN], ids=["leapfrog", "McLachlan"])
def test_trajectory_is_reversible(coefficients):
    x, u, scale = normal(4, 3), unit(normal(4, 3, seed=1)), normal(4, 3, seed=2).exp()
    step = torch.full((4, 1), 0.4, dtype=torch.float64)
    point, total = (x, u, *rugged(x)), 0.0
    for way in range(2):
        for _ in range(10):
            point, error = trajectory(rugged, scale, step, point, coefficients)
            total = total + error
        if way == 0:
            assert (point[0] - x).norm(dim=-1).min() > 0.5 and total.abs().min() > 1e-6
            point = (point[0], -point[1], *point[2:])
    torch.testing.assert_close(point[0], x, rtol=0, atol=1e-9)
    torch.testing.assert_close(point[1], -u, rtol=0, atol=1e-9)
    torch.testing.assert_close(total, torch.zeros_like(total), rtol=0, atol=1e-9)


@pytest.mark.parametrize("coefficients", [LEAPFROG, MCLACHLAN], ids=["leapfrog", "McLachlan"])
def test_energy_error_is_of_third_order(coefficients):
    x, u = normal(400, 3), unit(normal(400, 3, seed=1))

    def error(step):
        size = torch.full((400, 1), step, dtype=torch.float64)
        return trajectory(rugged, torch.ones_like(x), size, (x, u, *rugged(x)), coefficients)[1].abs().mean()

    assert error(0.02) > 1e-9
    assert 7.5 < float(error(0.02) / error(0.01)) < 8.5


def test_leapfrog_costs_one_gradient_and_mclachlan_two_for_a_smaller_error():
    assert (len(LEAPFROG) // 2, len(MCLACHLAN) // 2) == (1, 2)
    assert abs(sum(MCLACHLAN[::2]) - 1) < 1e-12 and abs(sum(MCLACHLAN[1::2]) - 1) < 1e-12
    x, u, ends = normal(400, 3), unit(normal(400, 3, seed=1)), {}
    for coefficients, step, count in ((LEAPFROG, 0.1, 2), (MCLACHLAN, 0.2, 1)):
        point, total = (x, u, *rugged(x)), torch.zeros(400, dtype=torch.float64)
        for _ in range(count):
            point, error = trajectory(
                rugged, torch.ones_like(x), torch.full((400, 1), step, dtype=torch.float64), point, coefficients
            )
            total = total + error
        ends[coefficients] = total.abs().mean()
    assert ends[MCLACHLAN] < 0.6 * ends[LEAPFROG]


# ---------------------------------------------------------------------------------------------------- invariance

MIX = torch.tensor([[1.0, 0.0, 0.0], [0.8, 0.4, 0.0], [-0.5, 0.2, 3.0]], dtype=torch.float64)


def mixed_logistics(x):
    """Log density and gradient of ``MIX z`` with independent logistic z: heavier tails than a Gaussian, correlated."""
    inverse = torch.linalg.inv(MIX)
    z = x @ inverse.T
    return -(z + 2 * torch.nn.functional.softplus(-z)).sum(-1), -torch.tanh(z / 2) @ inverse


def transitions(name, state, metric, count=4):
    """``count`` transitions with steps so large that many are rejected."""
    random, chains = OneStream(seeded(3), like=state.position), len(state.position)
    steps = {"HMC": 0.4, "NUTS": 0.45, "AdjustedMCLMC": 0.55, "ChEES": 0.4, "RandomWalk": 0.6}
    step = torch.full((chains,), steps[name], dtype=torch.float64)
    kernel = kernels.NUTS(max_tree_depth=3) if name == "NUTS" else getattr(kernels, name)()
    rates = []
    parameters = Lockstep(metric, step, 2.5) if name == "ChEES" else Dynamics(metric, step)
    for _ in range(count):
        state, info = kernel.step(mixed_logistics, state, parameters, random)
        rates.append(info.acceptance_rate.mean())
    return state, torch.stack(rates).mean()


@pytest.mark.parametrize("name", ["HMC", "NUTS", "AdjustedMCLMC", "ChEES", "RandomWalk"])
def test_exact_kernels_leave_the_law_as_it_is(name):
    """From 20,000 exact draws, with a metric that does not fit and large steps, the draws after are exact too."""
    chains = 20_000
    share = torch.rand(chains, 3, generator=seeded(1), dtype=torch.float64).clamp(1e-12, 1 - 1e-12)
    position = torch.logit(share) @ MIX.T
    start = getattr(kernels, name).init(position, mixed_logistics, OneStream(seeded(), like=position))
    metric = kernels.Diagonal(torch.tensor([2.0, 2.0, 20.0], dtype=torch.float64).expand(chains, 3))
    state, rate = transitions(name, start, metric)
    assert (0.2 if name == "RandomWalk" else 0.4) < rate < 0.9
    assert (state.position != position).any(-1).double().mean() > 0.6
    value, gradient = mixed_logistics(state.position)
    torch.testing.assert_close((value, gradient), (state.log_joint, state.gradient))
    z = state.position @ torch.linalg.inv(MIX).T
    uniforms = torch.sigmoid(z)
    bins = (uniforms * 20).long().clamp(max=19)
    for column in bins.T:  # χ² with 19 degrees of freedom: 43.8 is its 0.999 quantile
        seen = torch.bincount(column, minlength=20)
        assert ((seen - chains / 20) ** 2 / (chains / 20)).sum() < 43.8
    assert (torch.corrcoef(z.T) - torch.eye(3)).abs().max() < 4 / math.sqrt(chains)


def test_mclmc_takes_back_steps_that_leave_the_finite_numbers():
    """Where the density ends the chain stays, turns round and says so; the others go on."""

    def half(x):
        inside = x[:, 0] > 0
        return torch.where(inside, -0.5 * x.square().sum(-1), torch.nan), -x

    x = torch.tensor([[0.01, 0.0], [3.0, 0.0]], dtype=torch.float64)
    u = torch.tensor([[-1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    state = MCLMCState(x, u, *half(x))
    one = torch.ones(2, dtype=torch.float64)
    parameters = Microcanonical(torch.ones_like(x), 0.5 * one, 1e8 * one)
    new, info = kernels.MCLMC().step(half, state, parameters, OneStream(seeded(), like=x))
    assert info.diverging.tolist() == [True, False] and info.energy_error.isinf().tolist() == [True, False]
    torch.testing.assert_close((new.position[0], new.velocity[0]), (x[0], -u[0]), rtol=0, atol=1e-3)
    assert (new.position[1] != x[1]).any() and new.log_joint.isfinite().all()


def test_mclmc_takes_back_steps_with_a_huge_energy_error():
    """From the peak of a density a thousand times narrower than the step: stays, rather than being thrown far away."""

    def sharp(x):
        return -0.5e6 * x.square().sum(-1), -1e6 * x

    x = torch.full((1, 10), 1e-3, dtype=torch.float64)
    random, one = OneStream(seeded(), like=x), x.new_ones(1)
    state = kernels.MCLMC().init(x, sharp, random)
    new, info = kernels.MCLMC().step(sharp, state, Microcanonical(torch.ones_like(x), one, 5 * one), random)
    assert info.diverging.tolist() == [True] and info.energy_error.isinf().all()
    torch.testing.assert_close(new.position, x, rtol=0, atol=0)
    step = 1e-4 * one
    new, info = kernels.MCLMC().step(sharp, state, Microcanonical(torch.ones_like(x), step, 5 * step), random)
    assert not info.diverging.any() and (new.position != x).all()


def test_mclmc_goes_on_with_smaller_steps_after_one_was_taken_back():
    """A wall at 0 of a posterior whose tuned step was overruled: half the step after each loss, then back to the whole."""

    def model():
        pyro.sample("x", dist.Normal(torch.zeros(10, dtype=torch.float64), 1e-3).to_event(1))

    backend = bz.MCLMC(chains=1, warmup=0, draws=60, thinning=1, step_size=1.0, length=1e3)
    with pytest.warns(UserWarning, match="taken back"):
        stats = bz.fit(model, (), backend, progress=False).draws.stats
    lost, step = stats["diverging"][0], stats["step_size"][0]
    assert lost[0] and step[0] == 1.0
    halved = (step[1:] / step[:-1])[lost[:-1]]
    torch.testing.assert_close(halved, torch.full_like(halved, 0.5))
    assert (step[1:] > step[:-1])[~lost[:-1]].all() and not lost.all()


# ---------------------------------------------------------------------------------------------------- known posteriors


@pytest.mark.parametrize(
    "dtype", [torch.float32, pytest.param(torch.float64, marks=pytest.mark.slow)], ids=["float32", "float64"]
)
@pytest.mark.parametrize("name", SAMPLERS)
def test_orthogonal_design(name, dtype):
    x, y = orthogonal_design(dtype=dtype)
    mean, covariance = regression_posterior(x.double(), y.double())
    draws = run(SAMPLERS[name], regression, (x, y)).sites["w"]
    assert draws.dtype == dtype
    has_law(draws, mean, covariance.diagonal().sqrt(), BIAS.get(name, 0.0))


@pytest.mark.parametrize("name", [n if n == "ChEES" else pytest.param(n, marks=pytest.mark.slow) for n in SAMPLERS])
def test_correlated_design(name):
    x, y = correlated_design(columns=3)
    mean, covariance = regression_posterior(x, y)
    backend = SAMPLERS[name]
    if name == "RandomWalk":
        backend = replace(backend, mass_matrix=bz.DenseMass())
    draws = run(backend, regression, (x, y)).sites["w"]
    has_law(draws, mean, covariance.diagonal().sqrt(), BIAS.get(name, 0.0))
    seen = torch.cov(draws.flatten(0, 1).T)
    assert ((seen - covariance) / covariance.diagonal().max()).abs().max() < 0.25


def ill_scaled(y):
    """Scales from 0.1 to 10."""
    normals(torch.tensor([0.1, 1.0, 10.0], dtype=y.dtype))
    pyro.sample("seen", dist.Normal(torch.zeros_like(y), 1.0).to_event(1), obs=y)  # data for the dtype: a constant


def normals(scales):
    pyro.sample("w", dist.Normal(torch.zeros_like(scales), scales).to_event(1))


@pytest.mark.parametrize("mass", [bz.DiagonalMass(), bz.DiagonalMass(pooled=False)], ids=["pooled", "one a chain"])
def test_adjusted_mclmc_on_an_ill_scaled_gaussian(mass):
    backend = replace(SAMPLERS["AdjustedMCLMC"], warmup=100, mass_matrix=mass, max_steps=24)
    draws = run(backend, ill_scaled, (torch.zeros(1, dtype=torch.float64),)).sites["w"]
    scales = torch.tensor([0.1, 1.0, 10.0], dtype=torch.float64)
    has_law(draws, torch.zeros(3, dtype=torch.float64), scales)


def rate_and_normals(y):
    gamma_rate(y)
    normals(torch.ones(3, dtype=y.dtype))


@pytest.mark.parametrize("name", SAMPLERS)
def test_positive_support(name):
    """A gamma posterior; for the isokinetic samplers, which need two dimensions, beside three independent normals."""
    y = torch.linspace(0.1, 2.0, 20).double()
    truth = dist.Gamma(2.0 + len(y), 1.0 + y.sum())
    model = rate_and_normals if "MCLMC" in name else gamma_rate
    draws = run(SAMPLERS[name], model, (y,)).sites["rate"]
    assert (draws > 0).all()
    has_law(draws, truth.mean, truth.variance.sqrt(), BIAS.get(name, 0.0))


@pytest.mark.parametrize(
    "name", ["HMC", "MCLMC", *(pytest.param(n, marks=pytest.mark.slow) for n in ("NUTS", *SAMPLERS) if n != "MCLMC")]
)
def test_temperature_scales_the_variance(name):
    """A posterior to the power 1/T, by ``poutine.scale``: a Gaussian of T times the covariance."""
    backend = SAMPLERS.get(name) or getattr(bz, name)(chains=16, warmup=100, draws=50)
    x, y = orthogonal_design()
    mean, covariance = regression_posterior(x, y)
    draws = run(backend, poutine.scale(regression, scale=0.25), (x, y)).sites["w"]
    has_law(draws, mean, (4.0 * covariance.diagonal()).sqrt(), BIAS.get(name, 0.0))


@pytest.mark.slow
def test_smaller_energy_variance_means_less_bias():
    """The tuned step follows the sixth root of the wanted variance, and the variance comes out as wanted."""
    x, y = orthogonal_design()
    steps = {}
    for wanted in (5e-3, 5e-5):
        stats = run(replace(SAMPLERS["MCLMC"], chains=32, draws=30, energy_variance=wanted), regression, (x, y)).stats
        seen = stats["energy_error"].square().mean() / x.shape[1]
        assert 0.3 * wanted < seen < 3.0 * wanted
        steps[wanted] = float(stats["step_size"].mean())
    assert 1.5 < steps[5e-3] / steps[5e-5] < 3.1  # 100^(1/6) = 2.15


# ---------------------------------------------------------------------------------------------------- tuning


def test_van_der_corput():
    assert [van_der_corput(i) for i in range(1, 8)] == [1 / 2, 1 / 4, 3 / 4, 1 / 8, 5 / 8, 3 / 8, 7 / 8]
    points = sorted(van_der_corput(i) for i in range(1, 1024))
    assert points == [i / 1024 for i in range(1, 1024)]


def test_trajectory_length_climbs_the_expected_squared_jump():
    """Its gradient by log T is the derivative of ¼ E[(|q'(ut)|² − |q|²)²]: exact flow of a Gaussian, finite differences."""
    half = normal(250, 3), normal(250, 3, seed=1)
    q, p = (torch.cat([t, -t]) for t in half)  # whose means stay at zero, as the formula takes them to
    variance = torch.tensor([1.0, 4.0, 0.25], dtype=torch.float64)
    metric = kernels.Diagonal(variance.expand(500, 3))
    before = q * variance.sqrt()

    def flow(t):  # in coordinates of the metric; M^(1/2) p is standard normal
        return (math.cos(t) * q + math.sin(t) * p) * variance.sqrt(), (math.cos(t) * p - math.sin(t) * q) / variance.sqrt()

    def criterion(t):
        after = flow(t)[0]
        distance = lambda x: ((x - x.mean(0)).square() / variance).sum(-1)
        return float(0.25 * (distance(after) - distance(before)).square().mean())

    for t in (0.4, 1.0, 2.2):
        tuner = TrajectoryLength(log_length=0.0)
        tuner.update(before, Flight(*flow(t), t), torch.ones(500, dtype=torch.float64), metric)
        slope = (criterion(t * math.exp(1e-4)) - criterion(t * math.exp(-1e-4))) / 2e-4
        assert abs(tuner.mean / 0.1 - slope) < 1e-5 * abs(slope)
        assert (tuner.log_length > 0) == (slope > 0)


def test_trajectory_length_ignores_flights_that_ended_nowhere():
    q, p = normal(8, 2), normal(8, 2, seed=1)
    metric, rates = kernels.Diagonal(torch.ones(8, 2, dtype=torch.float64)), torch.ones(8, dtype=torch.float64)
    lost = q + 0.3 * p
    lost[0] = torch.nan
    tuner = TrajectoryLength(0.0)
    tuner.update(q, Flight(lost, p, 0.3), rates, metric)
    assert math.isfinite(tuner.log_length) and tuner.log_length != 0


def test_trajectory_length_finds_the_best_of_an_isotropic_gaussian():
    """There E over u of sin²(uT) is largest where tan 2T = 2T: T = 2.25."""
    chains = 64
    metric = kernels.Diagonal(torch.ones(chains, 5, dtype=torch.float64))

    def gaussian(x):
        return -0.5 * x.square().sum(-1), -x

    start = normal(chains, 5)
    random = OneStream(seeded(), like=start)
    state = kernels.ChEES.init(start, gaussian, random)
    tuner = TrajectoryLength(math.log(0.3), log_average=math.log(0.3))
    step = torch.full((chains,), 0.3, dtype=torch.float64)
    for _ in range(300):
        before = state.position
        state, info = kernels.ChEES().step(gaussian, state, Lockstep(metric, step, math.exp(tuner.log_length)), random)
        tuner.update(before, info.flight, info.acceptance_rate, metric)
    assert 2.25 / 1.4 < math.exp(tuner.log_average) < 2.25 * 1.4


def test_trajectory_length_is_in_units_of_the_metric():
    """A posterior of sd 0.06: when the mass matrix is learnt the length grows with it, instead of beginning anew."""
    stats = run(replace(SAMPLERS["ChEES"], draws=40), regression, orthogonal_design()).stats
    assert 1.0 < (stats["n_steps"] * stats["step_size"]).max() < 5.0
    tuner = TrajectoryLength(0.5, log_average=0.25)
    tuner.rescale(1.0)
    assert (tuner.log_length, tuner.log_average) == (1.5, 1.25)


@pytest.mark.parametrize("start", [0.01, 30.0])
def test_energy_variance_finds_its_step(start):
    """ΔE = c ε³ ξ with ξ ~ N(0, d): E[ΔE²]/d is the target at ε = (target / c²)^(1/6)."""
    c, dim, target, generator = 0.2, 10, 5e-4, seeded()
    stepper = EnergyVariance(target, dim)
    stepper.restart(torch.tensor(start, dtype=torch.float64))
    logs = []
    for i in range(1500):
        noise = torch.randn(4, generator=generator, dtype=torch.float64) * dim**0.5
        stepper.update(c * stepper.step_size**3 * noise, torch.zeros(4, dtype=torch.bool))
        if i >= 500:
            logs.append(float(stepper.log_step))
    best = math.log(target / c**2) / 6
    assert abs(sum(logs) / len(logs) - best) < 0.1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_energy_variance_recovers_from_a_start_far_away(dtype):
    """Errors of 1e17 in the first steps, as of a deep network drawn from N(0, 1): in float32 their squares overflow."""
    target, dim = 5e-4, 900
    stepper = EnergyVariance(target, dim)
    stepper.restart(torch.tensor(0.5, dtype=dtype))
    fine = torch.zeros(2, dtype=torch.bool)
    for error in (1e17, 6e3, 1e9):
        stepper.update(torch.tensor([error, 7e16], dtype=dtype), fine)
        assert 0.0 < float(stepper.step_size) < 0.1
    stepper.restart(stepper.step_size)  # as at the end of a window
    for _ in range(500):
        stepper.update(0.2 * stepper.step_size**3 * dim**0.5 * torch.ones(2, dtype=dtype), fine)
    assert abs(float(stepper.log_step) - math.log(target / 0.2**2) / 6) < 0.2


def test_energy_variance_halves_where_a_step_was_taken_back():
    stepper = EnergyVariance(5e-4, 10)
    stepper.restart(torch.tensor(1.0, dtype=torch.float64))
    usual = torch.full((2,), 0.07, dtype=torch.float64)  # of ΔE² / d ≈ the target
    one, none = torch.tensor([True, False]), torch.tensor([False, False])
    for _ in range(200):
        stepper.update(usual, none)
    before = float(stepper.step_size)
    stepper.update(torch.tensor([torch.inf, 0.07], dtype=torch.float64), one)
    assert abs(float(stepper.step_size) - 0.5 * before) < 1e-6  # whatever the 200 steps said
    stepper.update(0.5 * usual, none)
    assert float(stepper.step_size) < 0.7 * before  # a calm step does not undo it
    for _ in range(500):
        stepper.update(0.07 * (stepper.step_size / before) ** 3 * torch.ones_like(usual), none)
    assert abs(float(stepper.step_size) / before - 1) < 0.05  # many do
    stepper.restart(torch.tensor(1.0, dtype=torch.float64))
    for i in range(1, 20):
        stepper.update(torch.full((2,), torch.inf, dtype=torch.float64), ~none)
        assert abs(float(stepper.log_step) + i * math.log(2)) < 1e-4  # all are lost: down each time, and never NaN


@pytest.mark.parametrize("pooled", [True, False])
@pytest.mark.parametrize("count", [40, 300])
def test_low_rank_mass_finds_the_few_directions_that_matter(pooled, count):
    """A Gaussian of 60 dimensions, variances 1e-6 … 1e4, and two correlated directions. The condition of the whitened
    covariance: over 4,000 with the diagonal alone; below 12 from 80 draws and their gradients, below 200 from 40."""
    d, generator = 60, seeded()
    scale = torch.logspace(-3, 2, d, dtype=torch.float64)
    q = torch.linalg.qr(torch.randn(d, d, generator=generator, dtype=torch.float64))[0]
    spread = torch.ones(d, dtype=torch.float64)
    spread[0], spread[1] = 900.0, 1 / 400.0
    covariance = scale[:, None] * (q * spread) @ q.T * scale
    draws = torch.randn(count, 2, d, generator=generator, dtype=torch.float64) * spread.sqrt() @ q.T * scale

    def condition(mass):
        seen = mass.estimator()
        for x in draws:
            seen.update(x, -torch.linalg.solve(covariance, x.T).T)
        metric = mass.estimate(seen)
        applied = torch.stack([metric.velocity(e.expand(2, d))[0] for e in torch.eye(d, dtype=torch.float64)], 1)
        torch.testing.assert_close(applied, applied.T)
        eigenvalues = torch.linalg.eigvals(torch.linalg.solve(covariance, applied)).real
        return float(eigenvalues.max() / eigenvalues.min())

    enough = count * (2 if pooled else 1) > d
    assert condition(bz.LowRankFisherMass(pooled, rank=20)) < (12 if enough else 200)
    assert condition(bz.FisherMass(pooled)) > 4000


def test_low_rank_momenta_have_the_covariance_m():
    vectors = torch.linalg.qr(torch.tensor([[1.0, 2.0], [0.5, -1.0], [2.0, 0.3]], dtype=torch.float64))[0]
    scale, values = torch.tensor([0.5, 1.0, 3.0]).double(), torch.tensor([9.0, 0.2]).double()
    metric = kernels.LowRank(scale.expand(50_000, -1), vectors.expand(50_000, -1, -1), values.expand(50_000, -1))
    p = metric.sample(OneStream(seeded(), like=metric.scale))
    inverse = scale[:, None] * (torch.eye(3).double() + vectors * (values - 1) @ vectors.T) * scale
    torch.testing.assert_close(metric.velocity(p)[:5], p[:5] @ inverse)
    z = p * scale
    torch.testing.assert_close(
        z.T @ z / len(z), torch.eye(3).double() + vectors * (1 / values - 1) @ vectors.T, rtol=0, atol=0.1
    )


def test_low_rank_mass_keeps_no_more_draws_than_it_may():
    seen = bz.LowRankFisherMass(keep=10).estimator()
    for i in range(1000):
        seen.update(torch.full((1, 3), float(i)), torch.zeros(1, 3))
    kept = torch.stack(seen.draws)[:, 0, 0]
    assert len(kept) <= 10 and seen.count == 1000
    assert len(set((kept[1:] - kept[:-1]).tolist())) == 1 and kept[-1] > 800


@pytest.mark.parametrize("pooled", [True, False])
def test_fisher_mass_is_right_from_few_draws(pooled):
    """On a Gaussian of independent dimensions gradients are −x/σ², so that sd(x)/sd(gradient) is σ² whatever was drawn."""
    variance = torch.logspace(-6, 4, 20, dtype=torch.float64)
    draws = normal(5, 2, 20) * variance.sqrt()
    off = {}
    for mass in (bz.FisherMass(pooled), bz.DiagonalMass(pooled)):
        seen = mass.estimator()
        for x in draws:
            seen.update(x, -x / variance)
        metric = mass.estimate(seen)
        assert metric.variance.shape == (2, 20)
        off[type(mass)] = (metric.variance / variance).log().abs().mean()
    assert off[bz.FisherMass] < 1e-9
    assert off[bz.DiagonalMass] > 0.3


@pytest.mark.parametrize("pooled", [True, False])
def test_dense_fisher_mass_of_a_normal_law_is_its_covariance_wherever_the_draws_lie(pooled):
    """Gradients are −P (x − μ), so Σ cov(gradients) Σ = cov(x) has the solution P⁻¹ for any x that span the space: for draws
    of another covariance, far from μ and drifting. A covariance of the draws is that of the draws."""
    d, generator = 8, seeded()
    axes = torch.linalg.qr(torch.randn(d, d, generator=generator, dtype=torch.float64))[0]
    factor = axes * torch.logspace(-1, 1, d).double()
    covariance, mean = factor @ factor.T, torch.full((d,), 3.0, dtype=torch.float64)
    draws = normal(20, 2, d) + 0.5 * torch.arange(20.0).double()[:, None, None]

    def off(mass):
        seen = mass.estimator()
        for x in draws:
            seen.update(x, -torch.linalg.solve(covariance, (x - mean).T).T)
        metric = mass.estimate(seen)
        torch.testing.assert_close(metric.cholesky @ metric.cholesky.mT, metric.covariance)
        return (torch.linalg.eigvals(torch.linalg.solve(covariance, metric.covariance[1])).real.log().abs()).max()

    assert off(bz.DenseFisherMass(pooled)) < 0.1
    assert off(bz.DenseMass(pooled)) > 2.0


@pytest.mark.parametrize(
    "mass", [bz.DiagonalMass(), bz.FisherMass(), bz.DenseMass(), bz.DenseFisherMass(), bz.LowRankFisherMass()]
)
def test_early_windows_have_metrics_of_the_same_type(mass):
    """Draws and gradients are looked at from the first transition on; one's own rule without ``early`` waits as in Stan."""

    class Own:
        pooled = True

        def __init__(self):
            self.start, self.estimator, self.estimate = mass.start, mass.estimator, mass.estimate

    x, y = orthogonal_design(16)
    target = bz.LogJoint(regression, (x, y))
    position = normal(2, 4)
    random = OneStream(seeded(), like=position)

    def renewed(rule):
        kernel = WindowAdaptation(kernels.HMC(1.0, 3, 0.5), kernels.HMC(1.0, 3, 0.5), 160, 0.8, rule)
        state, at = kernel.init(position, target, random), []
        for step in range(1, 161):
            before = state.parameters.metric
            state, _ = kernel.step(target, state, (), random)
            if state.parameters.metric is not before:
                assert type(state.parameters.metric) is type(mass.start(position))
                at.append(step)
        return at

    assert renewed(mass) == [10, 20, 40, 75, 110]
    assert renewed(Own()) == [110]


def test_a_correlated_regression_takes_few_gradients_by_default():
    """An interaction with uncentred columns, correlated columns: 35,892 gradients with ``DiagonalMass()``."""
    generator = torch.Generator().manual_seed(0)
    high = (torch.rand(200, generator=generator) > 0.3).double()
    iq = 100.0 + 15.0 * torch.randn(200, generator=generator).double()
    design = torch.stack([torch.ones_like(iq), high, iq, high * iq], 1)
    y = design @ torch.tensor([-11.0, 51.0, 1.0, -0.5]).double() + 18.0 * torch.randn(200, generator=generator).double()

    def model(design, y):
        w = pyro.sample("w", dist.Normal(design.new_zeros(4), 1000.0).to_event(1))
        sd = pyro.sample("sd", dist.HalfCauchy(design.new_tensor(20.0)))
        with pyro.plate("rows", len(y)):
            pyro.sample("y", dist.Normal(design @ w, sd), obs=y)

    posterior = bz.fit(model, (design, y), bz.NUTS(chains=2, warmup=150, draws=100, processes=1), progress=False)
    assert posterior.draws.attrs["gradients"] < 12_000
    exact, covariance = torch.linalg.lstsq(design, y[:, None]).solution[:, 0], torch.linalg.inv(design.T @ design) * 18.0**2
    off = (posterior.draws.sites["w"].mean((0, 1)) - exact) / covariance.diagonal().sqrt()
    assert off.abs().max() < 0.5


def test_fisher_mass_of_stuck_chains_is_finite():
    seen = bz.FisherMass().estimator()
    for _ in range(3):
        seen.update(torch.ones(2, 3), torch.zeros(2, 3))
    variance = bz.FisherMass().estimate(seen).variance
    assert variance.isfinite().all() and (variance > 0).all()


# ---------------------------------------------------------------------------------------------------- the contract


@pytest.mark.parametrize("name", QUICK)
def test_statistics_and_export(name):
    x, y = orthogonal_design(16, dtype=torch.float32)
    first = bz.fit(regression, (x, y), QUICK[name], progress=False)
    result = first.draws
    assert set(result.stats) == STATS[name]
    assert all(value.shape == (2, 6) and value.isfinite().all() for value in result.stats.values())
    log_joint = bz.LogJoint(regression, (x, y))
    torch.testing.assert_close(log_joint.value(log_joint.unconstrain(result.sites)), result.stats["lp"])
    assert all(key.startswith("warmup_") and value.shape[0] == 2 for key, value in result.history.items())
    attrs = result.attrs
    assert 0 < attrs["tuning_gradients"] < attrs["gradients"] and not attrs["interrupted"]
    data = first.to_inference_data()
    assert data["posterior"]["w"].shape == (2, 6, 4)
    assert set(data["sample_stats"].data_vars) >= STATS[name]
    assert data["sample_stats"]["diverging"].dtype == bool


@pytest.mark.parametrize("name", QUICK)
def test_ctrl_c_keeps_the_draws_made_so_far(name, monkeypatch):
    x, y = orthogonal_design(16)
    backend = replace(QUICK[name], thinning=1)
    whole, original = run(backend, regression, (x, y)), Run.advance

    def advance(self, i):
        if self.step == backend.warmup + 4:
            raise KeyboardInterrupt
        original(self, i)

    monkeypatch.setattr(Run, "advance", advance)
    with pytest.warns(UserWarning, match=r"interrupted: 4 of 6 draws"):
        part = run(backend, regression, (x, y))
    assert torch.equal(part.sites["w"], whole.sites["w"][:, :4]) and part.attrs["interrupted"]
    assert all(value.shape == (2, 4) for value in part.stats.values())


def on_one_dimension(backend):
    return lambda: run(backend, gamma_rate, (torch.ones(3),))


BAD = {
    "ChEES, one chain": (lambda: bz.ChEES(chains=1), ValueError, r"ChEES: chains must be at least 2, got 1"),
    "ChEES, dense": (
        lambda: bz.ChEES(mass_matrix=bz.DenseMass()),
        TypeError,
        r"ChEES: mass_matrix must be diagonal and pooled, DiagonalMass\(\), got DenseMass",
    ),
    "ChEES, a mass a chain": (
        lambda: bz.ChEES(mass_matrix=bz.DiagonalMass(pooled=False)),
        TypeError,
        r"got DiagonalMass\(p",
    ),
    "ChEES, leapfrogs": (lambda: bz.ChEES(max_leapfrogs=0), ValueError, r"max_leapfrogs must be at least 1, got 0"),
    "ChEES, a chain a process": (
        lambda: run(replace(QUICK["ChEES"], processes=2), regression, orthogonal_design(16)),
        ValueError,
        r"expected at least 2 in a process, got 1; set processes=1",
    ),
    "AdjustedMCLMC, dense": (
        lambda: bz.AdjustedMCLMC(mass_matrix=bz.DenseMass()),
        TypeError,
        r"AdjustedMCLMC: mass_matrix must be diagonal, such as DiagonalMass\(\), got DenseMass",
    ),
    "AdjustedMCLMC, steps": (lambda: bz.AdjustedMCLMC(max_steps=0), ValueError, r"max_steps must be at least 1, got 0"),
    "AdjustedMCLMC, length": (
        lambda: bz.AdjustedMCLMC(trajectory_length=0.0),
        ValueError,
        r"trajectory_length must be between 0\.0 and inf, got 0",
    ),
    "AdjustedMCLMC, step size": (lambda: bz.AdjustedMCLMC(step_size=-1.0), ValueError, r"step_size must be .*got -1"),
    "AdjustedMCLMC, one dimension": (
        on_one_dimension(QUICK["AdjustedMCLMC"]),
        ValueError,
        r"AdjustedMCLMC needs a posterior of two dimensions or more, got 1: use NUTS",
    ),
    "MCLMC, one dimension": (
        on_one_dimension(QUICK["MCLMC"]),
        ValueError,
        r"MCLMC needs a posterior of two dimensions or more, got 1: use NUTS",
    ),
    "MCLMC, step size": (lambda: bz.MCLMC(step_size=-0.1), ValueError, r"MCLMC: step_size must be between .*got -0\.1"),
    "MCLMC, length": (lambda: bz.MCLMC(length=0.0), ValueError, r"MCLMC: length must be between .*got 0"),
    "MCLMC, energy": (lambda: bz.MCLMC(energy_variance=-1.0), ValueError, r"MCLMC: energy_variance must be .*got -1"),
    "MCLMC, dense": (lambda: bz.MCLMC(mass_matrix=bz.DenseMass()), TypeError, r"MCLMC: mass_matrix must be .*got DenseMass"),
    "MCLMC, mass as a class": (lambda: bz.MCLMC(mass_matrix=bz.FisherMass), TypeError, r"MCLMC: mass_matrix must be"),
    "MCLMC, thinning": (lambda: bz.MCLMC(thinning=0), ValueError, r"MCLMC: thinning must be at least 1, got 0"),
    "RandomWalk, target": (
        lambda: bz.RandomWalk(target_accept=0.0),
        ValueError,
        r"RandomWalk: target_accept must be .*got 0",
    ),
    "RandomWalk, warm-up": (lambda: bz.RandomWalk(warmup=-1), ValueError, r"RandomWalk: warmup must be at least 0, got -1"),
    "RandomWalk, processes": (lambda: bz.RandomWalk(processes=0), ValueError, r"processes must be at least 1, got 0"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_settings(name):
    call, error, message = BAD[name]
    with pytest.raises(error, match=message):
        call()
