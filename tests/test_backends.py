"""Every backend against closed-form posteriors, and the contract that all of them keep."""

import warnings

import pyro
import pyro.distributions as dist
import pytest
import torch
from targets import correlated_design, gamma_rate, orthogonal_design, regression, regression_posterior
from torch.utils.data import TensorDataset

import bnn_zoo as bz
from bnn_zoo.diagnostics import ess_bulk, ess_mean
from bnn_zoo.run.loop import Run

EXACT = {
    "NUTS": bz.NUTS(chains=8, warmup=150, draws=150),
    "HMC": bz.HMC(chains=8, warmup=150, draws=200),
}
ALL = EXACT | {
    "MeanField": bz.MeanField(chains=2, steps=2500, draws=1000, learning_rate=bz.schedules.cosine(0.02, 2e-5)),
    "SGLD": bz.SGLD(chains=12, steps=5_000, warmup=1_500, thinning=20, step_size=1e-4),
    "SGHMC": bz.SGHMC(chains=12, steps=5_000, warmup=1_500, thinning=20, step_size=2e-5, friction=0.1),
    "SGHMC, scale-adapted": bz.SGHMC(
        chains=12, steps=5_000, warmup=1_500, thinning=20, step_size=1e-5, friction=0.1, scale_adapted=True
    ),
    "SGNHT": bz.SGNHT(chains=12, steps=5_000, warmup=1_500, thinning=20, step_size=2e-5, friction=0.1),
}
QUICK = {
    "NUTS": bz.NUTS(chains=2, warmup=10, draws=6),
    "HMC": bz.HMC(chains=2, warmup=10, draws=6),
    "MeanField": bz.MeanField(chains=2, steps=12, draws=6),
    "SGLD": bz.SGLD(chains=2, steps=60, warmup=30, thinning=5, step_size=1e-5),
    "PSGLD": bz.PSGLD(chains=2, steps=60, warmup=30, thinning=5, step_size=1e-5),
    "SGHMC": bz.SGHMC(chains=2, steps=60, warmup=30, thinning=5, step_size=1e-5),
    "SGNHT": bz.SGNHT(chains=2, steps=60, warmup=30, thinning=5, step_size=1e-5),
}
LANGEVIN = {"lp", "step_size", "temperature", "configurational_temperature"}
STATS = {
    "NUTS": {"lp", "energy", "diverging", "tree_depth", "n_steps", "step_size", "acceptance_rate", "reached_max_treedepth"},
    "HMC": {"lp", "energy", "diverging", "n_steps", "step_size", "acceptance_rate", "energy_error"},
    "MeanField": {"lp", "log_q"},
    "SGLD": LANGEVIN,
    "PSGLD": LANGEVIN,
    "SGHMC": LANGEVIN | {"kinetic_temperature"},
    "SGNHT": LANGEVIN | {"kinetic_temperature"},
}


LONG = {"SGNHT", "SGHMC, scale-adapted"}


def within_errors(draws, mean, sd, errors=4.0):
    """Sample means and sds within ``errors`` Monte Carlo standard errors of the truth."""
    x = draws.double()
    mcse = sd / ess_mean(x).sqrt()
    assert ((x.mean((0, 1)) - mean).abs() <= errors * mcse).all(), (x.mean((0, 1)) - mean) / mcse
    sd_error = sd / (2 * ess_bulk((x - mean) ** 2)).sqrt()
    assert ((x.std((0, 1)) - sd).abs() <= errors * sd_error).all(), (x.std((0, 1)) - sd) / sd_error


def run(backend, model, data, seed=0):
    return backend.run(model, data, seed=seed, progress=False)


@pytest.mark.parametrize(
    "dtype", [torch.float32, pytest.param(torch.float64, marks=pytest.mark.slow)], ids=["float32", "float64"]
)
@pytest.mark.parametrize("name", [n if n not in LONG else pytest.param(n, marks=pytest.mark.slow) for n in ALL])
def test_orthogonal_design(name, dtype):
    x, y = orthogonal_design(dtype=dtype)
    mean, covariance = regression_posterior(x.double(), y.double())
    draws = run(ALL[name], regression, (x, y)).sites["w"]
    assert draws.dtype == dtype
    within_errors(draws, mean, covariance.diagonal().sqrt())


