"""Every backend on a small network, all the way out: the ArviZ functions people call, files, the command line.

These also run on the newest Python with arviz 1.x; names differ between the lines, so plots go through ``plots.arviz_plot``.
"""

import warnings

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from pyro.infer import MCMC
from pyro.infer import NUTS as PyroNUTS
from typer.testing import CliRunner

import bnn_zoo as bz
from bnn_zoo import comparison, export, plots
from bnn_zoo.cli import app
from bnn_zoo.diagnostics import mcse_mean, rhat

pytestmark = pytest.mark.filterwarnings("ignore:.*temperature of the draws")  # of runs far too short

BACKENDS = {
    "NUTS": bz.NUTS(chains=2, warmup=50, draws=60, max_tree_depth=3),
    "HMC": bz.HMC(chains=2, warmup=50, draws=60, max_leapfrogs=8),
    "MeanField": bz.MeanField(chains=2, steps=100, draws=60),
    "SGLD": bz.SGLD(chains=2, steps=800, warmup=200, thinning=10, step_size=1e-3),
}


@pytest.fixture(scope="module")
def posteriors():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(40, 2, generator=generator)
    y = torch.tanh(x[:, 0]) - 0.5 * x[:, 1] + 0.3 * torch.randn(40, generator=generator)
    model = bz.BNN(bz.nets.MLP(2, 1, hidden=(4,)), bz.priors.Normal(bz.priors.fan_in), bz.likelihoods.Gaussian())
    fits = {name: bz.fit(model, (x[:30], y[:30]), b, seed=1, progress=False) for name, b in BACKENDS.items()}
    return fits, (x[30:], y[30:])


@pytest.fixture(scope="module")
def containers(posteriors):
    fits, test = posteriors
    return {name: p.to_inference_data(test=test, prior=20, warmup=True) for name, p in fits.items()}


@pytest.mark.parametrize("name", BACKENDS)
def test_groups_dims_attrs(name, posteriors, containers):
    fits, (x_test, _) = posteriors
    obj = containers[name]
    groups = set(export.groups(obj))
    assert groups >= {
        "posterior",
        "sample_stats",
        "log_likelihood",
        "posterior_predictive",
        "observed_data",
        "constant_data",
    }
    assert groups >= {"predictions", "predictions_constant_data", "predictions_observed_data", "predictions_log_likelihood"}
    assert groups >= {"prior", "prior_predictive"}
    posterior = export.group(obj, "posterior")
    assert posterior["0.weight"].dims == ("chain", "draw", "0.weight_out", "0.weight_in")
    assert posterior["0.weight"].shape == (2, 60, 4, 2)
    assert export.group(obj, "log_likelihood")["y"].dims == ("chain", "draw", "obs_id")
    assert export.group(obj, "predictions")["y"].dims == ("chain", "draw", "pred_id")
    assert export.group(obj, "constant_data")["x"].dims[0] == "obs_id"
    assert np.array_equal(export.group(obj, "predictions_constant_data")["x"].values, x_test.numpy())
    assert posterior.attrs["backend"] == name and posterior.attrs["seed"] == 1 and posterior.attrs["sampling_time"] > 0
    log_likelihood = export.group(obj, "log_likelihood")["y"].values
    assert np.allclose(log_likelihood, fits[name].log_likelihood()["y"])


@pytest.mark.parametrize("name", ["NUTS", "SGLD", *(pytest.param(n, marks=pytest.mark.slow) for n in ("HMC", "MeanField"))])
def test_netcdf_round_trip(name, containers, tmp_path):
    path = export.save(containers[name], tmp_path / "run.nc")
    again = bz.load(path)
    assert set(export.groups(again)) == set(export.groups(containers[name]))
    for group in export.groups(again):
        assert export.group(again, group).equals(export.group(containers[name], group)), group
    with pytest.raises(FileExistsError, match="exists"):
        export.save(containers[name], path)


COORDS = {"coords": {"0.weight_out": [0, 1], "0.weight_in": [0]}, "var_names": ["0.weight"]}
PLOTS = {
    "plot_trace_dist": COORDS,
    "plot_rank": COORDS,
    "plot_forest": {"var_names": ["0.weight"]},
    "plot_ppc_dist": {},
}


@pytest.mark.parametrize("plot", PLOTS)
@pytest.mark.parametrize("name", ["NUTS", "SGLD", *(pytest.param(n, marks=pytest.mark.slow) for n in ("HMC", "MeanField"))])
def test_arviz_plots(name, plot, containers):
    assert isinstance(plots.arviz_plot(plot, containers[name], **PLOTS[plot]), Figure)


@pytest.mark.parametrize("name", ["NUTS", "HMC"])
def test_arviz_energy(name, containers):
    assert isinstance(plots.arviz_plot("plot_energy", containers[name]), Figure)