@pytest.mark.parametrize(
    "name, mass",
    [
        pytest.param("NUTS", bz.DiagonalMass(), marks=pytest.mark.slow),
        pytest.param("NUTS", bz.DenseMass(), marks=pytest.mark.slow),
        pytest.param("HMC", bz.DiagonalMass(pooled=False), marks=pytest.mark.slow),
        pytest.param("HMC", bz.DenseMass(pooled=False), marks=pytest.mark.slow),
        pytest.param("NUTS", bz.LowRankFisherMass(rank=2, cutoff=1.2), marks=pytest.mark.slow),
        pytest.param("HMC", bz.LowRankFisherMass(pooled=False, rank=2, cutoff=1.2), marks=pytest.mark.slow),
    ],
)
def test_correlated_design(name, mass):
    from dataclasses import replace

    x, y = correlated_design()
    mean, covariance = regression_posterior(x, y)
    draws = run(replace(EXACT[name], mass_matrix=mass), regression, (x, y)).sites["w"]
    within_errors(draws, mean, covariance.diagonal().sqrt())
    seen = torch.cov(draws.flatten(0, 1).T)
    assert torch.corrcoef(draws.flatten(0, 1).T)[0, 1] < -0.1  # correlated data columns make weights anticorrelated
    assert ((seen - covariance) / covariance.diagonal().max()).abs().max() < 0.2


@pytest.mark.parametrize("name", EXACT)
def test_positive_support(name):
    y = torch.linspace(0.1, 2.0, 20).double()
    truth = dist.Gamma(2.0 + len(y), 1.0 + y.sum())
    draws = run(EXACT[name], gamma_rate, (y,)).sites["rate"]
    assert (draws > 0).all()
    within_errors(draws, truth.mean, truth.variance.sqrt())


def test_positive_support_by_mean_field_is_close():
    """A log-normal is not a gamma: mean and sd agree to a few per cent only, and that is what is promised."""
    y = torch.linspace(0.1, 2.0, 20).double()
    truth = dist.Gamma(2.0 + len(y), 1.0 + y.sum())
    draws = run(bz.MeanField(steps=800, draws=2000), gamma_rate, (y,)).sites["rate"]
    assert abs(draws.mean() / truth.mean - 1) < 0.05
    assert abs(draws.std() / truth.variance.sqrt() - 1) < 0.1


def test_sgld_variance_has_the_predicted_bias():
    """On a Gaussian with precision λ the discretised variance is ``1 / (λ (1 − ε λ / 4))``: at ελ = 1 a third more."""
    x, y = orthogonal_design()
    mean, covariance = regression_posterior(x, y)
    precision = 1 / covariance[0, 0]
    step = float(1.0 / precision)
    with pytest.warns(UserWarning, match=r"configurational temperature of the draws is 1\.3. times"):  # 1 / (1 − 1/4)
        backend = bz.SGLD(chains=24, steps=2300, warmup=300, thinning=1, step_size=step)
        draws = bz.fit(regression, (x, y), backend, progress=False).draws.sites["w"]
    within_errors(draws, mean, (covariance.diagonal() / (1 - 0.25)).sqrt())


@pytest.mark.slow
@pytest.mark.parametrize("temperature", [0.25, 4.0])
def test_sgld_temperature_scales_the_variance(temperature):
    x, y = orthogonal_design()
    mean, covariance = regression_posterior(x, y)
    backend = bz.SGLD(chains=24, steps=4_000, warmup=1000, thinning=10, step_size=1e-4, temperature=temperature)
    within_errors(run(backend, regression, (x, y)).sites["w"], mean, (temperature * covariance.diagonal()).sqrt())


def test_sgld_at_temperature_zero_finds_the_mode():
    x, y = orthogonal_design()
    mean, _ = regression_posterior(x, y)
    draws = run(bz.SGLD(chains=2, steps=2000, step_size=1e-3, temperature=0.0), regression, (x, y)).sites["w"]
    assert torch.allclose(draws[:, -1], mean.expand(2, -1), atol=1e-6)


def test_sgld_minibatches_have_the_predicted_variance():
    """Minibatch noise adds ε²/4 · Var(gradient) to the injected ε: the stationary variance follows from both.

    A mean loss instead of the sum, or a likelihood not scaled by N/n, would be off by a factor of the batch or the data.
    """
    x, y = orthogonal_design(rows=256, columns=2)
    mean, covariance = regression_posterior(x, y)
    batch, step = 64, 2e-5
    draws = run(
        bz.SGLD(chains=16, steps=5_000, warmup=1000, thinning=20, step_size=step, batch_size=batch), regression, (x, y)
    ).sites["w"]
    residual = y - x @ mean
    per_row = x * residual[:, None] / 0.25
    n = len(x)
    noise = (n / batch) ** 2 * batch * per_row.var(0) * (1 - batch / n)  # without replacement
    precision = 1 / covariance.diagonal()
    variance = (step + 0.25 * step**2 * noise) / (step * precision * (1 - 0.25 * step * precision))
    within_errors(draws, mean, variance.sqrt(), errors=5.0)


@pytest.mark.parametrize("make", [lambda x, y: (x, y), lambda x, y: TensorDataset(x, y)], ids=["tensors", "Dataset"])
@pytest.mark.parametrize(
    "backend",
    [
        bz.SGLD(chains=3, steps=1000, step_size=2e-4, batch_size=16),
        bz.MeanField(chains=1, steps=700, batch_size=16, draws=500),
    ],
    ids=["SGLD", "MeanField"],
)
def test_minibatches_of_tensors_and_datasets(backend, make):
    x, y = orthogonal_design()
    mean, covariance = regression_posterior(x, y)
    draws = run(backend, regression, make(x, y))
    assert ((draws.sites["w"].mean((0, 1)) - mean) / covariance.diagonal().sqrt()).abs().max() < 1.0
    assert draws.attrs["batch_size"] == 16


@pytest.mark.parametrize("name", QUICK)
def test_statistics_and_times_of_a_run(name):
    x, y = orthogonal_design(16, dtype=torch.float32)
    draws = run(QUICK[name], regression, (x, y))
    assert set(draws.stats) >= STATS[name]
    assert all(value.shape == (2, 6) for value in draws.stats.values())
    assert draws.attrs["tuning_time"] > 0 and draws.attrs["sampling_time"] > 0


@pytest.mark.parametrize("name", ["NUTS", "HMC"])
def test_statistics_are_consistent(name):
    """energy = kinetic − lp with a positive kinetic part; step counts within their bounds; lp is the log joint."""
    x, y = orthogonal_design()
    draws = run(EXACT[name], regression, (x, y))
    stats = draws.stats
    log_joint = bz.LogJoint(regression, (x, y))
    assert torch.allclose(log_joint.value(log_joint.unconstrain(draws.sites)), stats["lp"])
    kinetic = stats["energy"] + stats["lp"]
    assert (kinetic > -1e-9).all() and abs(kinetic.mean() - 2.0) < 0.2  # d/2 with d = 4
    assert ((stats["acceptance_rate"] >= 0) & (stats["acceptance_rate"] <= 1)).all()
    assert 0.7 < stats["acceptance_rate"].mean() < 0.99
    if name == "NUTS":
        assert (stats["n_steps"] <= 2 ** stats["tree_depth"] - 1).all() and (stats["n_steps"] >= 1).all()


@pytest.mark.slow
def test_divergences_are_reported():
    """A funnel with a step far too large for its neck diverges, and says so."""

    def funnel():
        v = pyro.sample("v", dist.Normal(0.0, 3.0))
        pyro.sample("z", dist.Normal(torch.zeros(5), (0.5 * v).exp()).to_event(1))

    backend = bz.NUTS(chains=4, warmup=60, draws=60, target_accept=0.6, max_tree_depth=6)
    with pytest.warns(UserWarning, match=r"of 240 transitions diverged .*target_accept"):
        draws = bz.fit(funnel, (), backend, progress=False).draws
    assert draws.attrs["divergences"] == draws.stats["diverging"].sum()
    assert draws.stats["diverging"].dtype == torch.bool
    assert draws.stats["diverging"].any()


class Interrupt:
    """Raises KeyboardInterrupt once, as Ctrl-C does, in place of the call of a method after ``after`` others."""

    def __init__(self, after):
        self.left = after

    def __call__(self, original):
        def wrapped(*args, **kwargs):
            self.left -= 1
            if self.left == -1:
                raise KeyboardInterrupt
            return original(*args, **kwargs)

        return wrapped


FOUR_DRAWS = {"NUTS": 10 + 4, "HMC": 10 + 4, "SGLD": 30 + 20}
"""Steps, those of the warm-up included."""


@pytest.mark.parametrize("name", FOUR_DRAWS)
def test_ctrl_c_keeps_the_draws_made_so_far(name, monkeypatch):
    x, y = orthogonal_design(16)
    whole = run(QUICK[name], regression, (x, y))
    monkeypatch.setattr(Run, "advance", Interrupt(FOUR_DRAWS[name])(Run.advance))
    with pytest.warns(UserWarning, match=r"interrupted: 4 of 6 draws"):
        part = run(QUICK[name], regression, (x, y))
    assert part.sites["w"].shape == (2, 4, 4)
    assert torch.equal(part.sites["w"], whole.sites["w"][:, :4])
    assert part.attrs["interrupted"]


def test_ctrl_c_in_mean_field_draws_from_what_was_learnt(monkeypatch):
    x, y = orthogonal_design(16)
    monkeypatch.setattr(Run, "advance", Interrupt(8)(Run.advance))
    with pytest.warns(UserWarning, match="interrupted after 8 of 12 steps"):
        draws = run(QUICK["MeanField"], regression, (x, y))
    assert draws.sites["w"].shape == (1, 6, 4) and draws.history["elbo"].shape == (1, 8)