def test_arviz_summary_loo_compare(containers):
    import arviz as az

    for obj in containers.values():
        summary = az.summary(obj, var_names=["noise"])
        assert np.isfinite(summary["ess_bulk"].astype(float)).all()
        loo = export.loo(obj)
        assert np.isfinite(getattr(loo, "elpd", None) or loo["elpd_loo"])
    table = bz.compare(containers)
    assert set(table.index) == set(BACKENDS) and (table["elpd_diff"] >= 0).all()
    assert plots.compare(table).figure


def test_summary_leads_with_function_space(posteriors):
    for posterior in posteriors[0].values():
        assert list(posterior.summary().index[:2]) == ["predictions y", "log likelihood y"]


def test_deterministics_and_any_model(tmp_path):
    """A model that we did not write: eight schools, decentred, with its deterministic site in the posterior group."""
    import pyro
    import pyro.distributions as dist

    def schools(sigma, y=None):
        mu, tau = pyro.sample("mu", dist.Normal(0.0, 5.0)), pyro.sample("tau", dist.HalfCauchy(5.0))
        with pyro.plate("schools", len(sigma)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            theta = pyro.deterministic("theta", mu + tau * z)
            return pyro.sample("y", dist.Normal(theta, sigma), obs=y)

    sigma = torch.tensor([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])
    y = torch.tensor([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
    posterior = bz.fit(schools, (sigma, y), bz.NUTS(chains=2, warmup=100, draws=50), progress=False)
    obj = posterior.to_inference_data()
    group = export.group(obj, "posterior")
    assert np.allclose(group["theta"], group["mu"] + group["tau"] * group["z"], atol=1e-4)
    assert posterior.predict(sigma).mean.shape == (8,)
    assert bz.load(posterior.save(tmp_path / "schools.nc"))


@pytest.mark.slow  # Pyro takes the minute
def test_agrees_with_pyro_nuts_in_function_space():
    """Same model, same data, Pyro's own NUTS: predictions agree within Monte Carlo error."""
    generator = torch.Generator().manual_seed(2)
    x = torch.linspace(-2, 2, 20)[:, None]
    y = torch.sin(1.5 * x[:, 0]) + 0.2 * torch.randn(20, generator=generator)
    model = bz.BNN(bz.nets.MLP(1, 1, hidden=(3,)), bz.priors.Normal(1.0), bz.likelihoods.Gaussian(0.2))
    ours = bz.fit(model, (x, y), bz.NUTS(chains=4, warmup=200, draws=300, max_tree_depth=6), seed=1, progress=False)
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        mcmc = MCMC(PyroNUTS(model, max_tree_depth=5), num_samples=200, warmup_steps=100, disable_progbar=True)
        mcmc.run(x, y)
    theirs = bz.Posterior(model, (x, y), bz.Draws(mcmc.get_samples(group_by_chain=True)))
    grid = torch.linspace(-2.5, 2.5, 9)[:, None]
    f, g = ours.predict(grid).f.double(), theirs.predict(grid).f.double()
    assert rhat(f).max() < 1.03  # there are several modes, and in so few draws one chain in some seeds stays in its own
    error = (mcse_mean(f) ** 2 + mcse_mean(g) ** 2).sqrt()
    z = (f.mean((0, 1)) - g.mean((0, 1))) / error
    assert z.abs().max() < 4.0, z
    assert ((f.std((0, 1)) / g.std((0, 1))).log().abs() < 0.35).all()


class TestCommandLine:
    """``bnn-zoo compare`` on small settings; the README's own run is CI's."""

    @staticmethod
    def invoke(*arguments):
        return CliRunner().invoke(app, ["compare", "--no-progress", *map(str, arguments)])

    @pytest.fixture
    def small(self, monkeypatch):
        monkeypatch.setattr(comparison, "BACKENDS", {name: lambda *_, b=b: b for name, b in BACKENDS.items()})

    def test_regression_from_csv(self, small, tmp_path):
        rng = np.random.default_rng(0)
        rows = rng.normal(size=(60, 3))
        lines = ["a,b,colour,price"] + [f"{a},{b},{'red' if c > 0 else 'blue'},{a - b + 0.1 * c}" for a, b, c in rows]
        (tmp_path / "mine.csv").write_text("\n".join(lines))
        out = tmp_path / "out"
        result = self.invoke(
            "--data", tmp_path / "mine.csv", "--target", "price", "--out", out, "--backends", "HMC,MeanField"
        )
        assert result.exit_code == 0, result.output
        assert "RMSE" in result.output and "| HMC" in result.output and "| MeanField" in result.output
        made = {path.name for path in out.iterdir()}
        assert made >= {"HMC.nc", "MeanField.nc", "table.md", "table.csv", "loo.csv", "intervals.png", "calibration.png"}
        assert made >= {"HMC-trace.png", "HMC-rank.png", "compare.png"}
        assert made >= {"pit.png", "convergence.png", "efficiency.png", "pairwise.png", "report.html"}
        page = (out / "report.html").read_text()
        assert page.count("data:image/png;base64,") == sum(name.endswith(".png") for name in made)
        assert '<th scope="row">HMC</th>' in page and '<th scope="row">MeanField</th>' in page
        assert "--target price" in page and "ignores correlations of weights" in page
        assert export.group(bz.load(out / "HMC.nc"), "posterior")["0.weight_in"].values.tolist()[:2] == ["a", "b"]

    @pytest.mark.slow
    def test_goes_on_with_a_checkpoint(self, small, tmp_path, monkeypatch):
        """Stopped in the second backend; the same command then makes what is lacking, and without the option refuses."""
        from bnn_zoo.run.loop import Run

        words = ["--data", "wine", "--out", tmp_path / "out", "--backends", "SGLD,HMC"]
        kept, advance, steps = ["--checkpoint", tmp_path / "runs"], Run.advance, []

        def stopped(run, _=0):
            if "warm-up" in run.program.phases and run.step == 5 and not steps:
                steps.append(run.step)
                raise KeyboardInterrupt
            advance(run)

        monkeypatch.setattr(Run, "advance", stopped)
        result = self.invoke(*words, *kept)
        assert result.exit_code == 130 and {p.name for p in (tmp_path / "out").iterdir()} >= {"SGLD.nc", "table.csv"}
        first = export.group(bz.load(tmp_path / "out" / "SGLD.nc"), "posterior")
        assert self.invoke(*words).exit_code == 2
        result = self.invoke(*words, *kept)
        assert result.exit_code == 0, result.output
        assert export.group(bz.load(tmp_path / "out" / "SGLD.nc"), "posterior").equals(first)
        assert len((tmp_path / "out" / "table.csv").read_text().splitlines()) == 3

    @pytest.mark.parametrize("data", [pytest.param("breast_cancer", marks=pytest.mark.slow), "wine"])
    def test_classification(self, small, tmp_path, data):
        result = self.invoke("--data", data, "--out", tmp_path / "out", "--backends", "SGLD")
        assert result.exit_code == 0, result.output
        assert "accuracy" in result.output and "ECE" in result.output
        accuracy = float((tmp_path / "out" / "table.csv").read_text().splitlines()[1].split(",")[1])
        assert accuracy > 0.85
        page = (tmp_path / "out" / "report.html").read_text()
        assert (tmp_path / "out" / "risk-coverage.png").exists() and "Refusing to answer when unsure" in page

    @pytest.mark.parametrize(
        "arguments, message",
        [
            (["--data", "nothing"], "must be one of diabetes"),
            (["--data", "no.npz"], "no file"),
            (["--backends", "Gibbs"], "choose from NUTS"),
            (["--device", "cuda"], "no CUDA device"),
            (["--out", "."], "exists"),
        ],
    )
    def test_bad_arguments(self, arguments, message, tmp_path, monkeypatch):
        if "cuda" in arguments and torch.cuda.is_available():
            pytest.skip("there is a CUDA device here")
        monkeypatch.chdir(tmp_path)
        result = self.invoke(*arguments)
        assert result.exit_code == 2 and message in result.output, result.output

    def test_a_failing_backend_does_not_lose_the_others(self, monkeypatch, tmp_path):
        wild = bz.SGLD(chains=2, steps=100, step_size=10.0, warmup=0, thinning=100)  # burn-in would lower the step
        settings = {"SGLD": lambda *_: wild, "HMC": lambda *_: BACKENDS["HMC"]}
        monkeypatch.setattr(comparison, "BACKENDS", settings)
        result = self.invoke("--data", "wine", "--out", tmp_path / "out", "--backends", "SGLD,HMC")
        assert result.exit_code == 0 and "SGLD failed and is left out" in result.output and "| HMC" in result.output
        assert "SGLD failed and is left out" in (tmp_path / "out" / "report.html").read_text()

    def test_a_point_has_the_intervals_of_its_noise(self):
        """A MAP fit of noise of known size: one draw of the weights, and yet draws of y enough to read coverage from."""
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(200, 1, generator=generator)
        y = x[:, 0] + 0.5 * torch.randn(200, generator=generator)
        model = bz.BNN(bz.nets.MLP(1, 1, hidden=()), bz.priors.Normal(1.0), bz.likelihoods.Gaussian(0.5))
        posterior = bz.fit(model, (x, y), bz.MAP(steps=300, step_size=bz.schedules.cosine(0.1)), progress=False)
        draws = comparison.predictive_draws(posterior, posterior.predict(x), x)
        assert draws.shape == (400, 200) and posterior.draws.draws == 1
        assert bz.metrics.calibration_error(draws, y) < 0.05 < bz.metrics.calibration_error(draws[:1], y)

    def test_list_and_help(self):
        listed = CliRunner().invoke(app, ["list"])
        assert listed.exit_code == 0 and "Horseshoe" in listed.output and "NUTS" in listed.output
        assert "diabetes" in CliRunner().invoke(app, ["compare", "--help"]).output