@pytest.mark.parametrize("name", ["NUTS", "SGLD"])
def test_ctrl_c_before_any_draw_says_so(name, monkeypatch):
    x, y = orthogonal_design(16)
    monkeypatch.setattr(Run, "advance", Interrupt(3)(Run.advance))
    with pytest.raises(KeyboardInterrupt, match="no draws yet"):
        run(QUICK[name], regression, (x, y))


def test_sgld_that_diverges_says_what_to_do():
    x, y = orthogonal_design()
    with pytest.raises(FloatingPointError, match="smaller step_size"):
        run(bz.SGLD(steps=400, step_size=1.0, warmup=0, thinning=400), regression, (x, y))  # burn-in would lower the step


def test_schedules():
    cosine = bz.schedules.cosine(1.0, end=0.1, steps=100)
    assert (
        cosine(0) == 1.0 and abs(cosine(50) - 0.55) < 1e-12 and abs(cosine(100) - 0.1) < 1e-12 and cosine(200) == cosine(100)
    )
    assert bz.schedules.as_schedule(bz.schedules.cosine(1.0), 10).steps == 10
    assert bz.schedules.polynomial(1.0, b=1.0, gamma=0.5)(3) == 0.5
    assert bz.schedules.as_schedule(0.3, 5)(4) == 0.3
    x, y = orthogonal_design(16)
    draws = run(bz.SGLD(steps=40, warmup=0, thinning=3, step_size=bz.schedules.cosine(1e-3)), regression, (x, y))
    assert (draws.stats["step_size"].diff(dim=1) < 0).all()


@pytest.mark.slow  # a low-rank one is in test_variational
def test_another_guide_can_be_plugged_in():
    """A full-rank guide finds the correlated posterior that mean field cannot."""
    from pyro.infer.autoguide import AutoMultivariateNormal

    x, y = correlated_design()
    _, covariance = regression_posterior(x, y)
    full = run(
        bz.MeanField(
            steps=1500, draws=2000, learning_rate=bz.schedules.cosine(0.05), guide=AutoMultivariateNormal, particles=4
        ),
        regression,
        (x, y),
    ).sites["w"]
    mean_field = run(bz.MeanField(steps=1500, draws=1000), regression, (x, y)).sites["w"]
    truth = covariance.diagonal().sqrt()
    assert ((full.std((0, 1)) / truth - 1).abs() < 0.2).all()
    assert (mean_field.std((0, 1)) < 0.7 * truth).all()


def test_mean_field_kl_is_analytic():
    """With no data the ELBO is −KL(q ‖ prior): at the prior itself exactly zero, with no Monte Carlo noise."""
    from pyro.infer import TraceMeanField_ELBO

    from bnn_zoo.guides import MeanFieldNormal

    def prior():
        pyro.sample("w", dist.Normal(torch.zeros(50), 1.0).to_event(1))

    guide = MeanFieldNormal(prior, init_scale=1.0)
    with pyro.get_param_store().scope():
        losses = [TraceMeanField_ELBO().loss(prior, guide) for _ in range(3)]
    assert all(abs(loss) < 1e-4 for loss in losses), losses


def test_progress_bar_shows_rate_step_size_and_divergences(capsys):
    x, y = orthogonal_design(16)
    bz.fit(regression, (x, y), QUICK["NUTS"], progress=True)
    said = capsys.readouterr().err
    assert (
        "NUTS warm-up" in said and "NUTS draws" in said and "step size" in said and "divergences" in said and "it/s" in said
    )


def test_third_party_backend():
    """Any dataclass with ``run`` is a backend."""
    from dataclasses import dataclass

    @dataclass(frozen=True)
    class Prior:
        draws: int = 5

        def run(self, model, data, *, seed=0, device=None, progress=True):
            return bz.Draws({"w": torch.randn(1, self.draws, 4, generator=torch.Generator().manual_seed(seed)).double()})

    posterior = bz.fit(regression, orthogonal_design(), Prior())
    assert posterior.to_inference_data()["posterior"]["w"].shape == (1, 5, 4)


@pytest.mark.cuda
@pytest.mark.parametrize("name", ALL)
def test_orthogonal_design_on_cuda(name):
    x, y = orthogonal_design(dtype=torch.float32)
    mean, covariance = regression_posterior(x.double(), y.double())
    draws = ALL[name].run(regression, (x, y), device="cuda", progress=False)
    assert draws.sites["w"].device.type == "cpu" and draws.attrs["device"].startswith("cuda")
    within_errors(draws.sites["w"], mean, covariance.diagonal().sqrt())


def test_warnings_of_a_run_are_only_ours():
    x, y = orthogonal_design(16)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for backend in QUICK.values():
            run(backend, regression, (x, y))
    ours = [str(w.message) for w in caught if "diverged" not in str(w.message)]
    assert not ours, ours
